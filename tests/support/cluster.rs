//! A throwaway PostgreSQL server. It ends with the process that started it, however that ends.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

/// Whom everything runs as when the tests run as root: PostgreSQL and PgBouncer refuse to.
const USER: &str = "postgres";
pub(crate) const SUPERUSER: &str = "postgres";
/// What a cluster's keeper does when its stdin has ended.
pub(crate) const KEEP: &str = r#"cat; pg_ctl stop -s -D "$0" -m immediate; rm -rf "$0""#;

/// A running server on a port of the loopback interface. Everybody may connect to it as anybody.
pub(crate) struct Cluster {
    pub(crate) port: u16,
    pub(crate) directory: PathBuf,
    /// Stops the server and removes its files when its stdin ends: also when this process is killed.
    pub(crate) _keeper: Child,
}

impl Cluster {
    /// The one that the tests of this process share, each with its own database. None when PostgreSQL is not installed,
    /// which it says aloud; where `CI` is set that fails.
    pub(crate) fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&[])).as_ref()
    }

    /// One of its own, with more settings.
    pub(crate) fn start(settings: &[&str]) -> Option<Self> {
        if !is_installed("postgres") {
            return missing("PostgreSQL (Debian: apt-get install postgresql)");
        }
        let directory = scratch("cluster");
        must(as_user("cp").arg("-a").arg(template()).arg(&directory));
        let mut cluster = Self { port: 0, _keeper: keeper(KEEP, &[directory.as_os_str()]), directory };
        for setting in settings {
            cluster.set(setting);
        }
        cluster.start_anywhere();
        Some(cluster)
    }

    /// Starts the server on a port that is free. Before it listens another process may have taken the port: then on another.
    pub(crate) fn start_anywhere(&mut self) {
        let has_started = (0..5).any(|_| {
            self.port = free_port();
            self.starting().status().unwrap().success()
        });
        if !has_started {
            self.start_again();
        }
    }

    /// A line of the server's configuration, from its next start on.
    pub(crate) fn set(&self, setting: &str) {
        let line = r#"echo "$1" >>"$0/postgresql.conf""#;
        must(as_user("sh").args(["-c", line]).arg(&self.directory).arg(setting));
    }

    /// Starts the server where it was.
    pub(crate) fn start_again(&self) {
        must(&mut self.starting());
    }

    fn starting(&self) -> Command {
        let options = format!("-p {} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''", self.port);
        let log = self.directory.join("log");
        let mut command = as_user("pg_ctl");
        command.args(["start", "-s", "-w", "-D"]).arg(&self.directory).arg("-l").arg(log).args(["-o", &options]);
        command
    }

    /// Stops the server as a crash would.
    pub(crate) fn stop(&self) {
        must(as_user("pg_ctl").args(["stop", "-s", "-m", "immediate", "-D"]).arg(&self.directory));
    }

    /// The URL of a new database.
    pub(crate) async fn create_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        self.execute("postgres", &format!("CREATE DATABASE {name}")).await;
        self.url(&name)
    }

    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as the superuser.
    pub(crate) async fn execute(&self, database: &str, statements: &str) {
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(self.port);
        let mut connection = options.username(SUPERUSER).database(database).connect().await.unwrap();
        connection.execute(AssertSqlSafe(statements)).await.unwrap();
        connection.close().await.unwrap();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Says aloud that a test is left out, and fails where none may be.
pub(crate) fn missing<T>(what: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none_or(|value| value.is_empty()), "{what} is not installed, and CI is set");
    eprintln!("SKIPPED: {what} is not installed");
    None
}

pub(crate) fn is_installed(program: &str) -> bool {
    std::env::split_paths(&search_path()).any(|directory| directory.join(program).exists())
}

/// Debian keeps PostgreSQL's programs out of the way.
fn search_path() -> String {
    let mut versions: Vec<u32> = fs::read_dir("/usr/lib/postgresql")
        .map(|entries| entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
        .unwrap_or_default();
    versions.sort_unstable();
    let newest = versions.last().map(|version| format!("/usr/lib/postgresql/{version}/bin:")).unwrap_or_default();
    format!("{newest}{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

/// An initialised directory that every cluster is a copy of: making one takes much longer than copying it.
fn template() -> PathBuf {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let user = rustix::process::getuid().as_raw();
        let template = std::env::temp_dir().join(format!("ticketd-tests-initdb-{user}"));
        if !template.join("PG_VERSION").exists() {
            let fresh = scratch("initdb");
            let options = ["--no-sync", "-A", "trust", "-U", SUPERUSER, "-E", "UTF8", "--locale=C", "-D"];
            must(as_user("initdb").args(options).arg(&fresh));
            for setting in ["fsync = off", "max_connections = 200", "shared_buffers = 16MB", "max_wal_senders = 4"] {
                let line = r#"echo "$1" >>"$0/postgresql.conf""#;
                must(as_user("sh").args(["-c", line]).arg(&fresh).arg(setting));
            }
            // Of several processes one is first; the others' are removed.
            if !as_user("mv").arg("-T").arg(&fresh).arg(&template).status().unwrap().success() {
                must(as_user("rm").arg("-rf").arg(&fresh));
            }
        }
        template
    };
    TEMPLATE.get_or_init(make).clone()
}

pub(crate) fn scratch(what: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ticketd-tests-{what}-{}-{number}", std::process::id()))
}

/// A command as a user that is not root.
pub(crate) fn as_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = if rustix::process::getuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--init-groups", "env"]);
        command.arg(format!("PATH={}", search_path())).arg(program);
        command
    } else {
        let mut command = Command::new(program);
        command.env("PATH", search_path());
        command
    };
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    command
}

pub(crate) fn must(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} fails: {said}");
}

/// A process in a group of its own, so that no signal to the tests ends it before it has cleaned up.
pub(crate) fn keeper(script: &str, arguments: &[&OsStr]) -> Child {
    let mut command = as_user("sh");
    command.args(["-c", script]).args(arguments).stdin(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}
