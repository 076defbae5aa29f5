//! What everybody in a campaign shares: the keyrings, the edges, the ledger, an undisturbed connection.

use super::ledger::{Answer, Entry, Ledger, Why};
use super::moments::Moments;
use super::ring::Ring;
use crate::stack::EdgeEntry;
use keywheel_bus::Bus;
use keywheel_domain::Version;
use reqwest::{Client as Http, Response};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// The scene of a campaign.
pub struct Scene {
    /// Its time.
    pub moments: Moments,
    /// Where everything is written down.
    pub ledger: Ledger,
    /// The keyrings.
    pub rings: Vec<Arc<Ring>>,
    /// The edges.
    pub edges: Vec<EdgeEntry>,
    /// A connection to the bus that no fault is done to.
    pub bus: Bus,
    http: Http,
    phase: [AtomicBool; 2],
}

/// What ends before the campaign does.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// The operator's new commands.
    Operator,
    /// Everybody else.
    Everybody,
}

/// Which key is shown where, and what for.
pub struct Question<'a> {
    /// Whose.
    pub ring: &'a Ring,
    /// Which version.
    pub version: u32,
    /// At which edge.
    pub edge: &'a EdgeEntry,
    /// What for.
    pub why: Why,
}

impl Scene {
    /// Sets it.
    ///
    /// # Errors
    /// When there can be no HTTP client.
    pub fn new(
        ledger: Ledger,
        rings: Vec<Arc<Ring>>,
        edges: Vec<EdgeEntry>,
        bus: Bus,
    ) -> anyhow::Result<Scene> {
        let http = Http::builder().no_proxy().timeout(PATIENCE).pool_max_idle_per_host(64).build()?;
        Ok(Scene { moments: Moments::begin(), ledger, rings, edges, bus, http, phase: Default::default() })
    }

    /// Writes an entry. A ledger with a hole proves nothing, so the campaign ends where that fails.
    ///
    /// # Panics
    /// When the ledger cannot be written.
    pub fn write(&self, entry: &Entry) {
        self.ledger.write(entry).expect("the ledger lies outside of what is harmed");
    }

    /// Has a part end.
    pub fn end(&self, part: Part) {
        self.phase[part as usize].store(true, Ordering::SeqCst);
    }

    /// Whether a part is to end.
    pub fn is_over(&self, part: Part) -> bool {
        self.phase[part as usize].load(Ordering::SeqCst)
    }

    /// Shows a key to an edge and writes down what it says.
    pub async fn show(&self, question: Question<'_>) -> Answer {
        let Question { ring, version, edge, why } = question;
        let Some(key) = ring.book().held.get(&version).cloned() else { return Answer::None };
        let sent = self.moments.now();
        let answer = if why == Why::Probe {
            self.verify(edge, key.expose()).await
        } else {
            self.check(edge, key.expose()).await
        };
        let answered = self.moments.now();
        let (edge, keyring) = (edge.id.clone(), ring.name.clone());
        let said = answer.clone();
        self.write(&Entry::Request { sent, answered, edge, keyring, version, why, answer: said });
        answer
    }

    /// As a gateway asks.
    async fn check(&self, edge: &EdgeEntry, key: &str) -> Answer {
        let asked = self.http.get(format!("{}/v1/check", edge.http)).bearer_auth(key).send().await;
        let Ok(response) = asked else { return Answer::None };
        let header = |name: &str| Some(response.headers().get(name)?.to_str().ok()?.to_owned());
        match response.status().as_u16() {
            200 => {
                let version = header("x-keywheel-key-version").and_then(|text| text.parse().ok());
                version.map_or(Answer::None, Answer::Accepted)
            }
            503 => Answer::Unavailable(header("x-keywheel-error").unwrap_or_default()),
            status => {
                Answer::Refused(header("x-keywheel-error").unwrap_or_else(|| format!("status {status}")))
            }
        }
    }

    /// As somebody asks who does not use the key.
    async fn verify(&self, edge: &EdgeEntry, key: &str) -> Answer {
        let question = json!({ "key": key, "probe": true });
        let asked = self.http.post(format!("{}/v1/verify", edge.http)).json(&question).send().await;
        let read = async |response: Response| response.json::<crate::traffic::Answer>().await.ok();
        let Ok(response) = asked else { return Answer::None };
        let status = response.status().as_u16();
        match read(response).await {
            Some(crate::traffic::Answer { valid: true, version: Some(version), .. }) => {
                Answer::Accepted(version)
            }
            Some(crate::traffic::Answer { code: Some(code), .. }) => match code.as_str() {
                "stale" | "not_ready" => Answer::Unavailable(code),
                _ => Answer::Refused(code),
            },
            Some(_) | None if status == 503 => Answer::Unavailable(String::new()),
            Some(_) | None => Answer::None,
        }
    }

    /// Looks for a sealed key and opens it; the client uses it from then on if it is its newest.
    pub async fn fetch(&self, ring: &Ring, version: u32) -> bool {
        let Ok(Some(sealed)) = self.bus.delivery(&ring.id, Version(version)).await else { return false };
        let opened = sealed.bytes().ok().and_then(|bytes| ring.opener.open(&bytes, &sealed.sender).ok());
        let Some(text) = opened else {
            eprintln!("faults: {} version {version} cannot be opened", ring.name);
            return false;
        };
        let mut book = ring.book();
        if book.held.contains_key(&version) {
            return true;
        }
        let (at, keyring) = (self.moments.now(), ring.name.clone());
        self.write(&Entry::Delivered { at, keyring, version, kid: sealed.kid });
        book.held.insert(version, Arc::new(text));
        true
    }
}
