//! Wall clocks that are ahead of the bus's take no part in a proof (SAFETY 4).

use crate::scene::{Scene, assert_nobody_was_refused, holder, keyring, tenant};
use keywheel_domain::{State, Version};
use keywheel_tests::gateway::beside_gateways;
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Traffic};
use serde_json::json;
use std::time::Duration;

fn is_first(wanted: &'static str) -> impl Fn(&State) -> bool {
    move |state| word(state, Version(1)) == wanted
}

/// By a clock that is half a minute ahead every edge's last contact lies beyond its horizon, also that of edges
/// that report use at this moment.
#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_are_ahead_prove_no_key_quiet_that_is_in_use() {
    let Some(library) = beside_gateways("libfaketime") else {
        eprintln!("KEYWHEEL_TEST_GATEWAYS has no libfaketime: not tested");
        return;
    };
    let library = library.to_str().unwrap();
    let clock = [("LD_PRELOAD", library), ("FAKETIME", "+30s"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let scene = Scene::within(&clock, |_| {}).await;
    // Strict: an edge's horizon is then its lease.
    let policy = json!({ "overlap_min": "1s", "quiet": "3s", "class": "strict" });
    scene.operator.policy(&tenant(), policy).await.unwrap();
    let ring = keyring("ahead");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(first);
    let clients = vec![("ahead".to_owned(), std::sync::Arc::clone(&held))];
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
