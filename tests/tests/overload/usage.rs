//! Usage reports at many times the rate that can be taken: from a thief of an edge's credential, and from an edge that
//! reports far too often.

use crate::scene::{Scene, edge, is_long, keyring, resident, until};
use crate::user::User;
use async_nats::jetstream;
use keywheel_domain::{Address, At, EdgeId, Fact, KeyState, KeyringId, Tenant, Version};
use keywheel_edge::Verifier;
use keywheel_token::id;
use keywheel_wire::subject;
use keywheel_wire::text::Id;
use keywheel_wire::usage::{Report, VersionUse};
use nix::sys::signal::Signal;
use serde_json::json;
use std::future::IntoFuture as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// Reports of one edge that may wait.
const OF_ONE_MAX: usize = 100;
const PATIENCE: Duration = Duration::from_secs(90);
/// Uses of somebody else are in the log within this time, while all these reports come: generous, on any machine.
const SEEN_MAX: Duration = Duration::from_secs(60);
const QUIET: Duration = Duration::from_secs(2);

/// Reports without end, each about as many keyrings as one may name.
struct Flood {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(usize, usize)>,
}

impl Flood {
    fn begin(bus: jetstream::Context, edge: EdgeId) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(send(bus, edge, Arc::clone(&stop)));
        Flood { stop, task }
    }

    /// Ends it; how many reports the bus took, and how many it refused.
    async fn end(self) -> (usize, usize) {
        self.stop.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

async fn send(bus: jetstream::Context, edge: EdgeId, stop: Arc<AtomicBool>) -> (usize, usize) {
    let one = |at: u32| {
        let client = format!("c{at}");
        VersionUse { tenant: "loud".to_owned(), client, version: 1, uses: 1 }
    };
    let uses: Vec<VersionUse> = (0..if is_long() { 4000 } else { 300 }).map(one).collect();
    let mut report = Report {
        edge: edge.to_string(),
        boot: Id(id::fresh()),
        number: 0,
        continues: None,
        goodbye: false,
        uses,
        refused: Vec::new(),
    };
    let (mut taken, mut refused) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let mut under_way = Vec::new();
        for _ in 0..20 {
            let payload = serde_json::to_vec(&report).unwrap();
            report.number += 1;
            let published = bus.publish(subject::usage(&edge), payload.into()).await.unwrap();
            under_way.push(published.into_future());
        }
        for acknowledged in under_way {
            match acknowledged.await {
                Ok(_) => taken += 1,
                Err(error) if error.to_string().contains("maximum messages per subject") => refused += 1,
                Err(error) => panic!("a report was not stored for another reason: {error}"),
            }
        }
    }
    (taken, refused)
}

