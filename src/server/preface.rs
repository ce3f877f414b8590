use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::frame_watch::FrameWatch;

/// What an HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reads the client's preface and gives back a stream that begins with it, and whose frames are watched.
///
/// hyper waits for a preface without end, and its graceful shutdown waits with it. A connection is handed to hyper only
/// once it has spoken; before, the caller of this function can drop it at any moment.
pub(super) async fn read<S: AsyncRead + Unpin>(mut stream: S, watch: FrameWatch) -> io::Result<Spoken<S>> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if preface != *PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak HTTP/2"));
    }
    Ok(Spoken { unread: PREFACE, stream, watch })
}

/// A stream whose preface was read: it reads as if it had not been. It fails when the watch over its frames says so.
///
/// It offers no vectored writes, as h2 has each message of 256 bytes leave by itself where there are any: without, it copies
/// what is shorter than 1 KiB, and a call's answer is one write, or all answers that are ready together are.
#[derive(Debug)]
pub(super) struct Spoken<S> {
    unread: &'static [u8],
    stream: S,
    watch: FrameWatch,
}

impl<S: AsyncRead + Unpin> AsyncRead for Spoken<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let (now, later) = this.unread.split_at(this.unread.len().min(buffer.remaining()));
            buffer.put_slice(now);
            this.unread = later;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(this.watch.heard(&buffer.filled()[before..])),
            Poll::Pending => this.watch.waits(context).map(Err),
            failed @ Poll::Ready(Err(_)) => failed,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Spoken<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.watch.said(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
