//! How the parts of a service learn that it shall end.

use crate::exit;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A request to end, seen by every clone. Once made it stays.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<watch::Sender<bool>>);

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    /// One that SIGTERM and SIGINT trigger. A second signal ends the process at once with code 130.
    ///
    /// # Errors
    /// When the system refuses to register the signals.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut signals = Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "stopping; a second signal stops without draining");
            triggered.trigger();
            let name = signals.next().await;
            tracing::warn!(signal = name, "stopped without draining");
            std::process::exit(i32::from(exit::INTERRUPTED));
        });
        Ok(shutdown)
    }

    /// Asks everything to end.
    pub fn trigger(&self) {
        self.0.send_replace(true);
    }

    /// Whether somebody has asked.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until somebody asks; at once if it happened before.
    pub async fn requested(&self) {
        let mut watched = self.0.subscribe();
        let _seen = watched.wait_for(|requested| *requested).await.expect("self keeps the sender");
    }

    /// Waits for `span`, or until somebody asks. Whether the whole span passed.
    pub async fn pause(&self, span: Duration) -> bool {
        tokio::time::timeout(span, self.requested()).await.is_err()
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn every_clone_sees_the_request() {
        let shutdown = Shutdown::new();
        let (early, other) = (shutdown.clone(), shutdown.clone());
        let waiting = tokio::spawn(async move { early.requested().await });
        assert!(!other.is_requested());
        other.trigger();
        waiting.await.unwrap();
        assert!(shutdown.is_requested());
        shutdown.requested().await;
    }

    #[tokio::test]
    async fn a_pause_ends_early_when_asked() {
        let shutdown = Shutdown::new();
        assert!(shutdown.pause(Duration::from_millis(1)).await);
        let other = shutdown.clone();
        let pausing = tokio::spawn(async move { other.pause(LONG).await });
        shutdown.trigger();
        assert!(!pausing.await.unwrap());
        assert!(!shutdown.pause(LONG).await);
    }
}
