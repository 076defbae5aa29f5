//! What every scene begins with: a stack in a folder of its own, an operator, short policies, clients.

use keywheel_domain::{Address, KeyringId, Tenant};
use keywheel_tests::traffic::{self, Answer, Holder, Tally};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::KeyText;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Scene {
    pub stack: Stack,
    pub operator: Operator,
    pub http: reqwest::Client,
    /// Kept for as long as the stack runs in it.
    pub _folder: TempDir,
}

impl Scene {
    pub async fn open() -> Scene {
        Scene::with(|_| {}).await
    }

    /// A stack with changed options, and a policy that lets rotations end within seconds.
    pub async fn with(change: impl FnOnce(&mut StackOptions)) -> Scene {
        Scene::within(&[], change).await
    }

    /// The same with variables in the environment of all its processes.
    pub async fn within(environment: &[(&str, &str)], change: impl FnOnce(&mut StackOptions)) -> Scene {
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        change(&mut options);
        let stack = tokio::task::block_in_place(|| Stack::start_with(&options, environment)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        let policy = json!({ "overlap_min": "1s", "quiet": "3s", "overlap_max": "30d" });
        operator.policy(&tenant(), policy).await.unwrap();
        Scene { stack, operator, http: reqwest::Client::new(), _folder: folder }
    }

    pub fn edges(&self) -> Vec<String> {
        self.stack.context.edges.iter().map(|edge| edge.http.clone()).collect()
    }

    pub async fn ask(&self, edge: &str, key: &KeyText) -> Answer {
        traffic::ask(&self.http, edge, key.expose(), false).await.unwrap()
    }

    /// What every edge says of a key, as a probe.
    pub async fn everywhere(&self, key: &KeyText) -> Vec<String> {
        let mut said = Vec::new();
        for edge in self.edges() {
            let answer = traffic::ask(&self.http, &edge, key.expose(), true).await.unwrap();
            said.push(if answer.valid { "valid".to_owned() } else { answer.code.unwrap() });
        }
        said
    }

    pub async fn stop(self) {
        tokio::task::block_in_place(|| self.stack.stop()).unwrap();
    }
}

pub fn tenant() -> Address {
    Address::Tenant(Tenant::parse("acme").unwrap())
}

pub fn keyring(client: &str) -> KeyringId {
    KeyringId::parse(&format!("acme/{client}")).unwrap()
}

pub fn address(client: &str) -> Address {
    Address::Keyring(keyring(client))
}

pub fn holder(key: KeyText) -> Holder {
    Arc::new(Mutex::new(Arc::new(key)))
}

/// Waits for a condition; says what it was when it does not come.
pub async fn until<F: Future<Output = bool>>(what: &str, patience: Duration, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + patience;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub fn assert_nobody_was_refused(tally: &Arc<Tally>) {
    let accepted = tally.accepted.load(Ordering::Relaxed);
    println!(
        "accepted {accepted}, refused {}, unanswered {}",
        tally.refused.load(Ordering::Relaxed),
        tally.unavailable.load(Ordering::Relaxed)
    );
    assert!(accepted > 0, "there was no traffic");
    assert_eq!(*tally.complaints.lock().unwrap(), Vec::<String>::new());
    assert_eq!(tally.refused.load(Ordering::Relaxed), 0);
}
