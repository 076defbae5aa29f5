//! `keywheel doctor` on a real stack: what is broken in it is found, with the next step, and nothing else is.
#![allow(clippy::unwrap_used, missing_docs)]

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig, topology};
use keywheel_domain::EdgeId;
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::stack::{binary, keywheel, nats_server};
use keywheel_tests::{Stack, StackOptions};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;
use tempfile::TempDir;

/// The exit code, and each thing that is not well with its next step.
fn doctor(home: &Path) -> (i32, Vec<(String, String, String)>) {
    let mut command = keywheel(&binary().unwrap());
    let output = command.args(["doctor", "--output", "json", "--home"]).arg(home).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap_or_default().to_owned();
    let findings = document["findings"].as_array().unwrap();
    let unwell = findings.iter().filter(|finding| finding["level"] != "ok");
    let unwell: Vec<_> = unwell.map(|it| (text(it, "code"), text(it, "about"), text(it, "next"))).collect();
    let wrong = findings.iter().filter(|finding| finding["level"] == "wrong").count();
    assert_eq!(document["wrong"], wrong);
    (output.status.code().unwrap(), unwell)
}

/// Until nothing is wrong any more.
fn await_well(home: &Path) {
    let begun = Instant::now();
    loop {
        let (code, unwell) = doctor(home);
        if (code, unwell.len()) == (0, 0) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{unwell:#?}");
    }
}

/// Breaks something and looks: the command ends with `code`, and `expected` are what it finds, by code and about what.
/// Gives the next steps.
fn finds(home: &Path, code: i32, expected: &[(&str, &str)]) -> Vec<String> {
    let (ended, unwell) = doctor(home);
    let found: Vec<(&str, &str)> =
        unwell.iter().map(|(code, about, _)| (code.as_str(), about.as_str())).collect();
    assert_eq!((ended, found.as_slice()), (code, expected), "{unwell:#?}");
    unwell.into_iter().map(|(.., next)| next).collect()
}

async fn admin(stack: &Stack) -> Bus {
    let config = BusConfig {
        url: stack.context.nats_url.clone(),
        credentials: stack.home().join("credentials/admin.nk"),
        tls: None,
        signers: read_signers(&stack.context.signers).unwrap(),
    };
    Bus::connect(&config.options("admin", false)).await.unwrap()
}

fn run(next: &str) {
    let program = binary().unwrap();
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let ended = keywheel(Path::new("bash")).args(["-c", next]).env("PATH", path).output().unwrap();
    assert!(ended.status.success(), "{next}: {}", String::from_utf8_lossy(&ended.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_found_and_what_it_says_to_do_mends_it() {
    if nats_server().is_none() {
        eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
        return;
    }
    let folder = TempDir::new().unwrap();
    let options = StackOptions::for_test(&folder.path().join("home")).unwrap();
    let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
    let admin = admin(&stack).await;
    tokio::task::block_in_place(|| files(stack.home()));
    topology::remove_edge(&admin, &EdgeId::parse("e2").unwrap()).await.unwrap();
    tokio::task::block_in_place(|| {
        let next = finds(stack.home(), 1, &[("durable_missing", "durable edge-e2")]);
        run(&next[0]);
        await_well(stack.home());
        processes(&stack);
    });
}

fn files(home: &Path) {
    await_well(home);
    let seed = home.join("credentials/retirer.nk");
    std::fs::set_permissions(&seed, std::fs::Permissions::from_mode(0o644)).unwrap();
    let next = finds(home, 1, &[("credential_public", seed.to_str().unwrap())]);
    run(&next[0]);
    await_well(home);

    let kept = std::fs::read(&seed).unwrap();
    std::fs::write(&seed, "SUNOSEED").unwrap();
    finds(home, 1, &[("credential_damaged", seed.to_str().unwrap())]);
    std::fs::remove_file(&seed).unwrap();
    finds(home, 1, &[("credential_missing", seed.to_str().unwrap())]);
    std::fs::write(&seed, kept).unwrap();
    std::fs::set_permissions(&seed, std::fs::Permissions::from_mode(0o600)).unwrap();

    let signers = home.join("signers.toml");
    let kept = std::fs::read_to_string(&signers).unwrap();
    let without: Vec<&str> = kept.lines().filter(|line| !line.contains("usage-tracker")).collect();
    std::fs::write(&signers, without.join("\n")).unwrap();
    finds(home, 1, &[("signers_lack", "signers file")]);
    // An event that introduces the key does as well as a line.
    let line = kept.lines().find(|line| line.contains("usage-tracker")).unwrap();
    let key = line.split(' ').next().unwrap();
    let added = keywheel(&binary().unwrap())
        .args(["signer", "add", "usage-tracker", "--key", key])
        .env("KEYWHEEL_HOME", home)
        .output()
        .unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    await_well(home);
    std::fs::write(&signers, "installation = 7").unwrap();
    let (code, unwell) = doctor(home);
    assert!(code == 1 && unwell.iter().any(|(code, ..)| code == "signers_unusable"), "{unwell:#?}");
    std::fs::write(&signers, kept).unwrap();
    await_well(home);
}

fn processes(stack: &Stack) {
    let home = stack.home();
    stack.signal("issuer", Signal::SIGSTOP).unwrap();
    finds(home, 1, &[("service_silent", "issuer")]);
    stack.signal("issuer", Signal::SIGCONT).unwrap();
    await_well(home);

    stack.signal("edge-e1", Signal::SIGSTOP).unwrap();
    finds(home, 1, &[("edge_unreachable", "edge e1"), ("edge_silent", "edge e1")]);
    stack.signal("edge-e1", Signal::SIGCONT).unwrap();
    await_well(home);

    stack.signal("nats", Signal::SIGSTOP).unwrap();
    let (code, unwell) = doctor(home);
    assert_eq!((code, unwell[0].0.as_str()), (3, "bus_unreachable"), "{unwell:#?}");
    assert!(unwell[0].2.ends_with("logs/nats.log"), "{}", unwell[0].2);
    stack.signal("nats", Signal::SIGCONT).unwrap();
    await_well(home);
}
