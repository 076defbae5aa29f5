//! Commands at many times the rate that can be handled.

use crate::flood::{Sent, rotations};
use crate::scene::{Scene, is_long, keyring};
use keywheel_bus::BusError;
use keywheel_domain::Address;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_token::id;
use keywheel_wire::subject::{self, Verb};
use keywheel_wire::text;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A modest tenant's command, while another one floods, is decided within this time: generous, on any machine.
const MODEST_MAX: Duration = Duration::from_secs(30);
/// Commands of one keyring and verb that may wait.
const OF_ONE_MAX: usize = 1000;

/// What a modest tenant meets while all this waits: it is decided long before the rest. Gives how much still waits.
async fn meanwhile(scene: &Scene, what: &str) -> u64 {
    let waiting = scene.waiting().await;
    let during = scene.modest_times(5, what).await;
    scene.memory("during");
    let still = scene.waiting().await;
    println!("{waiting} waited, {still} still do; a modest tenant's outcome: {during}");
    assert!(during.max() < MODEST_MAX, "a modest tenant waited {:?} for an outcome", during.max());
    still
}

async fn recovered(scene: &Scene, sent: &Sent) {
    let drained = scene.drained().await;
    let after = scene.modest_times(5, "after").await;
    scene.memory("after");
    println!("drained {drained:.1?} later; then {after}");
    for id in sent.taken.iter().step_by(sent.taken.len().div_ceil(100).max(1)) {
        assert!(scene.has_outcome(*id).await, "a command that the bus took has no outcome");
    }
}

/// The issuer stands still while they come, so that how many wait is no matter of its speed.
async fn flooded(scene: &Scene, keyrings: &[Address], times: usize) -> Sent {
    scene.stack.signal("issuer", Signal::SIGSTOP).unwrap();
    let sent = rotations(scene, keyrings, times).await;
    println!("{times} sent: {} taken, {:?} refused", sent.taken.len(), sent.refused);
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_too_many_commands_holds_up_nobody_else() {
    let Some(scene) = Scene::begin(1).await else { return };
    let keyrings: Vec<Address> =
        (0..40).map(|at| Address::Keyring(keyring(&format!("loud/c{at}")))).collect();
    for address in &keyrings {
        scene.modest(address.keyring().unwrap()).await;
    }
    println!("a modest tenant's outcome: {}", scene.modest_times(5, "before").await);
    scene.memory("before");

    let times = if is_long() { 20_000 } else { 1000 };
    let sent = flooded(&scene, &keyrings, times).await;
    assert_eq!(sent.taken.len(), times, "{:?}", sent.refused);
    scene.stack.signal("issuer", Signal::SIGCONT).unwrap();
    meanwhile(&scene, "all").await;
    recovered(&scene, &sent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_rotates_in_a_loop_is_refused_and_holds_up_nobody() {
    let Some(scene) = Scene::begin(1).await else { return };
    let ring = Address::Keyring(keyring("loud/loop"));
    scene.modest(ring.keyring().unwrap()).await;
    scene.memory("before");

    let sent = flooded(&scene, std::slice::from_ref(&ring), OF_ONE_MAX + 200).await;
    assert_eq!(sent.taken.len(), OF_ONE_MAX, "{:?}", sent.refused);
    let document = json!({ "id": text::id(id::fresh()), "actor": "loop" });
    let refused = scene.operator.bus.send_command(&ring, Verb::Rotate, &document).await;
    assert!(matches!(refused, Err(BusError::Full { .. })), "{refused:?}");
    scene.stack.signal("issuer", Signal::SIGCONT).unwrap();
    let still = meanwhile(&scene, "one").await;
    assert!(still > OF_ONE_MAX as u64 / 2, "a modest tenant's turn came when {still} of {OF_ONE_MAX} waited");
    if is_long() {
        recovered(&scene, &sent).await;
    }
}

/// A command for a whole tenant, one of whose keyrings has no room in the queue: it waits for that one, and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_for_a_tenant_waits_for_room_in_the_queue() {
    let Some(scene) = Scene::begin(1).await else { return };
    let (full, free) = (keyring("loud/full"), keyring("loud/free"));
    for ring in [&full, &free] {
        scene.modest(ring).await;
    }
    let sent = flooded(&scene, &[Address::Keyring(full.clone())], OF_ONE_MAX).await;
    assert_eq!(sent.taken.len(), OF_ONE_MAX, "{:?}", sent.refused);

    let rotate = |timeout: &str| {
        let mut command = keywheel(&binary().unwrap());
        command.args(["rotate", "loud", "--all", "--until", "accepted", "--output", "json"]);
        command.args(["--timeout", timeout, "--recipient", scene.operator.recipient()]);
        command.env("KEYWHEEL_HOME", scene.stack.home());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let began = Instant::now();
    let ended = tokio::task::block_in_place(|| rotate("2s").wait_with_output()).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(2), "it does not wait for room");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && said.contains("too_many_waiting"), "{said}");

    let before = scene.waiting().await;
    let waits = rotate("2m");
    assert_eq!(scene.waiting_beyond(before).await, before + 1, "what finds room is sent");
    scene.forget(&subject::command(&Address::Keyring(full), Verb::Rotate)).await;
    let free_ones = before + 1 - OF_ONE_MAX as u64;
    assert_eq!(scene.waiting_beyond(free_ones).await, free_ones + 1, "what had found room is not sent again");
    scene.stack.signal("issuer", Signal::SIGCONT).unwrap();
    let ended = tokio::task::block_in_place(|| waits.wait_with_output()).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(document["rotated"].as_array().unwrap().len(), 2, "{document}");
}
