//! Keys leave no trace in a connection's read buffer: what lay there is overwritten before anything new is read.
//!
//! A server reads into one buffer again and again, and an idle connection waits for its next request with a
//! read that has begun; so what the last one carried is gone while nothing is asked. A buffer that had to
//! grow is no longer read into from its beginning: the connection is then closed, and its memory given back.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a server's buffer has room for before it has to grow.
const ROOM: usize = 8192;

/// A stream that is read into overwritten buffers alone.
pub struct Wiped<S> {
    stream: S,
    grown: Grown,
}

/// Whether the buffer that a stream is read into has grown.
#[derive(Clone, Debug, Default)]
pub struct Grown(Arc<AtomicBool>);

impl Grown {
    /// Whether the connection should end after the answer under way.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl<S> Wiped<S> {
    /// Watches over `stream`.
    pub fn new(stream: S) -> (Self, Grown) {
        let grown = Grown::default();
        (Self { stream, grown: grown.clone() }, grown)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wiped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() > ROOM {
            self.grown.0.store(true, Ordering::Relaxed);
        }
        buffer.initialize_unfilled().fill(0);
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wiped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[tokio::test]
    async fn a_buffer_is_overwritten_before_it_is_read_into() {
        let (mut client, server) = tokio::io::duplex(64);
        let (mut server, grown) = Wiped::new(server);
        let mut buffer = *b"a key of somebody's";
        client.write_all(b"new").await.unwrap();
        assert_eq!(server.read(&mut buffer).await.unwrap(), 3);
        assert_eq!(&buffer, b"new\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert!(!grown.is_so());
        client.write_all(b"more").await.unwrap();
        assert_eq!(server.read(&mut [1; ROOM + 1]).await.unwrap(), 4);
        assert!(grown.is_so());
    }
}
