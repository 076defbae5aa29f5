//! Two of each service at once: every command has one effect, every secret is delivered once.

use crate::scene::{Scene, address, assert_nobody_was_refused, holder, keyring};
use keywheel_domain::event::FactKind;
use keywheel_domain::{Address, Version};
use keywheel_tests::operator::word;
use keywheel_tests::traffic::{self, Traffic};
use keywheel_token::id;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_service_do_everything_once() {
    let scene = Scene::with(|options| options.replicas = 2).await;
    let clients: Vec<String> = (0..6).map(|n| format!("twin-{n}")).collect();
    let mut holders = Vec::new();
    for client in &clients {
        let (_, key) = scene.operator.issue(&keyring(client)).await.unwrap();
        holders.push((client.clone(), holder(key)));
    }
    let running = Traffic::start(holders.clone(), &scene.edges(), Duration::from_millis(50));
    let commands = send_each_three_times(&scene, &clients).await;
    // One of each pair dies in the middle.
    for name in ["issuer", "propagator", "retirer"] {
        tokio::task::block_in_place(|| scene.stack.kill_and_await(name)).unwrap();
    }
    for (client, held) in &holders {
        traffic::swap(held, scene.operator.delivered(&keyring(client), Version(2)).await.unwrap());
    }
    for (client, command) in clients.iter().zip(&commands) {
        let ring = keyring(client);
        scene.operator.until(&ring, "retired", |state| word(state, Version(1)) == "retired").await.unwrap();
        let (state, events) = scene.operator.history(&address(client)).await.unwrap();
        assert_eq!(state.keys.len(), 2, "{client} was rotated more than once");
        let of_command = events.iter().filter(|recorded| recorded.event.command.0 == *command).count();
        assert_eq!(of_command, 1, "{client}: one command, one event");
        let mut kinds = BTreeMap::new();
        for recorded in &events {
            *kinds.entry(recorded.event.fact.kind()).or_insert(0) += 1;
        }
        assert_eq!(kinds[&FactKind::KeyIssued], 2, "{kinds:?}");
        assert_eq!(kinds[&FactKind::KeyActivated], 2, "{kinds:?}");
        assert_eq!(kinds[&FactKind::KeyRetired], 1, "{kinds:?}");
    }
    assert_nobody_was_refused(&running.stop().await);
    scene.stop().await;
}

/// Publishes a rotation of each client three times under one id; gives the ids.
async fn send_each_three_times(scene: &Scene, clients: &[String]) -> Vec<u128> {
    let mut commands = Vec::new();
    for client in clients {
        let command = id::fresh();
        let document =
            json!({ "id": text::id(command), "actor": "rig", "recipient": scene.operator.recipient() });
        let address = Address::Keyring(keyring(client));
        for _ in 0..3 {
            scene.operator.bus.send_command(&address, Verb::Rotate, &document).await.unwrap();
        }
        commands.push(command);
    }
    let outcome = async |command| {
        let id = keywheel_domain::event::CommandId(command);
        scene.operator.bus.await_outcome(id, Duration::from_secs(30)).await.unwrap().unwrap()
    };
    for (client, command) in clients.iter().zip(&commands) {
        let first = outcome(*command).await;
        let address = Arc::new(Address::Keyring(keyring(client)));
        let fields = json!({ "recipient": scene.operator.recipient() });
        let again = scene.operator.command_as(*command, &address, Verb::Rotate, fields).await.unwrap();
        assert_eq!(first, again, "the same id, the same outcome");
    }
    commands
}
