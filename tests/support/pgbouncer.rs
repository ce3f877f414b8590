//! PgBouncer in front of a throwaway server.

use std::process::Child;

use super::cluster::{Cluster, SUPERUSER, as_user, free_port, is_installed, keeper, missing, must, scratch};

/// PgBouncer in transaction mode, with fewer server connections than any test has clients.
pub(crate) struct PgBouncer {
    port: u16,
    _keeper: Child,
}

impl PgBouncer {
    /// One in front of the cluster. None when it is not installed, as with [`Cluster::shared`].
    pub(crate) fn start(cluster: &Cluster) -> Option<Self> {
        if !is_installed("pgbouncer") {
            return missing("PgBouncer (Debian: apt-get install pgbouncer)");
        }
        let (directory, port) = (scratch("pgbouncer"), free_port());
        must(as_user("mkdir").arg(&directory));
        let configuration = format!(
            "[databases]\n* = host=127.0.0.1 port={} user={SUPERUSER}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 500\nlogfile = {}\n",
            cluster.port,
            directory.join("log").display()
        );
        let file = directory.join("pgbouncer.ini");
        must(as_user("sh").args(["-c", r#"printf %s "$1" >"$0""#]).arg(&file).arg(configuration));
        let keep = r#"pgbouncer -q "$0" & cat; kill -INT $!; wait; rm -rf "$1""#;
        let keeper = keeper(keep, &[file.as_os_str(), directory.as_os_str()]);
        let is_up = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        for _ in 0..1000 {
            if is_up() {
                break;
            }
            #[expect(clippy::disallowed_methods, reason = "another process starts")]
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        assert!(is_up(), "PgBouncer does not listen");
        Some(Self { port, _keeper: keeper })
    }

    /// The URL that leads through it to what `url` names.
    pub(crate) fn through(&self, url: &str) -> String {
        let (_, database) = url.rsplit_once('/').unwrap();
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }
}
