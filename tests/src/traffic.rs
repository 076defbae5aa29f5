//! Clients: each uses the newest key that it was delivered, at every edge in turn, and counts answers.

use keywheel_token::KeyText;
use reqwest::Client as Http;
use serde::Deserialize;
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// An edge's answer on `/v1/verify`.
#[derive(Clone, Debug, Deserialize)]
pub struct Answer {
    /// Whether the key was accepted.
    pub valid: bool,
    /// Why not.
    pub code: Option<String>,
    /// Which version it is.
    pub version: Option<u32>,
}

/// Asks an edge about a key.
///
/// # Errors
/// When the edge does not answer.
pub async fn ask(http: &Http, edge: &str, key: &str, probe: bool) -> reqwest::Result<Answer> {
    let question = json!({ "key": key, "probe": probe });
    http.post(format!("{edge}/v1/verify")).json(&question).send().await?.json().await
}

/// What all clients together were answered.
#[derive(Debug, Default)]
pub struct Tally {
    /// Accepted.
    pub accepted: AtomicU64,
    /// A definite no.
    pub refused: AtomicU64,
    /// The edge could not say, or did not answer.
    pub unavailable: AtomicU64,
    /// The first few refusals, for people.
    pub complaints: Mutex<Vec<String>>,
}

impl Tally {
    fn count(&self, client: &str, edge: &str, answer: &reqwest::Result<Answer>) {
        let counter = match answer {
            Ok(answer) if answer.valid => &self.accepted,
            Ok(answer) if matches!(answer.code.as_deref(), Some("stale" | "not_ready")) => &self.unavailable,
            Ok(answer) => {
                let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
                if complaints.len() < 20 {
                    complaints.push(format!("{client} at {edge}: {answer:?}"));
                }
                &self.refused
            }
            Err(_) => &self.unavailable,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// A client's key, swapped whenever a newer one was delivered.
pub type Holder = Arc<Mutex<Arc<KeyText>>>;

/// Swaps a client's key.
pub fn swap(holder: &Holder, key: KeyText) {
    *holder.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
}

/// Traffic of many clients, until it is stopped.
pub struct Traffic {
    /// What they were answered.
    pub tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Traffic {
    /// Each client asks one edge after another, `pause` apart.
    pub fn start(clients: Vec<(String, Holder)>, edges: &[String], pause: Duration) -> Traffic {
        let (tally, stop) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let http = Http::new();
        let mut tasks = JoinSet::new();
        for (name, holder) in clients {
            let (tally, stop, http, edges) =
                (Arc::clone(&tally), Arc::clone(&stop), http.clone(), edges.to_vec());
            tasks.spawn(async move {
                let mut beat = tokio::time::interval(pause);
                for edge in edges.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    beat.tick().await;
                    let key = Arc::clone(&holder.lock().unwrap_or_else(PoisonError::into_inner));
                    let answer = ask(&http, edge, key.expose(), false).await;
                    tally.count(&name, edge, &answer);
                }
            });
        }
        Traffic { tally, stop, tasks }
    }

    /// Stops and waits for the requests under way.
    pub async fn stop(mut self) -> Arc<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
        self.tally
    }
}
