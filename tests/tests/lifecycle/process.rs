//! Processes: nothing is left behind, a second start continues, bad settings end with 64.

use crate::scene::{Scene, keyring};
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::{Operator, Stack, StackOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    kill(pid, None).is_ok() && state.as_deref() != Some("Z")
}

pub fn await_gone(pids: &[(&str, Pid)]) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Some((name, pid)) = pids.iter().find(|(_, pid)| is_alive(*pid)) {
        assert!(Instant::now() < deadline, "{name} ({pid}) outlived the stack");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const NAMES: [&str; 7] = ["nats", "issuer", "propagator", "usage-tracker", "retirer", "edge-e1", "edge-e2"];

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_killed_hard_leaves_nothing_running_and_continues_where_it_was() {
    let folder = TempDir::new().unwrap();
    let options = StackOptions::for_test(&folder.path().join("home")).unwrap();
    let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
    let operator = Operator::connect(&stack.context).await.unwrap();
    let ring = keyring("kept");
    let (_, key) = operator.issue(&ring).await.unwrap();
    let pids: Vec<_> = NAMES.iter().map(|name| (*name, stack.pid(name).unwrap())).collect();
    kill(Pid::from_raw(i32::try_from(stack.id()).unwrap()), Signal::SIGKILL).unwrap();
    await_gone(&pids);
    drop(stack);

    let again = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
    let http = reqwest::Client::new();
    for edge in &again.context.edges {
        let answer = keywheel_tests::traffic::ask(&http, &edge.http, key.expose(), true).await.unwrap();
        assert!(answer.valid, "{answer:?}");
    }
    let pids: Vec<_> = NAMES.iter().map(|name| (*name, again.pid(name).unwrap())).collect();
    tokio::task::block_in_place(|| again.stop()).unwrap();
    await_gone(&pids);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_restarted_without_the_bus_serves_what_it_knows() {
    let scene = Scene::with(|options| options.restart = false).await;
    let (_, key) = scene.operator.issue(&keyring("alone")).await.unwrap();
    let edge = scene.stack.edge("e1").unwrap().to_owned();
    assert!(scene.ask(&edge, &key).await.valid);
    scene.stack.signal("nats", Signal::SIGKILL).unwrap();
    let before = scene.stack.pid("edge-e1").unwrap();
    scene.stack.signal("edge-e1", Signal::SIGKILL).unwrap();
    // Its database is locked for as long as it lives.
    await_gone(&[("edge-e1", before)]);
    let config = scene.stack.home().join("config/edge-e1.toml");
    let mut child =
        keywheel(&binary().unwrap()).args(["run", "edge", "--config"]).arg(config).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let answer = loop {
        match keywheel_tests::traffic::ask(&scene.http, &edge, key.expose(), true).await {
            // It listens before it has read what it knows.
            Ok(answer) if answer.code.as_deref() != Some("not_ready") => break answer,
            asked => assert!(Instant::now() < deadline, "{asked:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.valid, "{answer:?}");
}

const SIGNERS: &str = "installation = \"0b5e55ed-0000-4000-8000-000000000001\"\n[signers]\n\
                       UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF = \"issuer\"\n";

#[test]
fn bad_settings_end_with_64_and_name_the_field() {
    let folder = TempDir::new().unwrap();
    let signers = folder.path().join("signers.toml");
    let bus = format!("[bus]\nurl = \"x\"\ncredentials = \"y\"\nsigners = {signers:?}\n");
    std::fs::write(&signers, SIGNERS).unwrap();
    let file = folder.path().join("service.toml");
    let refused = |service: &str, text: &str, field: &str| {
        std::fs::write(&file, format!("{text}\n{bus}")).unwrap();
        let run = ["run", service, "--config"];
        let ended = keywheel(&binary().unwrap()).args(run).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(64), "{service} with {text:?}: {said}");
        assert!(said.contains(field), "{service} does not name {field}: {said}");
    };
    refused("edge", "id = \"a\"", "data_dir");
    refused("edge", "id = \"a\"\ndata_dir = \".\"\nlease = \"soon\"", "lease");
    refused("edge", "id = \"a\"\ndata_dir = \".\"\ncolour = 1", "colour");
    refused("edge", "id = \"A B\"\ndata_dir = \".\"", "id");
    for service in ["issuer", "propagator", "usage-tracker", "retirer"] {
        refused(service, "", "data_dir");
        refused(service, "data_dir = \".\"\ninstance = 0", "instance");
        refused(service, "data_dir = \".\"\nlease = \"0s\"", "lease");
        refused(service, "data_dir = \".\"\n[log]\nlevel = \"loud\"", "log.level");
    }
    std::fs::remove_file(&signers).unwrap();
    for service in ["issuer", "propagator", "usage-tracker", "retirer"] {
        refused(service, "data_dir = \".\"", "bus.signers: cannot read");
    }
    refused("edge", "id = \"a\"\ndata_dir = \".\"", "bus.signers: cannot read");
    std::fs::write(&signers, SIGNERS).unwrap();
    refused("issuer", "data_dir = \".\"\n[key]\nbrand = \"K W\"", "key");
}
