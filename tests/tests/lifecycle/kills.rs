//! Each process killed in mid-rotation: the rotation ends, nobody is refused.

use crate::scene::{Scene, assert_nobody_was_refused, holder, keyring};
use keywheel_domain::{KeyringId, Version};
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Holder, Traffic};
use keywheel_tests::{Operator, Stack};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::Duration;

async fn rotate_to_the_end(operator: &Operator, ring: &KeyringId, held: &Holder, strike: impl AsyncFn(u32)) {
    strike(0).await;
    let version = operator.rotate(ring).await.unwrap();
    strike(1).await;
    let key = operator.delivered(ring, version).await.unwrap();
    strike(2).await;
    traffic::swap(held, key);
    strike(3).await;
    let old = Version(version.0 - 1);
    operator.until(ring, "retired", |state| word(state, old) == "retired").await.unwrap();
}

/// Rotates one keyring again and again, with `name` struck at another moment each time.
async fn survives(name: &'static str, strike: impl Fn(&Stack, u32) + Copy) {
    let scene = Scene::open().await;
    let ring = keyring("struck");
    let (_, key) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(key);
    let clients = vec![("struck".to_owned(), Arc::clone(&held))];
    let running = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));
    for moment in 0..4 {
        let stack = &scene.stack;
        rotate_to_the_end(&scene.operator, &ring, &held, async |now| {
            if now == moment {
                tokio::task::block_in_place(|| strike(stack, moment));
            }
        })
        .await;
        println!("{name} struck at moment {moment}: rotated");
    }
    assert_nobody_was_refused(&running.stop().await);
    scene.stop().await;
}

fn kill(name: &'static str) -> impl Fn(&Stack, u32) + Copy {
    move |stack, _| stack.kill_and_await(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_killed_in_mid_rotation() {
    survives("issuer", kill("issuer")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_propagator_killed_in_mid_rotation() {
    survives("propagator", kill("propagator")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_usage_tracker_killed_in_mid_rotation() {
    survives("usage-tracker", kill("usage-tracker")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_retirer_killed_in_mid_rotation() {
    survives("retirer", kill("retirer")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_killed_in_mid_rotation() {
    survives("edge-e1", kill("edge-e1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_killed_in_mid_rotation() {
    survives("nats", kill("nats")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_asked_to_stop_in_mid_rotation_come_back() {
    let names = ["issuer", "propagator", "usage-tracker", "retirer"];
    survives("each service", move |stack, moment| {
        stack.signal(names[moment as usize], Signal::SIGTERM).unwrap();
    })
    .await;
}
