//! What somebody with a stolen credential can do to the log: nothing that any reader applies, and nothing
//! that goes unseen. What is signed and not understood costs its own keyring.

use crate::cli::document;
use crate::forger::{Forger, seed, stored};
use crate::scene::{Scene, address, holder, keyring, until};
use keywheel_domain::event::{Activated, Barrier, Ended, Restored};
use keywheel_domain::key::Cause;
use keywheel_domain::{Address, EdgeId, Fact, PolicyPatch, Recorded, Span, State, Version};
use keywheel_table::Message;
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Traffic};
use keywheel_wire::notice::Notice;
use keywheel_wire::outcome::Word;
use keywheel_wire::signature::{Signed, Signer};
use keywheel_wire::signers::Installation;
use keywheel_wire::subject::{self, Service, Verb};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);

/// Every edge has applied the log up to `seq`, and is ready.
pub async fn reached(scene: &Scene, seq: u64) {
    for edge in scene.edges() {
        until("an edge has read what was forged", SOON, || async {
            let told = scene.http.get(format!("{edge}/v1/info")).send().await.unwrap();
            let told: Value = told.json().await.unwrap();
            told["watermark"].as_u64().is_some_and(|at| at >= seq)
        })
        .await;
    }
}

/// The positions of which an alarm of a kind was published, as often as it was.
pub async fn alarmed(scene: &Scene, code: &str, at: &Address) -> Vec<u64> {
    let notices = scene.operator.bus.notices(at, "alarm").await.unwrap();
    let of = |notice: &Notice| match notice {
        Notice::Alarm(alarm) if alarm.code == code => alarm.seq,
        _ => None,
    };
    notices.iter().filter_map(|(notice, _)| of(notice)).collect()
}

fn revoked(version: Version) -> Fact {
    let reason = Some("forged".to_owned());
    Fact::KeyRetired(Ended { version, also: vec![], cause: Cause::Revoked, reason, evidence: None })
}

fn revived(version: Version) -> Fact {
    Fact::RolledBack(Restored { to_seq: 1, restored: vec![version], withdrawn: vec![] })
}

/// The fact of a keyring's first event, for a version that it does not have.
pub fn issued(events: &[Recorded]) -> Fact {
    let Fact::KeyIssued(mut issued) = events[0].event.fact.clone() else { panic!("a key is issued first") };
    issued.version = Version(9);
    issued.digest.0[0] ^= 1;
    Fact::KeyIssued(issued)
}

/// Everything that a service's stolen key may not say about a keyring.
fn wishes(events: &[Recorded], own: Service) -> Vec<Fact> {
    let barrier = Barrier { position: 1, edges: vec![], passed_over: vec![], by_hand: None };
    let activated = Activated { version: Version(1), supersedes: vec![Version(2)], barrier };
    let policy = PolicyPatch { quiet: Some(Span::secs(0)), ..PolicyPatch::NONE };
    let all = vec![
        issued(events),
        revoked(Version(2)),
        revived(Version(1)),
        Fact::KeyActivated(activated),
        Fact::PolicySet(policy),
    ];
    all.into_iter().filter(|fact| !keywheel_wire::belief::is_entitled(own, fact)).collect()
}

