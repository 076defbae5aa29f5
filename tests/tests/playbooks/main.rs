//! The playbooks, word for word: every fenced command of each file is run on a real stack, in the order in which it
//! stands there; what a person does between two of them is done here.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

use keywheel_domain::{Address, At, KeyringId, Tenant};
use keywheel_runtime::clock;
use keywheel_tests::stack::{binary, keywheel, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions, traffic};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::When;
use keywheel_wire::subject::Service;
use keywheel_wire::text;
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

struct Site {
    stack: Stack,
    options: StackOptions,
    operator: Operator,
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Site {
    /// `acme/web` has a key, in a file; nothing where there is no nats-server to test with.
    async fn open(key_file: &str) -> Option<Site> {
        if nats_server().is_none() {
            eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
            return None;
        }
        let folder = TempDir::new().unwrap();
        let options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        let policy = json!({ "overlap_min": "1s", "quiet": "3s" });
        operator.policy(&Address::Tenant(Tenant::parse("acme").unwrap()), policy).await.unwrap();
        let edge = stack.context.edges[0].http.clone();
        let site = Site { stack, options, operator, folder, variables: vec![("EDGE", edge.clone())] };
        let fresh = format!("keywheel issue acme/web --scope orders:read > {key_file}");
        site.run("the beginning", &fresh);
        let key = std::fs::read_to_string(site.folder.path().join(key_file)).unwrap();
        let answer = traffic::ask(&reqwest::Client::new(), &edge, key.trim(), false).await.unwrap();
        assert!(answer.valid);
        Some(site)
    }

    /// Runs one block as a person would, in a folder of its own; gives what it printed.
    fn run(&self, what: &str, block: &str) -> String {
        let program = binary().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = keywheel(Path::new("bash"));
        command
            .args(["-euo", "pipefail", "-c", block])
            .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
            .env("KEYWHEEL_HOME", self.stack.home())
            .envs(self.variables.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        let output = tokio::task::block_in_place(|| command.output()).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{what}: {block}\n{out}\n{err}");
        out.into_owned()
    }

    /// What a person does while the installation is stopped.
    async fn between_two_starts(&mut self, what: &str, block: &str) {
        tokio::task::block_in_place(|| self.stack.interrupt()).unwrap();
        self.run(what, block);
        self.stack = tokio::task::block_in_place(|| Stack::start(&self.options)).unwrap();
        self.operator = Operator::connect(&self.stack.context).await.unwrap();
        let edge = self.stack.context.edges[0].http.clone();
        self.variables
            .iter_mut()
            .filter(|(name, _)| *name == "EDGE")
            .for_each(|(_, at)| at.clone_from(&edge));
    }

    async fn lets_in(&self, seed: &str, inbox: &str) -> bool {
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        options.custom_inbox_prefix(inbox).connect(&self.stack.context.nats_url).await.is_ok()
    }

    async fn states(&self, client: &str) -> Vec<&'static str> {
        let address = Address::Keyring(KeyringId::parse(&format!("acme/{client}")).unwrap());
        let (state, _) = self.operator.history(&address).await.unwrap();
        state.keys.values().map(|key| key.state.word()).collect()
    }
}

/// The fenced blocks of a playbook.
fn blocks(name: &str) -> Vec<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/playbooks").join(name);
    let text = std::fs::read_to_string(&file).unwrap();
    let fenced = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let blocks: Vec<String> = fenced.collect();
    assert!(!blocks.is_empty(), "{name} has no commands");
    blocks
}

