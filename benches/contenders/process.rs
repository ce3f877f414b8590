//! A contender's process, and what it has cost.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server has to listen after this long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Killed when it is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// Starts a server and waits until it listens at this address.
    pub(crate) fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let mut process = Self(child);
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = process.0.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{command:?} does not listen: {ended:?}");
            thread::sleep(Duration::from_millis(2));
        }
        process
    }

    /// Where the kernel tells about it.
    pub(crate) fn directory(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.0.id()))
    }

    /// Processor time of all its threads.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = fs::read_dir(self.directory().join("task")).unwrap().filter_map(Result::ok);
        let nanoseconds = tasks.filter_map(|task| {
            let statistics = fs::read_to_string(task.path().join("schedstat")).ok()?;
            statistics.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
