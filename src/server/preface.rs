use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the client's preface and gives back a stream that begins with it.
///
/// hyper waits for a preface without end, and its graceful shutdown waits with it. A connection is handed to hyper only
/// once it has spoken; before, the caller of this function can drop it at any moment.
pub(super) async fn read(socket: TcpStream) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
    let (mut reader, writer) = socket.into_split();
    let mut preface = [0; PREFACE.len()];
    reader.read_exact(&mut preface).await?;
    if preface != *PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak HTTP/2"));
    }
    Ok(tokio::io::join(PREFACE.chain(reader), writer))
}
