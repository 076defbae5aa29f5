//! Questions to the past, asked of real logs: what was true at each moment, and what each edge can have said.

use crate::cli::document;
use crate::cut_off::{Remote, receipt};
use crate::scene::{Scene, address, keyring};
use keywheel_domain::{Recorded, State, Version, evolve};
use keywheel_runtime::clock::wall_ms;
use keywheel_tests::operator::word;
use keywheel_token::KeyText;
use keywheel_wire::subject::Verb;
use keywheel_wire::text::moment;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A moment, with what was true in it.
struct Noted {
    seq: u64,
    at: u64,
    state: State,
    accepted: Option<bool>,
}

async fn note(scene: &Scene, client: &str, key: Option<&KeyText>) -> Noted {
    let said = match key {
        Some(key) => scene.everywhere(key).await,
        None => Vec::new(),
    };
    let all_valid = said.iter().all(|said| said == "valid");
    assert!(all_valid || said.iter().all(|said| said != "valid"), "edges differ: {said:?}");
    let (state, events) = scene.operator.history(&address(client)).await.unwrap();
    let seq = events.last().unwrap().seq;
    Noted { seq, at: wall_ms(), state, accepted: key.map(|_| all_valid) }
}

fn time(ms: u64) -> String {
    moment(keywheel_domain::At(ms))
}

/// The word for each version's state.
fn words_of(state: &State) -> Vec<String> {
    state.keys.keys().map(|version| word(state, *version).to_owned()).collect()
}

fn words_in(document: &Value) -> Vec<String> {
    let versions = document["versions"].as_array().unwrap();
    versions.iter().map(|version| version["state"].as_str().unwrap().to_owned()).collect()
}

fn by_then(events: &[Recorded], at: u64) -> State {
    events.iter().take_while(|recorded| recorded.event.at.0 <= at).fold(State::default(), evolve)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_of_a_keys_life_is_answered_as_it_was() {
    let scene = Scene::open().await;
    let (ring, operator) = (keyring("past"), &scene.operator);
    let before = wall_ms() - 1000;
    let (_, first) = operator.issue(&ring).await.unwrap();
    let mut noted = vec![note(&scene, "past", Some(&first)).await];
    assert!(scene.ask(scene.stack.edge("e1").unwrap(), &first).await.valid);
    let version = operator.rotate(&ring).await.unwrap();
    let second = operator.delivered(&ring, version).await.unwrap();
    noted.push(note(&scene, "past", Some(&first)).await);
    assert!(scene.ask(scene.stack.edge("e2").unwrap(), &second).await.valid);
    operator.until(&ring, "retired", |state| word(state, Version(1)) == "retired").await.unwrap();
    settled(&scene, "past").await;
    noted.push(note(&scene, "past", Some(&first)).await);
    let to_seq = noted[0].seq;
    operator.accepted(&address("past"), Verb::Rollback, json!({ "to_seq": to_seq })).await.unwrap();
    settled(&scene, "past").await;
    noted.push(note(&scene, "past", Some(&first)).await);
    let leaked = json!({ "version": 1, "reason": "leaked" });
    operator.accepted(&address("past"), Verb::Revoke, leaked).await.unwrap();
    settled(&scene, "past").await;
    noted.push(note(&scene, "past", Some(&first)).await);
    let accepted: Vec<_> = noted.iter().map(|noted| noted.accepted).collect();
    assert_eq!(accepted, [true, true, false, true, false].map(Some), "the story itself");

    let (_, events) = operator.history(&address("past")).await.unwrap();
    let kid = noted[0].state.keys[&Version(1)].kid;
    for (n, noted) in noted.iter().enumerate() {
        let by_seq = document(&scene, &format!("state acme/past --at-seq {}", noted.seq), "");
        assert_eq!(words_in(&by_seq), words_of(&noted.state), "moment {n}: {by_seq}");
        assert_eq!(by_seq["last_event"]["seq"], noted.seq);
        assert_eq!(by_seq["policy"]["quiet"], "3s");
        let at = time(noted.at);
        let by_time = document(&scene, &format!("state acme/past --at {at}"), "");
        assert_eq!(words_in(&by_time), words_of(&by_then(&events, noted.at)), "moment {n}: {by_time}");
        let tenant = document(&scene, &format!("state acme --at-seq {}", noted.seq), "");
        assert_eq!(words_in(&tenant["keyrings"][0]), words_of(&noted.state), "moment {n}: {tenant}");
        let asked = document(&scene, &format!("would-accept --kid {kid} --at {at}"), "");
        assert_eq!(asked["accepted"].as_bool(), noted.accepted, "moment {n}: {asked}");
        for edge in asked["edges"].as_array().unwrap() {
            let said = edge["accepted"].as_bool();
            assert!(said.is_none() || said == noted.accepted, "moment {n}: {asked}");
        }
    }
    let unborn = document(&scene, &format!("would-accept acme/past --kid {kid} --at {}", time(before)), "");
    assert_eq!((unborn["code"].as_str(), unborn["because"].as_array().unwrap().len()), (Some("unknown"), 0));
    assert_eq!(unborn["issued_later"]["type"], "KeyIssued", "{unborn}");

    let (from, to) = (noted[1].seq, noted[4].seq);
    let changed = document(&scene, &format!("diff acme/past --from {from} --to {to}"), "");
    let states = |side: &str| -> Vec<_> {
        changed["versions"].as_array().unwrap().iter().map(|v| v[side]["state"].clone()).collect()
    };
    assert_eq!(
        (states("was"), states("is")),
        (vec![json!("retiring"), json!("active")], vec![json!("revoked"), json!("retiring")])
    );
    let types: Vec<_> =
        changed["events"].as_array().unwrap().iter().map(|event| event["type"].clone()).collect();
    let types: Vec<_> = types.into_iter().filter(|kind| kind != "KeySeen").collect();
    assert_eq!(types, ["KeyRetired", "RolledBack", "KeyRetired"]);
    scene.stop().await;
}

/// Waits for the receipt of the newest ending or rollback: then every edge has applied it.
async fn settled(scene: &Scene, client: &str) {
    let (_, events) = scene.operator.history(&address(client)).await.unwrap();
    let ends = |recorded: &&Recorded| {
        matches!(
            recorded.event.fact,
            keywheel_domain::Fact::KeyRetired(_) | keywheel_domain::Fact::RolledBack(_)
        )
    };
    let seq = events.iter().rev().find(ends).unwrap().seq;
    receipt(scene, client, seq).await;
}

/// What is said of one edge: whether it accepted, and every code that it can have answered.
fn of_edge(scene: &Scene, kid: &str, edge: &str, at: u64) -> (Option<bool>, Vec<String>) {
    let document = document(scene, &format!("would-accept --kid {kid} --edge {edge} --at {}", time(at)), "");
    let edge = &document["edges"][0];
    let answers = edge["answers"].as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
    (edge["accepted"].as_bool(), answers.collect())
}

fn open() -> (Option<bool>, Vec<String>) {
    (None, vec!["valid".to_owned(), "revoked".to_owned()])
}

fn revoked() -> (Option<bool>, Vec<String>) {
    (Some(false), vec!["revoked".to_owned()])
}

fn valid() -> (Option<bool>, Vec<String>) {
    (Some(true), vec!["valid".to_owned()])
}

/// An edge that hears nothing accepts a revoked key of an available keyring on, and nobody says that it did not.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_cut_off_is_never_said_to_have_refused() {
    let scene = Scene::open().await;
    let remote = Remote::join(&scene).await;
    let (_, key) = scene.operator.issue(&keyring("far")).await.unwrap();
    let (state, _) = scene.operator.history(&address("far")).await.unwrap();
    let kid = state.keys[&Version(1)].kid.to_string();
    let before = wall_ms();
    remote.cut();
    let fields = json!({ "version": 1, "reason": "leaked" });
    let outcome = scene.operator.accepted(&address("far"), Verb::Revoke, fields).await.unwrap();
    let receipt = receipt(&scene, "far", outcome.event.unwrap().seq).await;
    assert_eq!(receipt.unreached.len(), 1, "{receipt:?}");
    // The truth, and what is said of it.
    assert_eq!(remote.says(&scene, &key).await, "valid", "an available keyring is served on");
    let after = wall_ms();
    assert_eq!(of_edge(&scene, &kid, "remote", before), valid());
    assert_eq!(of_edge(&scene, &kid, "remote", after), open());
    assert_eq!(of_edge(&scene, &kid, "e1", before), valid());
    assert_eq!(of_edge(&scene, &kid, "e1", after), revoked());
    scene.stop().await;
}

