//! Rotations by schedule on a whole stack: under traffic, with the issuers away for several periods, and
//! held for want of a recipient.

use crate::cli::document;
use crate::process::await_gone;
use crate::scene::{Scene, address, assert_nobody_was_refused, holder, keyring, tenant, until};
use keywheel_domain::event::Evidence;
use keywheel_domain::{Fact, Span, State, Version};
use keywheel_tests::operator::word;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::traffic::{self, Holder, Traffic};
use nix::sys::signal::Signal;
use serde_json::json;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

const ISSUERS: [&str; 2] = ["issuer", "issuer-2"];
const EVERY: Span = Span::secs(4);

/// The client fetches each version that is delivered, up to `last`.
async fn fetch(scene: &Scene, held: &Holder, versions: std::ops::RangeInclusive<u32>) {
    for version in versions {
        let key = scene.operator.delivered(&keyring("clock"), Version(version)).await.unwrap();
        traffic::swap(held, key);
    }
}

fn stop_issuers(scene: &Scene) {
    let pids = ISSUERS.map(|name| (name, scene.stack.pid(name).unwrap()));
    ISSUERS.iter().for_each(|name| scene.stack.signal(name, Signal::SIGTERM).unwrap());
    await_gone(&pids);
}

fn start_issuers(scene: &Scene) -> Vec<Child> {
    let config = |name: &str| scene.stack.home().join(format!("config/{name}.toml"));
    let start =
        |name| keywheel(&binary().unwrap()).args(["run", "issuer", "--config"]).arg(config(name)).spawn();
    ISSUERS.into_iter().map(|name| start(name).unwrap()).collect()
}

async fn state(scene: &Scene) -> State {
    scene.operator.history(&address("clock")).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_is_rotated_by_schedule_and_once_after_an_outage() {
    let scene = Scene::with(|options| (options.replicas, options.restart) = (2, false)).await;
    let ring = keyring("clock");
    let (_, key) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(key);
    let clients = vec![("clock".to_owned(), Arc::clone(&held))];
    let running = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));
    let policy = json!({ "every": "4s", "jitter": "500ms", "recipient": scene.operator.recipient() });
    scene.operator.policy(&tenant(), policy).await.unwrap();
    let next = document(&scene, "status acme/clock", "")["next_rotation"].clone();
    assert_eq!((&next["hold"], next["due"].is_string()), (&json!(null), true), "{next}");
    fetch(&scene, &held, 2..=4).await;

    tokio::task::block_in_place(|| stop_issuers(&scene));
    let before = u32::try_from(state(&scene).await.keys.len()).unwrap();
    fetch(&scene, &held, before..=before).await;
    tokio::time::sleep(Duration::from_secs(9)).await;
    let mut issuers = start_issuers(&scene);
    fetch(&scene, &held, before + 1..=before + 2).await;
    let retired = |state: &State| (1..=3).all(|n| word(state, Version(n)) == "retired");
    scene.operator.until(&ring, "rid of its first three versions", retired).await.unwrap();

    scene.operator.policy(&tenant(), json!({ "recipient": null })).await.unwrap();
    until("status says why it does not rotate", Duration::from_secs(30), async || {
        let next = document(&scene, "status acme", "")["keyrings"][0]["next_rotation"].clone();
        next["is_due"] == true && next["hold"]["code"] == "no_recipient"
    })
    .await;
    assert_nobody_was_refused(&running.stop().await);
    for child in &mut issuers {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let (state, events) = scene.operator.history(&address("clock")).await.unwrap();
    let issued: Vec<_> = state.keys.values().map(|key| key.issued_at).collect();
    let gaps: Vec<Span> = issued.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(gaps.iter().all(|gap| *gap >= EVERY), "doubled: {gaps:?}");
    assert!(gaps[before as usize - 1] >= Span::secs(9), "rotated while no issuer ran: {gaps:?}");
    for recorded in &events {
        match &recorded.event.fact {
            Fact::KeyIssued(key) if key.version > Version(1) => {
                assert_eq!(recorded.event.actor.as_str(), "schedule");
            }
            Fact::KeyRetired(ended) => {
                assert!(matches!(ended.evidence, Some(Evidence::Quiet { .. })), "{ended:?}");
            }
            _ => {}
        }
    }
    scene.stop().await;
}
