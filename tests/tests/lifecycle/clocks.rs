//! Wall clocks that are ahead of the bus's or behind take no part in a proof (SAFETY 4).

use crate::cut_off::receipt;
use crate::scene::{Scene, address, assert_nobody_was_refused, holder, keyring, tenant};
use keywheel_domain::{Span, State, Version};
use keywheel_tests::gateway::beside_gateways;
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Traffic};
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

fn is_first(wanted: &'static str) -> impl Fn(&State) -> bool {
    move |state| word(state, Version(1)) == wanted
}

/// The environment of processes whose wall clocks are off by `by`; nothing where there is no libfaketime.
fn clock(by: &'static str) -> Option<Vec<(&'static str, String)>> {
    let Some(library) = beside_gateways("libfaketime") else {
        eprintln!("KEYWHEEL_TEST_GATEWAYS has no libfaketime: not tested");
        return None;
    };
    let library = library.display().to_string();
    let own = [("LD_PRELOAD", library), ("FAKETIME", by.to_owned())];
    Some(own.into_iter().chain([("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned())]).collect())
}

/// Strict, so that an edge's horizon is its lease.
async fn scene(clock: &[(&str, String)]) -> Scene {
    let clock: Vec<(&str, &str)> = clock.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let scene = Scene::within(&clock, |_| {}).await;
    let policy = json!({ "overlap_min": "1s", "quiet": "3s", "class": "strict" });
    scene.operator.policy(&tenant(), policy).await.unwrap();
    scene
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_behind_promise_no_refusal_too_early() {
    let Some(clock) = clock("-10m") else { return };
    let scene = scene(&clock).await;
    let (_, first) = scene.operator.issue(&keyring("behind")).await.unwrap();
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    let began = scene.operator.bus.clock().await.unwrap();
    let fields = json!({ "version": 1, "reason": "drill" });
    let outcome = scene.operator.accepted(&address("behind"), Verb::Revoke, fields).await.unwrap();
    let receipt = receipt(&scene, "behind", outcome.event.unwrap().seq).await;
    // The keyring was `available` once, with a day of staleness.
    assert!(receipt.final_at.0 >= began.after(Span::days(1)), "{receipt:?}, revoked after {began:?}");
    scene.stop().await;
}

/// By a clock that is half a minute ahead every edge's last contact lies beyond its horizon, also that of edges
/// that report use at this moment.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_ahead_prove_no_key_quiet_that_is_in_use() {
    let Some(clock) = clock("+30s") else { return };
    let scene = scene(&clock).await;
    let ring = keyring("ahead");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(first);
    let clients = vec![("ahead".to_owned(), Arc::clone(&held))];
    let traffic = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    // One use of the successor: from now on nothing but the quiet proof is missing.
    assert!(scene.ask(&scene.edges()[0], &second).await.valid);
    scene.operator.until(&ring, "seen in use", |state| state.keys[&version].seen.is_some()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let state = scene.operator.until(&ring, "retiring", is_first("retiring")).await.unwrap();
    assert!(state.keys[&Version(1)].quiet.is_none(), "a busy key was proven quiet");

    traffic::swap(&held, second);
    scene.operator.until(&ring, "retired", is_first("retired")).await.unwrap();
    assert_nobody_was_refused(&traffic.stop().await);
    scene.stop().await;
}
