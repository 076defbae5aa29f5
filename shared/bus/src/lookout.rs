//! A server that lost the others goes on talking to its clients, and nothing that they ask reaches whoever leads the
//! log. Nobody tells them. So each connection asks from time to time, and goes to another server when it hears nothing.

use crate::log::sure_since;
use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::{self, response::Response};
use keywheel_wire::subject;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

const EVERY: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(3);
/// Longer than most elections, in which no server is better than another; shorter than a lease.
const SILENCE_MAX: Duration = Duration::from_secs(6);
/// How often in a row it is tried to come to another server than the one that was left.
const TRIES: u32 = 5;
/// What a server answers that knows of no leader.
const UNAVAILABLE: usize = 503;

/// Looks after a connection, until it is dropped.
pub(crate) struct Lookout(AbortHandle);

impl Lookout {
    /// Over a connection that counts in `connections` how often it was made. `url` is where it may go.
    pub(crate) fn over(client: Client, url: &str, connections: Arc<AtomicU64>) -> Lookout {
        let is_one_named = !url.contains(',');
        let watch = async move {
            let mut heard = Instant::now();
            loop {
                sleep(EVERY).await;
                let is_one = is_one_named && client.server_info().connect_urls.len() < 2;
                if is_one || client.connection_state() != State::Connected {
                    heard = Instant::now();
                    continue;
                }
                let asked = Instant::now();
                if let Some(age) = led(&client).await {
                    heard = heard.max(asked.checked_sub(age).unwrap_or(heard));
                }
                if heard.elapsed() > SILENCE_MAX {
                    tracing::warn!("this server reaches nobody who leads the log; going to another one");
                    go_elsewhere(&client, &connections).await;
                    heard = Instant::now();
                }
            }
        };
        Lookout(tokio::spawn(watch).abort_handle())
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long ago whoever leads the log was last sure to do so; nothing when nobody answers who would know.
async fn led(client: &Client) -> Option<Duration> {
    let context = jetstream::new(client.clone());
    let asking = context.request(format!("STREAM.INFO.{}", subject::EVENTS), &());
    match timeout(PATIENCE, asking).await.ok()?.ok()? {
        Response::Ok(info) => sure_since(&info),
        Response::Err { error } => {
            // That there is no log is an answer too.
            (error.code() != UNAVAILABLE).then_some(Duration::ZERO)
        }
    }
}

/// Connects anew, to another server if one is to be had.
async fn go_elsewhere(client: &Client, connections: &AtomicU64) {
    let left = client.server_info().server_id;
    for _ in 0..TRIES {
        let before = connections.load(Ordering::Relaxed);
        let is_made = async {
            while connections.load(Ordering::Relaxed) == before {
                sleep(Duration::from_millis(20)).await;
            }
        };
        if client.force_reconnect().await.is_err() || timeout(PATIENCE, is_made).await.is_err() {
            // It is closed, or goes on trying by itself.
            return;
        }
        if client.server_info().server_id != left {
            return;
        }
    }
}
