use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use thiserror::Error;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::door::Door;
use super::listener::Accept;
use crate::clock::Clock;
use crate::identifiers::{CallerId, Peer};
use crate::identity::ConnectionIdentity;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;
/// How often it is looked whether another server has made its socket, and how long.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
const LOOKS: usize = 100;

/// A Unix socket that callers of this machine connect to. Its file goes with it.
#[derive(Debug)]
pub(super) struct UnixEntrance {
    listener: UnixListener,
    _file: SocketFile,
}

/// Why a Unix socket cannot be listened on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum UnixSocketError {
    /// There is no directory for it.
    #[error("its directory does not exist: make one that only ticketd can write to")]
    NoDirectory,
    /// A server answers there.
    #[error("another server listens there: stop it, or choose another path")]
    InUse,
    /// Something else has its name.
    #[error("something that is no socket is there: take it away, or choose another path")]
    NoSocket,
    /// The operating system refuses.
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl UnixEntrance {
    /// Listens at `path`, where a socket that a dead server left behind is replaced. Who may connect is up to `mode`.
    pub(super) async fn bind(path: &Path, mode: u32, clock: &dyn Clock) -> Result<Self, UnixSocketError> {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !directory.is_dir() {
            return Err(UnixSocketError::NoDirectory);
        }
        // Of two servers that start at once the later one finds the earlier one's socket, rather than take it away before
        // anybody listens.
        let _turn = turn(directory, clock).await;
        make_way(path).await?;
        let socket = UnixSocket::new_stream()?;
        // The file begins with the socket's mode: nobody else gets in before the mode is what it should be.
        fchmod(&socket, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
        socket.bind(path)?;
        let file = SocketFile::at(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        let listener = socket.listen(BACKLOG)?;
        Ok(Self { listener, _file: file })
    }
}

impl Accept for UnixEntrance {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (socket, _) = self.listener.accept().await?;
        let pid = socket.peer_cred().ok().as_ref().and_then(UCred::pid);
        // A process that we cannot see has the number 0.
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
        Ok((socket, Peer::Unix { pid }))
    }
}

/// Lets in every process that can open the socket's file, as the user that it runs as.
#[derive(Clone, Copy, Debug)]
pub(super) struct PeerCredentials;

impl Door<UnixStream> for PeerCredentials {
    type Stream = UnixStream;

    async fn open(&self, socket: UnixStream, peer: Peer) -> Option<(UnixStream, ConnectionIdentity)> {
        let user = socket.peer_cred().ok()?.uid();
        Some((socket, ConnectionIdentity { peer, id: Some(CallerId::UnixUser(user)), is_private: true }))
    }
}

/// Waits until no other server makes a socket in the directory. Held, others wait. Whoever may read the directory can lock it,
/// so nobody is waited for long.
async fn turn(directory: &Path, clock: &dyn Clock) -> Option<fs::File> {
    let directory = fs::File::open(directory).ok()?;
    for _ in 0..LOOKS {
        match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => clock.sleep(LOOK_INTERVAL).await,
            outcome => return outcome.ok().map(|()| directory),
        }
    }
    None
}

/// Takes away what a dead server left behind, and nothing else.
async fn make_way(path: &Path) -> Result<(), UnixSocketError> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(UnixSocketError::NoSocket),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        // A backlog that is full is a living server's too.
        Ok(_) => Err(UnixSocketError::InUse),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(UnixSocketError::InUse),
        Err(error) => Err(error.into()),
    }
}

/// Takes the socket's file away in the end, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // Left behind, it is replaced by the next server.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Of a file: the same as long as it exists.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    path.symlink_metadata().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use tempfile::TempDir;

    use super::*;
    use crate::clock::SystemClock;

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticketd.sock");
        (directory, path)
    }

    #[tokio::test]
    async fn a_process_is_the_user_that_it_runs_as() {
        let (_directory, path) = place();
        let entrance = UnixEntrance::bind(&path, 0o600, &SystemClock).await.unwrap();
        let _client = UnixStream::connect(&path).await.unwrap();
        let (socket, peer) = entrance.accept().await.unwrap();
        assert_eq!(peer, Peer::Unix { pid: Some(std::process::id()) });
        let (_, identity) = PeerCredentials.open(socket, peer).await.unwrap();
        let user = rustix::process::getuid().as_raw();
        assert_eq!((identity.peer, identity.id), (peer, Some(CallerId::UnixUser(user))));
    }

    #[tokio::test]
    async fn the_socket_has_the_mode_that_was_asked_for_and_goes_with_its_server() {
        let (_directory, path) = place();
        for mode in [0o600, 0o660, 0o666] {
            let entrance = UnixEntrance::bind(&path, mode, &SystemClock).await.unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, mode);
            drop(entrance);
            assert!(path.symlink_metadata().is_err());
        }
    }

    #[tokio::test]
    async fn a_dead_servers_socket_is_replaced_and_a_living_ones_is_not() {
        let (_directory, path) = place();
        drop(StdListener::bind(&path).unwrap());
        assert!(path.symlink_metadata().is_ok(), "left behind");
        let living = UnixEntrance::bind(&path, 0o660, &SystemClock).await.unwrap();
        let refused = UnixEntrance::bind(&path, 0o660, &SystemClock).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::InUse), "{refused}");
        assert!(UnixStream::connect(&path).await.is_ok(), "the living one is left alone");

        // Another server took the path: its socket is not ours to take away.
        fs::remove_file(&path).unwrap();
        let other = StdListener::bind(&path).unwrap();
        drop(living);
        assert!(path.symlink_metadata().is_ok());
        drop(other);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_servers_that_start_at_once_one_gets_the_path() {
        let (_directory, path) = place();
        for round in 0..50 {
            // Left behind, so that all want to take it away.
            drop(StdListener::bind(&path).unwrap());
            let servers = (0..4).map(|_| {
                let path = path.clone();
                tokio::spawn(async move { UnixEntrance::bind(&path, 0o660, &SystemClock).await })
            });
            let servers = futures_util::future::join_all(servers).await.into_iter().map(Result::unwrap);
            let (served, refused): (Vec<_>, Vec<_>) = servers.partition(Result::is_ok);
            assert_eq!(served.len(), 1, "{round}: {refused:?}");
            for refusal in refused {
                assert!(matches!(refusal.unwrap_err(), UnixSocketError::InUse));
            }
            assert!(UnixStream::connect(&path).await.is_ok(), "{round}");
        }
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        let (directory, path) = place();
        fs::write(&path, "precious").unwrap();
        let refused = UnixEntrance::bind(&path, 0o660, &SystemClock).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::NoSocket), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let refused =
            UnixEntrance::bind(&directory.path().join("none/ticketd.sock"), 0o660, &SystemClock).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::NoDirectory), "{refused}");
        let long = directory.path().join("x".repeat(200));
        assert!(matches!(UnixEntrance::bind(&long, 0o660, &SystemClock).await.unwrap_err(), UnixSocketError::Io(_)));
    }
}
