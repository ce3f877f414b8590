use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Collectors often read as a group.
const MODE: u32 = 0o640;
/// How often it is looked whether the file was moved away.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Where lines go to: stdout or a file, which may be a named pipe.
#[derive(Debug)]
pub(super) struct Sink {
    /// Stdout without one.
    path: Option<PathBuf>,
    fsync: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// When it was last looked whether the path still leads to it, by monotonic time.
    looked: Duration,
    /// Whether the kernel was found to write to it without waiting, or may be.
    writes_at_once: bool,
}

/// Whether what was begun can be gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It is the file that it was.
    AsBefore,
    /// It is another one: a line that was half written is not there.
    Anew,
}

impl Sink {
    pub(super) fn new(path: Option<PathBuf>, fsync: bool) -> Self {
        Self { path, fsync, open: None }
    }

    /// Makes sure that it is open, and that the path leads to what is open. It may block.
    pub(super) fn open(&mut self, elapsed: Duration) -> io::Result<Opened> {
        let Some(path) = &self.path else {
            if self.open.is_some() {
                return Ok(Opened::AsBefore);
            }
            let file = File::from(io::stdout().as_fd().try_clone_to_owned()?);
            self.open = Some(Open::new(file, elapsed)?);
            return Ok(Opened::Anew);
        };
        if let Some(open) = &mut self.open {
            if !open.is_due(elapsed) {
                return Ok(Opened::AsBefore);
            }
            // What cannot be looked at cannot be opened either, and the attempt says why.
            if path.metadata().is_ok_and(|metadata| open.identity == (metadata.dev(), metadata.ino())) {
                open.looked = elapsed;
                return Ok(Opened::AsBefore);
            }
        }
        self.open = None;
        self.open = Some(Open::new(open_file(path)?, elapsed)?);
        Ok(Opened::Anew)
    }

    /// Writes as much as goes without waiting for anything. None if that cannot be told, or would be nothing.
    pub(super) fn write_at_once(&mut self, bytes: &[u8], elapsed: Duration) -> Option<usize> {
        let open = self.open.as_mut()?;
        let is_due = self.path.is_some() && open.is_due(elapsed);
        if is_due || self.fsync || !open.writes_at_once {
            return None;
        }
        match write_at_once(&open.file, bytes) {
            Ok(written) => Some(written).filter(|written| *written > 0),
            Err(error) => {
                open.writes_at_once = error.kind() != io::ErrorKind::Unsupported;
                None
            }
        }
    }

    /// Whether it makes sense to try [`write_at_once`](Self::write_at_once).
    pub(super) fn writes_at_once(&self) -> bool {
        !self.fsync && self.open.as_ref().is_some_and(|open| open.writes_at_once)
    }

    /// Writes everything, or as much as goes until it fails. It may block; a pipe that can be asked is waited for as
    /// long as `patience`.
    pub(super) fn write(&mut self, bytes: &[u8], patience: Duration) -> (usize, io::Result<()>) {
        let Some(open) = &mut self.open else { return (0, Err(io::Error::from(io::ErrorKind::NotConnected))) };
        let mut written = 0;
        let outcome = loop {
            let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) else { break Ok(()) };
            match open.file.write(rest) {
                Ok(0) => break Err(io::Error::from(io::ErrorKind::WriteZero)),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = wait_for_room(&open.file, patience) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error),
            }
        };
        let outcome = outcome.and_then(|()| if self.fsync { open.file.sync_data() } else { Ok(()) });
        if outcome.is_err() && self.path.is_some() {
            // The next attempt looks for it afresh: a pipe may have another reader by then, a file another place.
            open.looked = Duration::ZERO;
            if outcome.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
                self.open = None;
            }
        }
        (written, outcome)
    }
}

impl Open {
    fn new(file: File, elapsed: Duration) -> io::Result<Self> {
        let metadata = file.metadata()?;
        // Regular files are not asked: what they say differs, and none that matters writes without waiting.
        let writes_at_once = metadata.file_type().is_fifo();
        Ok(Self { file, identity: (metadata.dev(), metadata.ino()), looked: elapsed, writes_at_once })
    }

    fn is_due(&self, elapsed: Duration) -> bool {
        self.looked.is_zero() || elapsed.saturating_sub(self.looked) >= LOOK_INTERVAL
    }
}

/// Opens without waiting for a pipe's reader, and creates what is not there. A line that another process left unfinished
/// is ended, so that ours begins on its own.
fn open_file(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > 0 {
        let mut last = [0];
        File::open(path)?.read_exact_at(&mut last, metadata.len() - 1)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

#[cfg(target_os = "linux")]
fn write_at_once(file: &File, bytes: &[u8]) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, pwritev2};
    // At the position where the file is, or at its end: pipes have no other.
    Ok(pwritev2(file, &[io::IoSlice::new(bytes)], u64::MAX, ReadWriteFlags::NOWAIT)?)
}

#[cfg(not(target_os = "linux"))]
fn write_at_once(_: &File, _: &[u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

fn wait_for_room(file: &File, patience: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(patience).unwrap_or_default();
    match poll(&mut [PollFd::new(file, PollFlags::OUT)], Some(&timeout)) {
        Ok(0) => Err(io::Error::new(io::ErrorKind::TimedOut, "nobody reads what is written")),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
