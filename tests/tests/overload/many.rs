//! Many edges at once: each with a credential, a connection, a database, a lease, pulses and reports of its own. They
//! are libraries inside this process; one more is a process of its own.

use crate::scene::{Scene, edge, is_long, keyring, resident, until};
use futures_util::{StreamExt as _, stream};
use keywheel_domain::event::{CoverBasis, QuietProof};
use keywheel_domain::{Address, EdgeId, Fact, KeyState, KeyringId, Version};
use keywheel_edge::{Refusal, Verifier};
use keywheel_runtime::descriptors;
use keywheel_token::KeyText;
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(90);
/// How many of them start or end at a time.
const AT_ONCE: usize = 20;

struct Crowd {
    scene: Scene,
    verifiers: Vec<Verifier>,
}

impl Crowd {
    async fn open(size: usize) -> Option<Crowd> {
        // Each has a connection, a database and a lock.
        descriptors::raise();
        let ids: Vec<EdgeId> = (1..=size).map(|at| edge(&format!("m{at}"))).collect();
        let begun = Instant::now();
        let scene = Scene::with_libraries(1, &ids, "15s").await?;
        println!("{size} edges are on the roster after {:.1?}", begun.elapsed());
        let own = resident(std::process::id());
        let begun = Instant::now();
        let opened = ids.iter().map(async |id| {
            let verifier = Verifier::open(scene.library(id)).await.unwrap();
            verifier.ready(PATIENCE).await.unwrap();
            verifier
        });
        let verifiers = stream::iter(opened).buffer_unordered(AT_ONCE).collect().await;
        println!("they are fresh after {:.1?}", begun.elapsed());
        println!("MiB of this process: {own} without them, {} with them", resident(std::process::id()));
        Some(Crowd { scene, verifiers })
    }

    /// How many there are, with the one that is a process.
    fn size(&self) -> usize {
        self.verifiers.len() + 1
    }

    /// What each says of a key, as a use.
    fn all_say(&self, key: &KeyText, wanted: Result<(), Refusal>) -> bool {
        let says = |verifier: &Verifier| verifier.verify(key.expose(), &[], None).outcome.map(|_| ());
        self.verifiers.iter().all(|verifier| says(verifier) == wanted)
    }

    /// Revokes a version: from the receipt on nobody accepts it.
    async fn revoke(&self, ring: &KeyringId, version: Version, key: &KeyText) {
        let begun = Instant::now();
        let fields = json!({ "version": version.0, "reason": "leaked" });
        let address = Address::Keyring(ring.clone());
        let outcome = self.scene.operator.accepted(&address, Verb::Revoke, fields).await.unwrap();
        let receipt = self.scene.receipt(ring, outcome.event.unwrap().seq).await;
        let seen = begun.elapsed();
        assert_eq!((receipt.applied_on.len(), &receipt.unreached[..]), (self.size(), &[][..]));
        assert!(self.all_say(key, Err(Refusal::Revoked)), "accepted after the receipt");
        println!(
            "refused on all {} by a receipt after {} ms, seen after {seen:.1?}",
            self.size(),
            receipt.after_ms
        );
    }

    /// The newest quiet proof of a version.
    async fn proof(&self, ring: &KeyringId, version: Version) -> QuietProof {
        let (_, events) = self.scene.operator.history(&Address::Keyring(ring.clone())).await.unwrap();
        let proof = events.into_iter().rev().find_map(|recorded| {
            let Fact::KeySeen(used) = recorded.event.fact else { return None };
            used.seen.quiet.filter(|_| used.version == version)
        });
        proof.unwrap()
    }

    async fn close(self) {
        let ends = self.verifiers.iter().map(Verifier::close);
        let closed: Vec<bool> = stream::iter(ends).buffer_unordered(AT_ONCE).collect().await;
        let unsaid = closed.iter().filter(|said| !**said).count();
        assert_eq!(unsaid, 0, "ended without having reported all");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_edges_at_once_are_reached_prove_and_come_back_together() {
    let Some(crowd) = Crowd::open(if is_long() { 200 } else { 30 }).await else { return };
    let (scene, ring) = (&crowd.scene, keyring("acme/app"));
    let policy = json!({ "overlap_min": "1s", "quiet": "2s" });
    scene.operator.policy(&Address::Tenant(ring.tenant.clone()), policy).await.unwrap();
    scene.memory("with all of them");

    let begun = Instant::now();
    let (old, key) = scene.operator.issue(&ring).await.unwrap();
    println!("a first key was delivered after {:.1?}", begun.elapsed());
    assert!(crowd.all_say(&key, Ok(())), "delivered before everybody knew it");
    let begun = Instant::now();
    let new = scene.operator.rotate(&ring).await.unwrap();
    let newer = scene.operator.delivered(&ring, new).await.unwrap();
    println!("a rotation reached all after {:.1?}", begun.elapsed());
    assert!(crowd.all_say(&newer, Ok(())), "delivered before everybody knew it");
    let barrier = scene.barrier(&ring, new).await;
    assert_eq!((barrier.edges.len(), barrier.passed_over.len()), (crowd.size(), 0));

    let begun = Instant::now();
    let is_over = |state: &keywheel_domain::State| matches!(state.keys[&old].state, KeyState::Retired { .. });
    scene.operator.until(&ring, "retired", is_over).await.unwrap();
    let proof = crowd.proof(&ring, old).await;
    let reported = proof.edges.iter().filter(|covered| covered.basis == CoverBasis::Reported).count();
    assert_eq!((reported, proof.edges.len()), (crowd.size(), crowd.size()));
    println!("retired by the reports of all {:.1?} after its last use", begun.elapsed());
    crowd.revoke(&ring, new, &newer).await;

    tokio::task::block_in_place(|| scene.stack.kill_and_await("nats")).unwrap();
    let begun = Instant::now();
    let again = keyring("acme/again");
    let (version, key) = scene.operator.issue(&again).await.unwrap();
    let issued = begun.elapsed();
    until("everybody is back", PATIENCE, async || crowd.all_say(&key, Ok(()))).await;
    println!(
        "after the bus was killed: a key delivered after {issued:.1?}, known to all after {:.1?}",
        begun.elapsed()
    );
    crowd.revoke(&again, version, &key).await;
    scene.memory("after");
    println!("MiB of this process after: {}", resident(std::process::id()));
    crowd.close().await;
}