/// A paused edge of a strict keyring is open until its receipt says that it refuses, and not after.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_edge_is_open_until_its_lease_has_run_out() {
    let scene = Scene::open().await;
    scene.operator.policy(&address("tight"), json!({ "class": "strict" })).await.unwrap();
    let (_, key) = scene.operator.issue(&keyring("tight")).await.unwrap();
    let (state, _) = scene.operator.history(&address("tight")).await.unwrap();
    let kid = state.keys[&Version(1)].kid.to_string();
    assert!(scene.ask(scene.stack.edge("e2").unwrap(), &key).await.valid);
    let before = wall_ms();
    scene.stack.signal("edge-e2", Signal::SIGSTOP).unwrap();
    let fields = json!({ "version": 1, "reason": "leaked" });
    let outcome = scene.operator.accepted(&address("tight"), Verb::Revoke, fields).await.unwrap();
    let seq = outcome.event.unwrap().seq;
    let receipt = receipt(&scene, "tight", seq).await;
    assert_eq!(receipt.unreached.iter().map(|edge| edge.edge.as_str()).collect::<Vec<_>>(), ["e2"]);
    let refuses_by = receipt.unreached[0].refuses_by.0.0;
    while wall_ms() <= refuses_by {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (_, events) = scene.operator.history(&address("tight")).await.unwrap();
    let decided = events.iter().find(|recorded| recorded.seq == seq).unwrap().event.at.0;
    assert_eq!(of_edge(&scene, &kid, "e2", before), valid());
    assert_eq!(of_edge(&scene, &kid, "e2", decided), open(), "as soon as it was decided");
    assert_eq!(of_edge(&scene, &kid, "e1", receipt.at.0.0), revoked(), "as the receipt says");
    assert_eq!(of_edge(&scene, &kid, "e2", refuses_by), revoked(), "or nothing at all");
    scene.stack.signal("edge-e2", Signal::SIGCONT).unwrap();
    let edge = scene.stack.edge("e2").unwrap();
    assert!(!scene.ask(edge, &key).await.valid, "accepted after its receipt");
    scene.stop().await;
}
