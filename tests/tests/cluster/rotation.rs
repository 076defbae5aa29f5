//! A rotation under traffic while servers of the cluster die or stand still: nobody with a valid key is refused, and what
//! was acknowledged takes effect.

use keywheel_domain::event::FactKind;
use keywheel_domain::{Address, KeyringId, Tenant, Version};
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Holder, Tally, Traffic};
use keywheel_tests::{Operator, Stack, StackOptions};
use nix::sys::signal::Signal;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A keyring and whoever uses it, at a stack on several servers.
pub struct Scene {
    stack: Stack,
    operator: Operator,
    ring: KeyringId,
    held: Holder,
    _folder: TempDir,
}

impl Scene {
    async fn open() -> Scene {
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.cluster = 3;
        // As long as servers take to agree on another leader, so that edges are fresh in between.
        options.lease = "10s";
        Scene::over(&options, folder).await
    }

    /// Starts the stack; `folder` is kept for as long as it runs.
    pub async fn over(options: &StackOptions, folder: TempDir) -> Scene {
        let stack = tokio::task::block_in_place(|| Stack::start(options)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
        let policy = json!({ "overlap_min": "1s", "quiet": "3s", "overlap_max": "30d" });
        operator.policy(&tenant, policy).await.unwrap();
        let ring = KeyringId::parse("acme/web").unwrap();
        let (_, key) = operator.issue(&ring).await.unwrap();
        let held = Arc::new(Mutex::new(Arc::new(key)));
        Scene { stack, operator, ring, held, _folder: folder }
    }

    /// Rotates, and lets the client have the new key.
    pub async fn rotate(&self) -> Version {
        let version = self.operator.rotate(&self.ring).await.unwrap();
        let key = self.operator.delivered(&self.ring, version).await.unwrap();
        traffic::swap(&self.held, key);
        version
    }

    /// The client asks every edge in turn.
    pub fn traffic(&self) -> Traffic {
        let edges: Vec<String> = self.stack.context.edges.iter().map(|edge| edge.http.clone()).collect();
        Traffic::start(vec![("web".to_owned(), Arc::clone(&self.held))], &edges, Duration::from_millis(20))
    }

    /// Every version that was acknowledged is in the log once, and ends as it should.
    pub async fn ends_well(&self, newest: Version) {
        let old = Version(newest.0 - 1);
        self.operator.until(&self.ring, "retired", |state| word(state, old) == "retired").await.unwrap();
        let (state, events) = self.operator.history(&Address::Keyring(self.ring.clone())).await.unwrap();
        let issued = events.iter().filter(|it| it.event.fact.kind() == FactKind::KeyIssued).count();
        assert_eq!(issued, newest.0 as usize, "each rotation that was acknowledged has one effect");
        assert_eq!(word(&state, newest), "active");
    }
}

/// There was traffic, and each answer was yes or not yet.
pub fn assert_nobody_was_refused(tally: &Arc<Tally>) {
    let accepted = tally.accepted.load(Ordering::Relaxed);
    println!("accepted {accepted}, unanswered {}", tally.unavailable.load(Ordering::Relaxed));
    assert!(accepted > 0, "there was no traffic");
    assert_eq!(*tally.complaints.lock().unwrap(), Vec::<String>::new());
    assert_eq!(tally.refused.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_server_is_killed_and_one_paused_while_keys_rotate() {
    let scene = Scene::open().await;
    let running = scene.traffic();
    let mut newest = Version(1);
    for name in ["nats-1", "nats-2", "nats-3"] {
        tokio::task::block_in_place(|| scene.stack.kill_and_await(name)).unwrap();
        newest = scene.rotate().await;
        println!("{name} killed: rotated to {}", newest.0);
    }
    scene.stack.signal("nats-1", Signal::SIGSTOP).unwrap();
    newest = scene.rotate().await.max(newest);
    scene.stack.signal("nats-1", Signal::SIGCONT).unwrap();
    println!("nats-1 paused: rotated to {}", newest.0);
    scene.ends_well(newest).await;
    assert_nobody_was_refused(&running.stop().await);
    tokio::task::block_in_place(|| scene.stack.stop()).unwrap();
}
