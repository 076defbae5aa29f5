//! A key's life from issue to quiet retirement, and what must not end it.

use crate::scene::{Scene, address, assert_nobody_was_refused, holder, keyring, until};
use keywheel_domain::event::Evidence;
use keywheel_domain::key::Cause;
use keywheel_domain::{Fact, KeyState, State, Version};
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Traffic};
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn is(version: u32, wanted: &'static str) -> impl Fn(&State) -> bool {
    move |state| word(state, Version(version)) == wanted
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lives_from_issue_to_quiet_retirement() {
    let scene = Scene::open().await;
    let ring = keyring("life");
    let (version, first) = scene.operator.issue(&ring).await.unwrap();
    assert_eq!(version, Version(1));
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    let held = holder(first);
    let first = Arc::clone(&held.lock().unwrap());
    let clients = vec![("life".to_owned(), Arc::clone(&held))];
    let traffic = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));

    let second_version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, second_version).await.unwrap();
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    // As long as the old key is used it is not retired, and as long as the new one is not seen.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let state = scene.operator.until(&ring, "retiring", is(1, "retiring")).await.unwrap();
    assert!(state.keys[&Version(1)].quiet.is_none(), "a busy key was proven quiet");

    traffic::swap(&held, second);
    scene.operator.until(&ring, "retired", is(1, "retired")).await.unwrap();
    assert_nobody_was_refused(&traffic.stop().await);
    until("both edges refuse the retired key", Duration::from_secs(2), || async {
        scene.everywhere(&first).await == ["retired", "retired"]
    })
    .await;
    let (state, events) = scene.operator.history(&address("life")).await.unwrap();
    assert!(matches!(state.keys[&Version(1)].state, KeyState::Retired { cause: Cause::Superseded, .. }));
    let retired = events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::KeyRetired(ended) => ended.evidence,
        _ => None,
    });
    assert!(matches!(retired, Some(Evidence::Quiet { successor: Version(2), .. })), "{retired:?}");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_client_never_loses_its_only_key() {
    let scene = Scene::open().await;
    let ring = keyring("idle");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert!(scene.ask(&scene.edges()[0], &first).await.valid);
    let version = scene.operator.rotate(&ring).await.unwrap();
    scene.operator.until(&ring, "active", is(version.0, "active")).await.unwrap();
    // Overlap and quiet period pass twice over; the new key was never seen (SAFETY 5).
    tokio::time::sleep(Duration::from_secs(8)).await;
    let (state, _) = scene.operator.history(&address("idle")).await.unwrap();
    assert_eq!(word(&state, Version(1)), "retiring");
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_brings_the_old_key_back_and_keeps_the_new_one_for_a_while() {
    let scene = Scene::open().await;
    let ring = keyring("undo");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert!(scene.ask(&scene.edges()[0], &first).await.valid);
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    let (state, _) = scene.operator.history(&address("undo")).await.unwrap();
    let rotation = keywheel_wire::text::id(state.keys[&version].rotation.0);
    let fields = json!({ "rotation_id": rotation });
    scene.operator.accepted(&address("undo"), Verb::Rollback, fields).await.unwrap();
    let state = scene.operator.until(&ring, "restored", is(1, "active")).await.unwrap();
    assert_eq!(word(&state, version), "retiring");
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    scene.stop().await;
}
