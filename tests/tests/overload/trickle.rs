//! An edge whose link gives a few bytes a second: too few to prove anything by, and never quite none.

use crate::flood::rotations;
use crate::scene::{Scene, edge, is_long, keyring, resident, until};
use crate::user::User;
use keywheel_domain::{Address, EdgeId, Tenant};
use keywheel_edge::{Refusal, Verifier};
use keywheel_tests::link::{Flow, Link, Way};
use keywheel_token::KeyText;
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(3);
/// What a loaded machine may add.
const MARGIN: Duration = Duration::from_secs(4);
/// Bytes a second: a handshake takes some two thousand.
const PACE: u32 = 400;
/// What the bus may keep for it, in MiB.
const KEPT_MAX: u64 = 100;

fn says(verifier: &Verifier, key: &KeyText) -> Result<(), Refusal> {
    verifier.verify(key.expose(), &[], None).outcome.map(|_| ())
}

fn nats_mib(scene: &Scene) -> u64 {
    resident(scene.stack.pid("nats").unwrap().as_raw().cast_unsigned())
}

/// An edge inside this process, and its link.
async fn linked(scene: &Scene, id: &EdgeId) -> (Link, Verifier) {
    let link = Link::to(scene.stack.context.nats_url.trim_start_matches("nats://")).unwrap();
    let mut config = scene.library(id);
    config.bus.url = format!("nats://{}", link.address());
    let verifier = Verifier::open(config).await.unwrap();
    verifier.ready(PATIENCE).await.unwrap();
    (link, verifier)
}

/// All of it waits on the bus for whoever is slow.
async fn much_is_written(scene: &Scene) {
    let times = if is_long() { 5000 } else { 300 };
    let loud: Vec<Address> = (0..10).map(|at| Address::Keyring(keyring(&format!("loud/c{at}")))).collect();
    for address in &loud {
        scene.modest(address.keyring().unwrap()).await;
    }
    let sent = rotations(scene, &loud, times).await;
    assert_eq!(sent.taken.len(), times, "{:?}", sent.refused);
    scene.drained().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_link_trickles_grows_stale_holds_up_nobody_beyond_a_lease_and_recovers() {
    let far = edge("far");
    let Some(scene) = Scene::with_libraries(1, std::slice::from_ref(&far), "3s").await else { return };
    let acme = Address::Tenant(Tenant::parse("acme").unwrap());
    scene.operator.policy(&acme, json!({ "class": "strict" })).await.unwrap();
    let (link, verifier) = linked(&scene, &far).await;
    let ring = keyring("acme/app");
    let (version, key) = scene.operator.issue(&ring).await.unwrap();
    until("the far edge knows the key", PATIENCE, async || says(&verifier, &key).is_ok()).await;
    let user = User::begin(&verifier, &key);
    scene.memory("before");
    let (nats_before, own_before) = (nats_mib(&scene), resident(std::process::id()));

    link.flow(Way::Out, Flow::Trickle(PACE));
    link.flow(Way::In, Flow::Trickle(PACE));
    let stale = until("it is stale", PATIENCE, async || verifier.unready() == Some("stale")).await;
    assert!(stale < LEASE + MARGIN, "its lease lasted {stale:?}");
    assert_eq!(says(&verifier, &key), Err(Refusal::Stale));

    let begun = Instant::now();
    let calm = keyring("calm/app");
    let (first, delivered) = scene.operator.issue(&calm).await.unwrap();
    let held_up = begun.elapsed();
    assert!(held_up < LEASE + MARGIN, "a new key was held up for {held_up:?}");
    let barrier = scene.barrier(&calm, first).await;
    let over: Vec<&str> = barrier.passed_over.iter().map(|over| over.edge.as_str()).collect();
    assert_eq!(over, ["far"]);

    much_is_written(&scene).await;
    let during = scene.modest_times(5, "during").await;
    let fields = json!({ "version": version.0, "reason": "leaked" });
    let revoked =
        scene.operator.accepted(&Address::Keyring(ring.clone()), Verb::Revoke, fields).await.unwrap();
    let receipt = scene.receipt(&ring, revoked.event.unwrap().seq).await;
    assert_eq!(receipt.applied_on, ["e1"]);
    let unreached: Vec<&str> = receipt.unreached.iter().map(|edge| edge.edge.as_str()).collect();
    assert_eq!(unreached, ["far"]);
    let refuses_by = receipt.unreached[0].refuses_by.0;
    scene.memory("during");
    let kept = nats_mib(&scene).saturating_sub(nats_before);
    println!(
        "stale after {stale:.1?}; a new key held up for {held_up:.1?}; a modest tenant's outcome: {during}; \
         receipt after {} ms; the bus took {kept} MiB more",
        receipt.after_ms,
    );
    assert!(kept < KEPT_MAX, "the bus took {kept} MiB more");
    assert_eq!(says(&verifier, &key), Err(Refusal::Stale), "it cannot know yet");

    link.mend();
    let is_back = async || {
        says(&verifier, &key) == Err(Refusal::Revoked)
            && says(&verifier, &delivered).is_ok()
            && verifier.unready().is_none()
    };
    let recovered = until("it has caught up", PATIENCE, is_back).await;
    let own = resident(std::process::id());
    println!("recovered {recovered:.1?} after its link; this process took {own_before} MiB, now {own}");
    let served = user.end().await;
    let late = served.iter().find(|(from, _)| *from > refuses_by);
    assert_eq!(late, None, "accepted after {refuses_by:?}");
    assert!(verifier.close().await);
}
