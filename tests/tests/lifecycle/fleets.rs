//! Commands for a whole tenant, killed in the middle and repeated: every keyring once, the rest told with reasons.

use crate::scene::{Scene, until};
use keywheel_domain::event::Fact;
use keywheel_domain::{Address, KeyringId};
use keywheel_table::Replay;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_wire::subject;
use keywheel_wire::text;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

const KEYRINGS: usize = 600;
const ID: &str = "0190a0c2-7b7e-7d3e-8f00-00000000000a";
const BACK: &str = "0190a0c2-7b7e-7d3e-8f00-00000000000b";

fn command(scene: &Scene, line: &str) -> Command {
    let mut command = keywheel(&binary().unwrap());
    command.args(line.split(' ')).args(["--output", "json", "--timeout", "2m"]);
    command.env("KEYWHEEL_HOME", scene.stack.home()).stdin(Stdio::null());
    command
}

fn run(scene: &Scene, line: &str) -> (Option<i32>, Value) {
    let output = tokio::task::block_in_place(|| command(scene, line).output().unwrap());
    let said = String::from_utf8_lossy(&output.stderr);
    (
        output.status.code(),
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{line}: {said}")),
    )
}

/// How many events of a kind each keyring has.
async fn counts(scene: &Scene, meant: fn(&Fact) -> bool) -> BTreeMap<KeyringId, usize> {
    let (mut replays, mut from, mut counts) = (BTreeMap::new(), 1, BTreeMap::new());
    loop {
        let page = scene.operator.bus.page(from, None).await.unwrap();
        let Some(last) = page.last() else { return counts };
        from = last.seq + 1;
        for message in &page {
            let Ok(Address::Keyring(keyring)) = subject::parse_event(&message.subject) else { continue };
            let fresh = || Replay::new(scene.operator.bus.signers());
            let recorded = replays.entry(keyring.clone()).or_insert_with(fresh).take(message).unwrap();
            *counts.entry(keyring).or_default() += usize::from(meant(&recorded.event.fact));
        }
    }
}

async fn all(scene: &Scene, meant: fn(&Fact) -> bool) -> usize {
    counts(scene, meant).await.values().sum()
}

/// Starts a command, kills it once some of its events are in the log, and lets the same command finish.
async fn killed_and_repeated(scene: &Scene, line: &str, meant: fn(&Fact) -> bool) -> (Option<i32>, Value) {
    let before = all(scene, meant).await;
    let mut killed = command(scene, line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("some are done", Duration::from_secs(60), || async { all(scene, meant).await > before + 100 })
        .await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    run(scene, line)
}

fn length(document: &Value, field: &str) -> usize {
    document[field].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_rotated_and_rolled_back_once_though_each_is_killed() {
    let scene = Scene::open().await;
    let table = scene.stack.home().join("keys.csv");
    let mut rows = "tenant,client,digest,scopes\n".to_owned();
    for n in 0..=KEYRINGS {
        let digest = Sha256::digest(format!("old-key-{n:06}")).iter().fold(String::new(), |mut hex, byte| {
            write!(hex, "{byte:02x}").unwrap();
            hex
        });
        writeln!(rows, "acme,c-{n},{digest},{}", if n == KEYRINGS { "write" } else { "read" }).unwrap();
    }
    std::fs::write(&table, rows).unwrap();
    let (code, _) = run(&scene, &format!("import --csv {}", table.display()));
    assert_eq!(code, Some(0));
    let activated: fn(&Fact) -> bool = |fact| matches!(fact, Fact::KeyActivated(_));
    until("all are active", Duration::from_secs(60), || async {
        all(&scene, activated).await == KEYRINGS + 1
    })
    .await;
    let last = scene.operator.bus.head().await.unwrap().seq;
    let moment = text::moment(keywheel_domain::At(keywheel_runtime::clock::wall_ms()));
    let issued: fn(&Fact) -> bool = |fact| matches!(fact, Fact::KeyIssued(_));
    let line = format!("rotate acme --all --scope read --until active --command-id {ID}");
    let (code, said) = killed_and_repeated(&scene, &line, issued).await;
    assert_eq!((code, length(&said, "rotated"), length(&said, "failed")), (Some(0), KEYRINGS, 0), "{said}");
    assert!(said["rotated"].as_array().unwrap().iter().all(|one| one["state"] == "active"));
    assert_eq!((length(&said, "skipped"), &said["skipped"][0]["code"]), (1, &Value::from("other_scope")));
    let versions = counts(&scene, issued).await;
    let other = KeyringId::parse(&format!("acme/c-{KEYRINGS}")).unwrap();
    assert!(versions.iter().all(|(id, n)| *n == if *id == other { 1 } else { 2 }), "each once");

    let (code, plan) = run(&scene, &format!("rollback acme --all --to-time {moment} --dry-run"));
    assert_eq!((code, length(&plan, "plans"), length(&plan, "skipped")), (Some(0), KEYRINGS, 1));
    assert_eq!(plan["skipped"][0]["code"], "nothing_to_restore");
    let back: fn(&Fact) -> bool = |fact| matches!(fact, Fact::RolledBack(_));
    let line = format!("rollback acme --all --to-time {moment} --yes --command-id {BACK}");
    let (code, said) = killed_and_repeated(&scene, &line, back).await;
    assert_eq!(
        (code, length(&said, "rolled_back"), length(&said, "failed")),
        (Some(0), KEYRINGS, 0),
        "{said}"
    );
    assert_eq!(said["proof"]["applied_on"].as_array().map(Vec::len), Some(2));
    let done = counts(&scene, back).await;
    assert!(done.iter().all(|(id, n)| *n == usize::from(*id != other)), "each once");
    for n in [0, KEYRINGS / 2, KEYRINGS - 1] {
        let (state, _) = scene
            .operator
            .history(&Address::Keyring(KeyringId::parse(&format!("acme/c-{n}")).unwrap()))
            .await
            .unwrap();
        let words: Vec<_> = state.keys.values().map(|key| key.state.word()).collect();
        assert_eq!(words, ["active", "retiring"], "c-{n}, past {last}");
    }
    // Nothing twice, however often it is repeated.
    let (code, again) = run(&scene, &line);
    assert_eq!((code, length(&again, "rolled_back")), (Some(0), KEYRINGS));
    assert_eq!(all(&scene, back).await, KEYRINGS);
    scene.stop().await;
}
