//! The operator's program against a running stack: one document on standard output, its exit codes.

use crate::scene::{Scene, keyring};
use keywheel_tests::stack::{binary, keywheel};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};

fn run(scene: &Scene, line: &str, input: &str) -> Output {
    let mut command = keywheel(&binary().unwrap());
    command.args(line.split_whitespace()).env("KEYWHEEL_HOME", scene.stack.home());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The one JSON document of a command that must end well.
pub fn document(scene: &Scene, line: &str, input: &str) -> Value {
    let ended = run(scene, &format!("{line} --output json"), input);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{line}: {said}");
    serde_json::from_slice(&ended.stdout).unwrap()
}

/// The JSON lines of a command that must end well.
pub fn lines(scene: &Scene, line: &str) -> Vec<Value> {
    let ended = run(scene, &format!("{line} --output json"), "");
    assert_eq!(ended.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    let text = String::from_utf8(ended.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exit code of a command, with the code of its error document.
pub fn refusal(scene: &Scene, line: &str) -> (i32, String) {
    let ended = run(scene, &format!("{line} --output json"), "");
    let error: Value = serde_json::from_slice(&ended.stderr).unwrap_or_default();
    assert!(ended.stdout.is_empty(), "{line} printed {}", String::from_utf8_lossy(&ended.stdout));
    (ended.status.code().unwrap(), error["error"]["code"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_issues_rotates_looks_and_revokes() {
    let scene = Scene::open().await;
    let issued = document(&scene, "issue acme/cli --scope read --scope write", "");
    let first = issued["key"].as_str().unwrap().to_owned();
    assert_eq!((issued["version"].as_u64(), issued["tenant"].as_str()), (Some(1), Some("acme")));
    let verdict = document(&scene, "verify --key-stdin --scope read", &first);
    assert_eq!((verdict["valid"].as_bool(), verdict["client"].as_str()), (Some(true), Some("cli")));

    let rotated = document(&scene, "rotate acme/cli", "");
    assert_eq!(rotated["version"].as_u64(), Some(2));
    let fetched = document(&scene, "fetch acme/cli --version 2", "");
    assert_eq!(rotated["key"], fetched["key"], "a lost reply loses no key");

    let status = document(&scene, "status acme/cli", "");
    let states: Vec<_> = status["versions"].as_array().unwrap().iter().map(|v| v["state"].clone()).collect();
    assert_eq!(states, ["retiring", "active"], "{status}");
    let edges = document(&scene, "edges", "");
    assert_eq!(edges["edges"].as_array().unwrap().len(), 2, "{edges}");

    let log = run(&scene, "log acme/cli --output json", "");
    let lines = String::from_utf8(log.stdout).unwrap();
    let types: Vec<String> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned())
        .filter(|kind| kind != "KeySeen")
        .collect();
    assert_eq!(types, ["KeyIssued", "KeyActivated", "KeyIssued", "KeyActivated"]);
    assert!(!lines.contains(&first), "a key's text is in the log");

    let text = run(&scene, "revoke acme/cli --all --reason leaked", "");
    let said = String::from_utf8_lossy(&text.stdout) + String::from_utf8_lossy(&text.stderr);
    assert!(said.contains("refused on 2 of 2 edges"), "{said}");
    let after = run(&scene, "verify --key-stdin --output json", &first);
    assert_eq!(after.status.code(), Some(1));
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_refusals_from_usage_and_from_waiting() {
    let scene = Scene::open().await;
    let (_, _key) = scene.operator.issue(&keyring("codes")).await.unwrap();
    assert_eq!(refusal(&scene, "retire acme/codes --version 1"), (1, "last_active".to_owned()));
    assert_eq!(refusal(&scene, "rotate acme/nobody"), (1, "no_key".to_owned()));
    assert_eq!(run(&scene, "rotate", "").status.code(), Some(2));
    assert_eq!(run(&scene, "issue UPPER/case", "").status.code(), Some(2));
    scene.stack.signal("propagator", Signal::SIGSTOP).unwrap();
    assert_eq!(refusal(&scene, "rotate acme/codes --timeout 2s").0, 4);
    scene.stack.signal("propagator", Signal::SIGCONT).unwrap();
    let fetched = document(&scene, "fetch acme/codes --version 2 --timeout 30s", "");
    assert_eq!(fetched["version"].as_u64(), Some(2), "what was not finished in time goes on");
    scene.stop().await;
}

#[test]
fn without_a_stack_it_says_how_to_start_one() {
    let folder = tempfile::TempDir::new().unwrap();
    let ended = keywheel(&binary().unwrap())
        .args(["status"])
        .env("KEYWHEEL_HOME", folder.path())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    assert!(said.contains("keywheel up"), "{said}");
}
