use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use thiserror::Error;
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

use super::door::Door;
use super::listener::Accept;
use crate::identifiers::{CallerId, Peer};
use crate::identity::ConnectionIdentity;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1_024;

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
    pub(super) async fn bind(path: &Path, mode: u32) -> Result<Self, UnixSocketError> {
        make_way(path).await?;
        let socket = UnixSocket::new_stream()?;
        // The file begins with the socket's mode: nobody else gets in before the mode is what it should be.
        fchmod(&socket, Mode::from_raw_mode(mode)).map_err(io::Error::from)?;
        socket.bind(path)?;
        let file = SocketFile::at(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        Ok(Self { listener: socket.listen(BACKLOG)?, _file: file })
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

/// Takes away what a dead server left behind, and nothing else.
async fn make_way(path: &Path) -> Result<(), UnixSocketError> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    if directory.is_some_and(|directory| !directory.is_dir()) {
        return Err(UnixSocketError::NoDirectory);
    }
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

    fn place() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticketd.sock");
        (directory, path)
    }

    #[tokio::test]
    async fn a_process_is_the_user_that_it_runs_as() {
        let (_directory, path) = place();
        let entrance = UnixEntrance::bind(&path, 0o600).await.unwrap();
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
            let entrance = UnixEntrance::bind(&path, mode).await.unwrap();
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
        let living = UnixEntrance::bind(&path, 0o660).await.unwrap();
        let refused = UnixEntrance::bind(&path, 0o660).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::InUse), "{refused}");
        assert!(UnixStream::connect(&path).await.is_ok(), "the living one is left alone");

        // Another server took the path: its socket is not ours to take away.
        fs::remove_file(&path).unwrap();
        let other = StdListener::bind(&path).unwrap();
        drop(living);
        assert!(path.symlink_metadata().is_ok());
        drop(other);
    }

    #[tokio::test]
    async fn what_is_in_the_way_is_named() {
        let (directory, path) = place();
        fs::write(&path, "precious").unwrap();
        let refused = UnixEntrance::bind(&path, 0o660).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::NoSocket), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let refused = UnixEntrance::bind(&directory.path().join("none/ticketd.sock"), 0o660).await.unwrap_err();
        assert!(matches!(refused, UnixSocketError::NoDirectory), "{refused}");
        let long = directory.path().join("x".repeat(200));
        assert!(matches!(UnixEntrance::bind(&long, 0o660).await.unwrap_err(), UnixSocketError::Io(_)));
    }
}