/// An edge inside this process that reports forty times as often as it should.
async fn hasty(scene: &Scene, id: &EdgeId) -> Verifier {
    let mut config = scene.library(id);
    config.report_every = keywheel_wire::text::Length(keywheel_domain::Span(25));
    let verifier = Verifier::open(config).await.unwrap();
    verifier.ready(PATIENCE).await.unwrap();
    verifier
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_usage_reports_proves_nothing_quiet_and_is_over_when_it_is_over() {
    let (loud, near) = (edge("loud"), edge("near"));
    let Some(scene) = Scene::with_libraries(1, &[loud.clone(), near.clone()], "2s").await else { return };
    let acme = Address::Tenant(Tenant::parse("acme").unwrap());
    let quiet = format!("{}s", QUIET.as_secs());
    let policy = json!({ "class": "strict", "overlap_min": "1s", "quiet": quiet });
    scene.operator.policy(&acme, policy).await.unwrap();
    let verifier = hasty(&scene, &near).await;
    let robbed = hasty(&scene, &loud).await;

    // Both versions are in use, and the log knows it: what is missing is quiet alone.
    let ring = keyring("acme/app");
    let (old, key) = scene.operator.issue(&ring).await.unwrap();
    // The barrier was passed: this edge knows the policy, so that a lease bounds how long it may serve.
    assert!(robbed.close().await);
    let with_old = User::begin(&verifier, &key);
    let new = scene.operator.rotate(&ring).await.unwrap();
    let with_new = User::begin(&verifier, &scene.operator.delivered(&ring, new).await.unwrap());
    scene.operator.until(&ring, "in use", |state| state.keys[&new].seen.is_some()).await.unwrap();
    scene.memory("before");
    println!("MiB of this process, with one edge in it, before: {}", resident(std::process::id()));

    // The usage-tracker stands still while they come, so that how many wait is no matter of its speed.
    scene.stack.signal("usage-tracker", Signal::SIGSTOP).unwrap();
    let flood = Flood::begin(scene.as_edge(&loud).await, loud.clone());
    for one in [&loud, &near] {
        until("the queue is full", PATIENCE, async || scene.reports_waiting(one).await == OF_ONE_MAX).await;
    }
    tokio::time::sleep(QUIET * 2).await;
    assert_eq!(scene.reports_waiting(&loud).await, OF_ONE_MAX);
    assert_eq!(scene.reports_waiting(&near).await, OF_ONE_MAX);
    scene.stack.signal("usage-tracker", Signal::SIGCONT).unwrap();

    let during = scene.modest_times(5, "during").await;
    let (_, calm) = scene.operator.issue(&keyring("calm/app")).await.unwrap();
    let is_served = async || verifier.verify(calm.expose(), &[], None).outcome.is_ok();
    until("another tenant's key is served", PATIENCE, is_served).await;
    let begun = Instant::now();
    let seen = |state: &keywheel_domain::State| state.keys[&Version(1)].seen.is_some();
    scene.operator.until(&keyring("calm/app"), "seen", seen).await.unwrap();
    let told = begun.elapsed();
    scene.memory("during");
    println!("a modest tenant's outcome: {during}; its first use was in the log after {told:.1?}");
    assert!(told < SEEN_MAX, "{told:?}");
    let (taken, refused) = flood.end().await;
    let drained =
        until("the reports are taken", PATIENCE, async || scene.waiting_in(subject::USAGE).await < 5).await;
    println!("{taken} reports taken, {refused} refused; the rest drained {drained:.1?} later");
    assert!(refused > 0);

    let (state, _) = scene.operator.history(&Address::Keyring(ring.clone())).await.unwrap();
    assert!(matches!(state.keys[&old].state, KeyState::Retiring(_)), "in use, and {:?}", state.keys[&old]);
    let uses = with_old.end().await;
    let begun = Instant::now();
    let is_over = |state: &keywheel_domain::State| matches!(state.keys[&old].state, KeyState::Retired { .. });
    scene.operator.until(&ring, "retired", is_over).await.unwrap();
    println!("retired by itself {:.1?} after its last use", begun.elapsed());
    with_new.end().await;
    scene.memory("after");

    let counted = counted(&scene, &ring, old).await;
    assert_eq!(counted, uses.len() as u64, "each use is counted once, also those that had to wait");
    nothing_false_was_proved(&scene, &ring, old, &uses).await;
    assert!(verifier.close().await);
}

/// Uses of a version as the usage-tracker counted them, over all edges.
async fn counted(scene: &Scene, ring: &KeyringId, version: Version) -> u64 {
    let usage = scene.operator.bus.ask_usage(ring).await.unwrap();
    usage.versions.iter().filter(|one| one.version == version.0).map(|one| one.uses).sum()
}

/// No quiet proof of a version has any of these uses in its window.
async fn nothing_false_was_proved(scene: &Scene, ring: &KeyringId, version: Version, uses: &[(At, At)]) {
    let (_, events) = scene.operator.history(&Address::Keyring(ring.clone())).await.unwrap();
    for recorded in &events {
        let Fact::KeySeen(used) = &recorded.event.fact else { continue };
        let Some(proof) = used.seen.quiet.as_ref().filter(|_| used.version == version) else { continue };
        let belied = uses.iter().find(|(from, to)| proof.from < *from && *to <= proof.complete_through);
        assert_eq!(belied, None, "a false proof: {proof:?}");
    }
}
