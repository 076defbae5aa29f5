//! A connection on which a request's head, once begun, must come within a time, while waiting for one may
//! take longer: gateways keep their connections, and whoever dribbles holds up a place.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream with its clock.
pub struct Paced<S> {
    stream: S,
    head_time: Duration,
    pace: Pace,
    /// The count that `began` belongs to.
    seen: u64,
    began: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Counts what the requests on a stream do: even while a head may be read, odd while one is answered.
#[derive(Clone, Debug, Default)]
pub struct Pace(Arc<AtomicU64>);

impl Pace {
    /// A head was read, or the request was answered.
    pub fn step(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl<S> Paced<S> {
    /// Watches over `stream`.
    pub fn new(stream: S, head_time: Duration) -> (Self, Pace) {
        let pace = Pace::default();
        (Self { stream, head_time, pace: pace.clone(), seen: 0, began: None, alarm: None }, pace)
    }

    /// Whether the head that is read now has taken too long; else sees to it that this is asked again.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(began) = self.began else { return Poll::Pending };
        let until = began + self.head_time;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        alarm.as_mut().poll(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let this = &mut *self;
        let now = this.pace.0.load(Ordering::Relaxed);
        if this.seen != now {
            (this.seen, this.began) = (now, None);
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if now % 2 == 1 {
            return read;
        }
        match read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                this.began.get_or_insert_with(Instant::now);
                read
            }
            Poll::Ready(_) => read,
            Poll::Pending => this.poll_late(cx).map(|()| Err(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