/// Puts every kind of forgery behind a keyring's last event; gives their positions.
async fn attack(scene: &Scene, client: &str, events: &[Recorded]) -> Vec<u64> {
    let thief = Forger::with(scene, Service::UsageTracker).await;
    let (at, subject) = (address(client), subject::event(&address(client)));
    let mut forged = Vec::new();
    for fact in wishes(events, Service::UsageTracker) {
        forged.push(thief.forge(scene, &at, fact).await);
    }
    // Word for word what stood there before, first and last, with its own good signature.
    for seq in [events[0].seq, events.last().unwrap().seq] {
        let Message { payload, signed, .. } = stored(scene, &at, seq).await;
        forged.push(thief.put(&subject, &payload, signed).await);
    }
    // The issuer's own words: of another keyring, another installation, another revision, altered, and
    // under another name.
    let issuer = Signer::from_seed(&seed(scene, Service::Issuer)).unwrap();
    let (_, others) = scene.operator.history(&address("bystander")).await.unwrap();
    let other = stored(scene, &address("bystander"), others[0].seq).await;
    forged.push(thief.put(&subject, &other.payload, other.signed.clone()).await);
    let moved = issuer.sign(&subject, &other.payload).unwrap();
    forged.push(thief.put(&subject, &other.payload, Some(moved)).await);
    let elsewhere = Installation(thief.installation.0 ^ 1);
    let foreign = thief.next(scene, &at, issued(events), elsewhere).await;
    forged.push(thief.put(&subject, &foreign, Some(issuer.sign(&subject, &foreign).unwrap())).await);
    let early = thief.at(scene, &at, issued(events), thief.installation, 5).await;
    forged.push(thief.put(&subject, &early, Some(issuer.sign(&subject, &early).unwrap())).await);
    let sound = thief.next(scene, &at, issued(events), thief.installation).await;
    let signed = thief.signer.sign(&subject, &sound).unwrap();
    let posed = Signed { by: issuer.public().to_owned(), ..signed };
    forged.push(thief.put(&subject, &sound, Some(posed)).await);
    forged.push(thief.put(&subject, &sound, None).await);
    let Message { mut payload, signed, .. } = stored(scene, &at, events[0].seq).await;
    let middle = payload.len() / 2;
    payload[middle] ^= 1;
    forged.push(thief.put(&subject, &payload, signed).await);
    forged
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_forged_is_applied_and_everything_is_seen() {
    let scene = Scene::open().await;
    let ring = keyring("victim");
    scene.operator.issue(&keyring("bystander")).await.unwrap();
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert!(scene.ask(&scene.edges()[0], &first).await.valid);
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    let is = |state: &State| word(state, version) == "active";
    scene.operator.until(&ring, "active", is).await.unwrap();
    let (_, leaked) = scene.operator.issue(&keyring("leaked")).await.unwrap();
    let fields = json!({ "version": 1, "reason": "leaked" });
    scene.operator.accepted(&address("leaked"), Verb::Revoke, fields).await.unwrap();

    let (before, events) = scene.operator.history(&address("victim")).await.unwrap();
    let mut forged = attack(&scene, "victim", &events).await;
    let thief = Forger::with(&scene, Service::UsageTracker).await;
    let revive = thief.forge(&scene, &address("leaked"), revived(Version(1))).await;
    let mut roster = Vec::new();
    for fact in [Fact::EdgeAdded(edge("ghost")), Fact::EdgeRemoved(edge("e1"))] {
        roster.push(thief.forge(&scene, &Address::Installation, fact).await);
    }
    reached(&scene, *roster.last().unwrap()).await;

    let state = scene.operator.history(&address("victim")).await.unwrap().0;
    let words = |state: &State| state.keys.keys().map(|version| word(state, *version)).collect::<Vec<_>>();
    assert_eq!((words(&state), &state.policy), (words(&before), &before.policy));
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&leaked).await, ["revoked", "revoked"], "compromise is absorbing");
    let fleet = document(&scene, "edges", "");
    let ids: Vec<_> = fleet["edges"].as_array().unwrap().iter().map(|edge| edge["id"].clone()).collect();
    assert_eq!(ids, ["e1", "e2"]);

    for (at, seqs) in [
        (address("victim"), &mut forged),
        (address("leaked"), &mut vec![revive]),
        (Address::Installation, &mut roster),
    ] {
        seqs.sort_unstable();
        until("each of them is told of", SOON, || async {
            alarmed(&scene, "not_believed", &at).await.len() >= seqs.len()
        })
        .await;
        assert_eq!(alarmed(&scene, "not_believed", &at).await, *seqs, "once each");
    }
    is_named(&scene, "acme/victim", &forged);
    to_the_end(&scene, "victim", (first, second)).await;
    scene.stop().await;
}

