//! What a process that holds secrets lets out beside its answers: nothing to other processes of its user, nothing to
//! the disk when it dies, nothing in its environment or arguments, and nothing in memory that it needs no longer.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Gid, Uid, chown};
use rustix::process::{Pid, Signal, geteuid};
use tokio::process::Command;

use crate::place::{Place, Running, TENANT, finish, ticket};

/// Nobody, as distributions number him.
const NOBODY: u32 = 65_534;
/// What a running server does not need as it stands in the file.
const ONLY_READ_AT_START: [&str; 3] = ["private-key.pem", "passphrase", "sealing.key"];
const PASSPHRASE: &str = "c4nary-passphrase-of-the-key";

#[tokio::test(flavor = "multi_thread")]
async fn no_other_process_of_its_user_sees_into_it_and_it_leaves_no_core() {
    let place = Place::new().await;
    place.put_tenant().await;
    let server = Running::start(as_nobody(&place, "serve")).await;
    ticket(&mut server.tickets()).await.unwrap();

    let process = proc(server.process());
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let core: Vec<_> = core.split_whitespace().skip(4).collect();
    assert_eq!(core, ["0", "0", "bytes"], "the soft and the hard limit");
    // The kernel gives these to root when a process is not dumpable; else they are its user's.
    for file in ["environ", "mem", "maps", "fd", "auxv"] {
        let owner = fs::metadata(process.join(file)).unwrap().uid();
        assert_eq!(owner, 0, "{file} of a process that runs as {NOBODY} or as the test's user");
    }
    let seen = as_user("cat").arg(process.join("environ")).output().await.unwrap();
    assert!(!seen.status.success() && seen.stdout.is_empty(), "{seen:?}");
}

/// Proves that the test before can fail: what has not closed itself is open to its user.
#[tokio::test]
async fn an_ordinary_process_is_open_to_its_user() {
    let mut process = as_user("sleep").arg("60").spawn().unwrap();
    let environ = proc(pid(process.id())).join("environ");
    let seen = as_user("cat").arg(environ).output().await.unwrap();
    assert!(seen.status.success() && !seen.stdout.is_empty(), "{seen:?}");
    process.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fatal_signal_leaves_no_file_behind() {
    let place = Place::new().await;
    let mut command = place.shell("ulimit -c unlimited 2>/dev/null; exec ticketd serve");
    command.current_dir(place.path("."));
    let mut server = Running::start(command).await;
    let before = names(&place.path("."));
    server.signal(Signal::ABORT);
    let end = server.exit().await;
    assert_eq!(end.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!end.core_dumped());
    let left: Vec<_> = names(&place.path(".")).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_in_its_environment_arguments_or_open_files() {
    let place = Place::new().await;
    encrypt_the_signing_key(&place).await;
    let server = place.serve().await;
    ticket_of(&place, &server).await;
    let process = proc(server.process());
    let mut seen = Vec::new();
    for file in ["environ", "cmdline"] {
        seen.extend(fs::read(process.join(file)).unwrap());
    }
    assert!(seen.windows(5).any(|window| window == b"serve"), "it is read as the test means it");
    for (name, secret) in secrets(&place) {
        assert!(!contains(&seen, secret.as_bytes()), "{name}");
        // A file stays open no longer than it is read.
        for open in
            fs::read_dir(process.join("fd")).unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        {
            assert!(!open.starts_with(place.path(name)), "{name} is open");
        }
    }
}

/// Root alone can look; whoever runs the tests as another user sees here that he cannot.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_at_the_start_is_not_in_memory_any_more() {
    let place = Place::new().await;
    encrypt_the_signing_key(&place).await;
    let server = place.serve().await;
    ticket_of(&place, &server).await;
    let memory = match memory(server.process()) {
        Ok(memory) => memory,
        Err(error) if !geteuid().is_root() => {
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let count = |secret: &str| memory.iter().filter(|region| contains(region, secret.as_bytes())).count();
    for (name, secret) in secrets(&place) {
        println!("{name}: in {} of {} regions of memory", count(&secret), memory.len());
    }
    // It goes out with every exchange: that it is found shows that the search finds.
    assert!(count(place.sandbox.client_secret()) > 0);
    for (name, secret) in secrets(&place).into_iter().filter(|(name, _)| ONLY_READ_AT_START.contains(name)) {
        assert_eq!(count(&secret), 0, "{name} as it stands in its file");
    }
}

/// The signing key goes to its file encrypted, so that there is a passphrase too.
async fn encrypt_the_signing_key(place: &Place) {
    place.write("passphrase", PASSPHRASE);
    let command = "openssl pkcs8 -topk8 -v2 aes-256-cbc -iter 2048 -in private-key.pem -out encrypted.pem -passout file:passphrase";
    let encrypted = finish(place.shell(command)).await;
    assert_eq!(encrypted.code, Some(0), "{encrypted:?}");
    let encrypted = fs::read_to_string(place.path("encrypted.pem")).unwrap();
    place.write("private-key.pem", &encrypted);
    place.configure("signing_key_passphrase_file", &format!("\"{}\"", place.path("passphrase").display()));
    place.put_tenant().await;
}

async fn ticket_of(place: &Place, server: &Running) {
    ticket(&mut server.tickets()).await.unwrap();
    assert_eq!(place.sandbox.exchanges(TENANT), 1);
}

/// Each secret file's name with what stands in it: a whole line, and of a PEM file one in its middle.
fn secrets(place: &Place) -> Vec<(&'static str, String)> {
    ["client-secret", "private-key.pem", "passphrase", "sealing.key", "cust12345.token"]
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(place.path(name)).unwrap();
            let lines: Vec<_> = text.lines().collect();
            (name, lines[lines.len() / 2].to_owned())
        })
        .collect()
}

/// What a process can write to, region by region.
fn memory(process: Pid) -> io::Result<Vec<Vec<u8>>> {
    let maps = fs::read_to_string(proc(process).join("maps"))?;
    let memory = File::open(proc(process).join("mem"))?;
    let regions = maps.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|mode| mode.starts_with("rw")));
    let read = |line: &str| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let mut region = vec![0; usize::try_from(end - start).ok()?];
        // A region that went away meanwhile holds nothing.
        memory.read_exact_at(&mut region, start).ok().map(|()| region)
    };
    Ok(regions.filter_map(read).collect())
}

/// ticketd as another user than root, who owns the directory: what belongs to root then does not belong to him.
fn as_nobody(place: &Place, command: &str) -> Command {
    if !geteuid().is_root() {
        return place.ticketd([command]);
    }
    for name in names(&place.path(".")) {
        chown(place.path(&name), Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).unwrap();
    }
    chown(place.path("."), Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY))).unwrap();
    // Where it was built he may not be allowed to look.
    let program = place.path("ticketd");
    fs::copy(env!("CARGO_BIN_EXE_ticketd"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut running = place.ticketd_at(&program, [command]);
    running.uid(NOBODY).gid(NOBODY);
    running
}

fn as_user(program: &str) -> Command {
    let mut command = Command::new(program);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn pid(id: Option<u32>) -> Pid {
    Pid::from_raw(id.unwrap().try_into().unwrap()).unwrap()
}

fn proc(process: Pid) -> PathBuf {
    PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()))
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}
