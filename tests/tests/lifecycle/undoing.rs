//! Undoing through the command line: the plan that is shown is what is done, and the receipt says where.

use crate::scene::{Scene, address, keyring};
use keywheel_domain::event::Fact;
use keywheel_domain::key::Cause;
use keywheel_domain::{KeyState, Recorded, State, Version, evolve};
use keywheel_tests::operator::word;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_token::KeyText;
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::process::{Output, Stdio};

fn run(scene: &Scene, line: &str) -> Output {
    let mut command = keywheel(&binary().unwrap());
    command.args(line.split(' ')).args(["--output", "json"]);
    command.env("KEYWHEEL_HOME", scene.stack.home()).stdin(Stdio::null());
    tokio::task::block_in_place(|| command.output().unwrap())
}

fn document(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"))
}

fn states(state: &State) -> Vec<&'static str> {
    state.keys.values().map(|key| key.state.word()).collect()
}

/// v1 was used, v2 is active.
async fn rotated(scene: &Scene, client: &str) -> (KeyText, KeyText) {
    let ring = keyring(client);
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert!(scene.ask(&scene.edges()[0], &first).await.valid);
    let seen = |state: &State| state.keys[&Version(1)].seen.is_some();
    scene.operator.until(&ring, "seen", seen).await.unwrap();
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    (first, second)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_what_is_done_and_after_retirement_the_old_key_is_accepted_everywhere_again() {
    let scene = Scene::open().await;
    let (first, second) = rotated(&scene, "undo").await;
    assert!(scene.ask(&scene.edges()[1], &second).await.valid);
    let gone = |state: &State| word(state, Version(1)) == "retired";
    scene.operator.until(&keyring("undo"), "retired", gone).await.unwrap();

    let before = scene.operator.bus.head().await.unwrap().seq;
    let shown = run(&scene, "rollback acme/undo --dry-run");
    let plan = document(&shown);
    assert_eq!(
        (shown.status.code(), &plan["rejection"], &plan["dry_run"]),
        (Some(0), &Value::Null, &json!(true))
    );
    assert_eq!(scene.operator.bus.head().await.unwrap().seq, before, "nothing was sent");
    assert_eq!(plan["restored"], json!([{ "version": 1, "from": "retired", "to": "active" }]), "{plan}");
    assert_eq!(
        (&plan["withdrawn"][0]["version"], &plan["withdrawn"][0]["to"]),
        (&json!(2), &json!("retiring"))
    );

    let done = run(&scene, "rollback acme/undo --yes");
    // Whoever reads the receipt finds the old key accepted on every edge, and the new one still.
    assert_eq!(scene.everywhere(&first).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    assert_eq!(document(&done)["receipt"]["applied_on"].as_array().map(Vec::len), Some(2));
    let (state, events) = scene.operator.history(&address("undo")).await.unwrap();
    assert_eq!(states(&state), ["active", "retiring"]);
    let Some(Fact::RolledBack(fact)) =
        events.iter().map(|it| &it.event.fact).find(|it| it.version().is_none())
    else {
        panic!("no rollback in {events:?}")
    };
    assert_eq!((&json!(fact.to_seq), &fact.restored[..]), (&plan["to_seq"], &[Version(1)][..]));
    assert!(matches!(&fact.withdrawn[..], [(Version(2), KeyState::Retiring(_))]));

    // It can be rolled back itself, once; and the newer key then retires by its own quiet proof.
    let position = events.iter().find(|it| matches!(it.event.fact, Fact::RolledBack(_))).unwrap().seq;
    let forward = run(&scene, &format!("rollback acme/undo --to-seq {} --yes", position - 1));
    assert_eq!(forward.status.code(), Some(0), "{}", String::from_utf8_lossy(&forward.stderr));
    let (state, _) = scene.operator.history(&address("undo")).await.unwrap();
    assert_eq!(states(&state), ["retiring", "active"]);
    scene.operator.until(&keyring("undo"), "retired again", gone).await.unwrap();
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn before_activation_the_new_version_is_cancelled_and_its_secret_withdrawn() {
    let scene = Scene::with(|options| options.lease = "20s").await;
    let ring = keyring("early");
    scene.operator.issue(&ring).await.unwrap();
    // One edge does not answer, so the barrier waits.
    scene.stack.signal("edge-e2", Signal::SIGSTOP).unwrap();
    let version = scene.operator.rotate(&ring).await.unwrap();
    let plan = document(&run(&scene, "rollback acme/early --dry-run"));
    assert_eq!(
        (&plan["withdrawn"][0]["from"], &plan["withdrawn"][0]["to"]),
        (&json!("issued"), &json!("retired"))
    );
    let rotation = { scene.operator.history(&address("early")).await.unwrap().0.keys[&version].rotation.0 };
    let fields = json!({ "rotation_id": keywheel_wire::text::id(rotation) });
    scene.operator.accepted(&address("early"), Verb::Rollback, fields).await.unwrap();
    scene.stack.signal("edge-e2", Signal::SIGCONT).unwrap();
    let (state, _) = scene.operator.history(&address("early")).await.unwrap();
    assert_eq!(states(&state), ["active", "retired"]);
    // A rotation after it is delivered: by then the barrier of the cancelled one has long been passed.
    let next = scene.operator.rotate(&ring).await.unwrap();
    scene.operator.delivered(&ring, next).await.unwrap();
    assert_eq!(scene.operator.bus.delivery(&ring, version).await.unwrap().map(|_| "a secret"), None);
    let (state, _) = scene.operator.history(&address("early")).await.unwrap();
    assert_eq!(states(&state), ["retiring", "retired", "active"]);
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_stays_so_and_the_plan_says_why() {
    let scene = Scene::open().await;
    let (first, second) = rotated(&scene, "leaked").await;
    let fields = json!({ "version": 1, "reason": "leaked" });
    scene.operator.accepted(&address("leaked"), Verb::Revoke, fields).await.unwrap();
    let shown = run(&scene, "rollback acme/leaked --dry-run");
    let plan = document(&shown);
    assert_eq!((shown.status.code(), &plan["rejection"]["code"]), (Some(1), &json!("nothing_to_restore")));
    assert_eq!(
        (&plan["cannot_restore"][0]["version"], &plan["cannot_restore"][0]["code"]),
        (&json!(1), &json!("revoked"))
    );
    assert_eq!(run(&scene, "rollback acme/leaked --yes").status.code(), Some(1));
    assert_eq!(scene.everywhere(&first).await, ["revoked", "revoked"]);
    assert_eq!(scene.everywhere(&second).await, ["valid", "valid"]);
    scene.stop().await;
}

fn assert_legal(events: &[Recorded]) {
    let mut state = State::default();
    for recorded in events {
        let live = |state: &State| state.keys.values().any(|key| key.state.is_live());
        let next = evolve(state.clone(), recorded);
        let revokes =
            matches!(&recorded.event.fact, Fact::KeyRetired(ended) if ended.cause == Cause::Revoked);
        assert!(live(&next) || !live(&state) || revokes, "it left nobody a key: {recorded:?}");
        for (version, key) in &state.keys {
            assert!(key.state.word() != "revoked" || word(&next, *version) == "revoked", "{recorded:?}");
        }
        state = next;
    }
}

/// Rollback, rotate, retire and revoke are asked of one keyring at once, over and over, of two replicas of each
/// service: each has one effect, no step brings back what was revoked, and none but a revocation takes the last key.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_races_leaves_a_legal_state() {
    let scene = Scene::with(|options| options.replicas = 2).await;
    for round in 0..6 {
        let client = format!("race-{round}");
        let (_, _) = rotated(&scene, &client).await;
        let at = address(&client);
        let (state, _) = scene.operator.history(&at).await.unwrap();
        let rotation = keywheel_wire::text::id(state.keys[&Version(2)].rotation.0);
        let recipient = scene.operator.recipient();
        let back = scene.operator.command(&at, Verb::Rollback, json!({ "rotation_id": rotation }));
        let rotate = scene.operator.command(&at, Verb::Rotate, json!({ "recipient": recipient }));
        let retire = scene.operator.command(&at, Verb::Retire, json!({ "version": 1 }));
        let revoke = scene.operator.command(&at, Verb::Revoke, json!({ "version": 2, "reason": "race" }));
        let (back, rotate, retire, revoke) = tokio::join!(back, rotate, retire, revoke);
        let (state, events) = scene.operator.history(&at).await.unwrap();
        assert_eq!(revoke.unwrap().outcome, Word::Accepted, "revoking is never refused");
        assert_eq!(word(&state, Version(2)), "revoked", "round {round}: {events:#?}");
        let outcomes = [back.unwrap(), rotate.unwrap(), retire.unwrap()];
        for outcome in &outcomes {
            let found = events.iter().filter(|it| it.event.command.0 == outcome.command_id.0).count();
            assert_eq!(found, usize::from(outcome.outcome == Word::Accepted), "one effect: {outcome:?}");
        }
        assert_legal(&events);
        println!("round {round}: {:?} -> {:?}", outcomes.map(|it| it.outcome), states(&state));
    }
    scene.stop().await;
}