/// The operator's program names what does not count, and shows none of it as an event.
fn is_named(scene: &Scene, who: &str, forged: &[u64]) {
    let status = document(scene, &format!("status {who}"), "");
    let named: BTreeSet<u64> = status["not_believed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|doubt| doubt["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(named, forged.iter().copied().collect());
    // From the middle too: what stood before decides what a copy of an old event is.
    for from in [1, forged[0]] {
        let lines = crate::cli::lines(scene, &format!("log {who} --from-seq {from}"));
        assert!(lines.len() >= forged.len());
        for line in lines {
            let seq = line["seq"].as_u64().unwrap();
            assert_eq!(line["doubt"].is_string(), forged.contains(&seq), "{line}");
            assert_eq!(line["type"].is_null(), forged.contains(&seq), "{line}");
        }
    }
}

/// The forged messages moved the keyring's last sequence, and it goes on all the same.
async fn to_the_end(scene: &Scene, client: &str, keys: (keywheel_token::KeyText, keywheel_token::KeyText)) {
    let ring = keyring(client);
    let held = holder(keys.1);
    let traffic = Traffic::start(
        vec![(client.to_owned(), std::sync::Arc::clone(&held))],
        &scene.edges(),
        Duration::from_millis(50),
    );
    let is = |state: &State| word(state, Version(1)) == "retired";
    scene.operator.until(&ring, "retired", is).await.unwrap();
    let third = scene.operator.rotate(&ring).await.unwrap();
    traffic::swap(&held, scene.operator.delivered(&ring, third).await.unwrap());
    let is = |state: &State| word(state, Version(2)) == "retired";
    scene.operator.until(&ring, "retired", is).await.unwrap();
    crate::scene::assert_nobody_was_refused(&traffic.stop().await);
}

fn edge(id: &str) -> EdgeId {
    EdgeId::parse(id).unwrap()
}

/// The issuer's key itself signs what this version does not know, once of each kind.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_signed_and_not_understood_costs_its_own_keyring() {
    let scene = Scene::open().await;
    let issuer = Forger::with(&scene, Service::Issuer).await;
    let (_, free) = scene.operator.issue(&keyring("free")).await.unwrap();
    let mut frozen = Vec::new();
    for (client, field, value) in [
        ("unknown", "type", json!("KeyPolished")),
        ("newer", "v", json!(2)),
        ("garbled", "body", json!({ "version": "one" })),
    ] {
        let (_, key) = scene.operator.issue(&keyring(client)).await.unwrap();
        let (_, events) = scene.operator.history(&address(client)).await.unwrap();
        let payload = issuer.next(&scene, &address(client), issued(&events), issuer.installation).await;
        let mut odd = keywheel_wire::event::to_json(&payload).unwrap();
        odd[field] = value;
        let (subject, odd) = (subject::event(&address(client)), rmp_serde::to_vec_named(&odd).unwrap());
        let signed = issuer.signer.sign(&subject, &odd).unwrap();
        let seq = issuer.put(&subject, &odd, Some(signed)).await;
        frozen.push((client, key, seq));
    }
    reached(&scene, frozen[2].2).await;
    for (client, key, seq) in &frozen {
        assert_eq!(scene.everywhere(key).await, ["valid", "valid"], "{client} stays as it was");
        until("it is told of", SOON, || async {
            alarmed(&scene, "frozen", &address(client)).await == [*seq]
        })
        .await;
        let fields = json!({ "version": 1, "reason": "leaked" });
        let outcome = scene.operator.command(&address(client), Verb::Revoke, fields).await.unwrap();
        assert_eq!(outcome.outcome, Word::Rejected);
        assert_eq!(outcome.rejection.unwrap().code, "frozen");
        let status = document(&scene, &format!("status acme/{client}"), "");
        assert_eq!(status["not_believed"][0]["freezes"], true, "{status}");
    }
    let version = scene.operator.rotate(&keyring("free")).await.unwrap();
    let second = scene.operator.delivered(&keyring("free"), version).await.unwrap();
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&free).await, ["valid", "valid"]);
    scene.stop().await;
}
