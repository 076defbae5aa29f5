//! A connection on which a request's head, once begun, must come within a time, and an answer be taken, while waiting
//! for a request may take longer: gateways keep their connections, and whoever dribbles holds up a place.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// A stream with its clocks.
pub struct Paced<S> {
    stream: S,
    limit: Duration,
    pace: Pace,
    /// The count that a head which is read now belongs to.
    seen: u64,
    head: Clock,
    answer: Clock,
}

/// Since when something takes, and what wakes us when it has taken too long.
#[derive(Default)]
struct Clock {
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
    /// Watches over `stream`: a head may take `limit`, and an answer as long to be taken.
    pub fn new(stream: S, limit: Duration) -> (Self, Pace) {
        let pace = Pace::default();
        let (head, answer) = (Clock::default(), Clock::default());
        (Self { stream, limit, pace: pace.clone(), seen: 0, head, answer }, pace)
    }

    fn watched<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.answer.began = None;
            return written;
        }
        self.answer.begin();
        self.answer.poll_late(self.limit, cx).map(Err)
    }
}

impl Clock {
    fn begin(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Whether it has taken too long; else sees to it that this is asked again.
    fn poll_late(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(began) = self.began else { return Poll::Pending };
        let until = began + limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        if alarm.deadline() != until {
            alarm.as_mut().reset(until);
        }
        alarm.as_mut().poll(cx).map(|()| io::ErrorKind::TimedOut.into())
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
            (this.seen, this.head.began) = (now, None);
        }
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if now % 2 == 1 {
            return read;
        }
        match read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => {
                this.head.begin();
                read
            }
            Poll::Ready(_) => read,
            Poll::Pending => this.head.poll_late(this.limit, cx).map(Err),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watched(cx, written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watched(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const LIMIT: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn an_answer_that_nobody_takes_ends_the_connection_and_one_that_is_taken_slowly_does_not() {
        let (mut client, server) = tokio::io::duplex(8);
        let (mut server, _) = Paced::new(server, LIMIT);
        let taking = async {
            for _ in 0..4 {
                tokio::time::sleep(LIMIT * 3 / 5).await;
                client.read_exact(&mut [0; 8]).await.unwrap();
            }
        };
        let (written, ()) = tokio::join!(server.write_all(&[0; 40]), taking);
        written.unwrap();
        let stuck = tokio::time::timeout(LIMIT * 100, server.write_all(&[0; 40])).await.expect("an end");
        assert_eq!(stuck.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