#[test]
fn every_playbook_is_run() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy/playbooks");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort_unstable();
    let run = [
        "leaked-api-key.md",
        "leaked-service-credential.md",
        "leaked-signing-key.md",
        "lost-bus.md",
        "wrong-fleet-rotation.md",
    ];
    assert_eq!(names, [&["README.md"][..], &run].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_api_key_is_revoked_and_its_owner_has_another() {
    let Some(site) = Site::open("leaked.key").await else { return };
    for block in blocks("leaked-api-key.md") {
        site.run("leaked-api-key", &block);
    }
    assert_eq!(site.states("web").await, ["revoked", "active"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fleet_rotation_is_taken_back() {
    let Some(mut site) = Site::open("web.key").await else { return };
    site.run("before", "keywheel issue acme/app > app.key");
    site.variables.push(("BEFORE", text::moment(At(clock::wall_ms()))));
    site.run("the mistake", "keywheel rotate acme --all");
    assert_eq!(site.states("app").await, ["retiring", "active"]);
    for block in blocks("wrong-fleet-rotation.md") {
        site.run("wrong-fleet-rotation", &block);
    }
    for client in ["web", "app"] {
        assert_eq!(site.states(client).await, ["active", "retiring"], "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_credential_is_replaced_and_lets_nobody_in() {
    let Some(mut site) = Site::open("web.key").await else { return };
    let seed = site.stack.home().join("credentials/operator.nk");
    let leaked = std::fs::read_to_string(&seed).unwrap();
    let [look, take_away, rotate] = blocks("leaked-service-credential.md").try_into().unwrap();
    site.run("look", &look);
    site.between_two_starts("take away", &take_away).await;
    assert_ne!(std::fs::read_to_string(&seed).unwrap(), leaked);
    assert!(!site.lets_in(&leaked, "_INBOX_operator").await, "the leaked seed is let in");
    site.run("rotate", &rotate);
    assert_eq!(site.states("web").await, ["retiring", "retiring", "active"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_signing_key_is_replaced_and_withdrawn() {
    let Some(mut site) = Site::open("web.key").await else { return };
    let seed = site.stack.home().join("credentials/issuer.nk");
    let leaked = std::fs::read_to_string(&seed).unwrap();
    let old = Signer::from_seed(&leaked).unwrap().public().to_owned();
    // The thief has a key of its own introduced meanwhile.
    site.run("the thief", "keywheel signer new issuer --file thief.nk > thief.pub");
    let introduced =
        "keywheel signer add issuer --key $(cat thief.pub) --sign-with $KEYWHEEL_HOME/credentials/issuer.nk";
    site.run("the thief", introduced);
    site.variables.push(("OLD", old.clone()));
    site.variables.push(("ROOT", site.stack.home().join("root.nk").to_string_lossy().into_owned()));
    let [look, introduce, put, withdraw, undo] = blocks("leaked-signing-key.md").try_into().unwrap();
    let shown = site.run("look", &look);
    assert!(shown.matches(&old).count() > 1, "not as who introduced the thief's: {shown}");
    site.run("introduce", &introduce);
    site.between_two_starts("put", &put).await;
    assert!(!site.lets_in(&leaked, "_INBOX_issuer").await, "the leaked seed is let in");
    site.run("withdraw", &withdraw);
    site.run(
        "the thief's own",
        "keywheel signer withdraw $(cat thief.pub) --reason introduced --root $ROOT --yes",
    );
    site.run("undo", &undo);
    assert_eq!(site.states("web").await, ["retiring", "retiring", "active"]);
    let signers = site.operator.bus.meet().await.unwrap();
    let issuers = signers.listed().keys.keys().chain(signers.learned().added.keys());
    let standing = issuers.filter(|key| signers.role(key.as_str(), When::Now) == Ok(Service::Issuer));
    let own = Signer::from_seed(&std::fs::read_to_string(&seed).unwrap()).unwrap();
    assert_eq!(standing.map(ToString::to_string).collect::<Vec<_>>(), [own.public()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn edges_answer_while_the_bus_is_lost_and_go_on_when_it_is_back() {
    let Some(site) = Site::open("web.key").await else { return };
    let [well, away, back, wrong, restore, again] = blocks("lost-bus.md").try_into().unwrap();
    site.run("all is well", &well);
    site.stack.signal("nats", Signal::SIGSTOP).unwrap();
    site.run("away", &away);
    site.stack.signal("nats", Signal::SIGCONT).unwrap();
    site.run("back", &back);
    assert_eq!(site.states("web").await, ["active"]);
    tokio::task::block_in_place(|| {
        site.stack.signal("nats", Signal::SIGSTOP).unwrap();
        for stored in std::fs::read_dir(site.stack.home().join("nats")).unwrap() {
            std::fs::remove_dir_all(stored.unwrap().path()).unwrap();
        }
        site.stack.kill_and_await("nats").unwrap();
    });
    let told = site.run("without its data", &wrong);
    assert!(told.contains("[log_lost]"), "{told}");
    site.run("restore", &restore);
    site.run("it goes on", &again);
    assert_eq!(site.states("web").await, ["active"]);
}
