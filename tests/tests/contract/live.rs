//! A live run: every message that lies on the bus after it, and every answer that an edge gave, is as described.

use crate::bus_store::Store;
use crate::edge_answers::{Edges, poll};
use crate::openapi::OpenApi;
use crate::schemas::{Schemas, wrong};
use keywheel_domain::{Address, KeyringId, Tenant, Version};
use keywheel_tests::operator::word;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::{self, Verb};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Stdio};
use tempfile::TempDir;

const SERVICES: [&str; 4] = ["issuer", "propagator", "usage-tracker", "retirer"];

struct Run {
    stack: Stack,
    operator: Operator,
    _folder: TempDir,
}

fn ring(client: &str) -> KeyringId {
    KeyringId::parse(&format!("acme/{client}")).unwrap()
}

fn at(client: &str) -> Address {
    Address::Keyring(ring(client))
}

impl Run {
    async fn open() -> Run {
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.restart = false;
        let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
        let operator = Operator::connect(&stack.context).await.unwrap();
        let policy =
            json!({ "overlap_min": "1s", "quiet": "2s", "overlap_max": "30d", "on_overlap_max": "retire" });
        operator.policy(&Address::Tenant(Tenant::parse("acme").unwrap()), policy).await.unwrap();
        Run { stack, operator, _folder: folder }
    }

    fn cli(&self, line: &str) -> Child {
        let mut command = keywheel(&binary().unwrap());
        command.args(line.split_whitespace()).env("KEYWHEEL_HOME", self.stack.home());
        command.args(["--output", "json"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// A signer that comes and goes by events.
    fn signers(&self) {
        let run = |line: &str| {
            let ended = self.cli(line).wait_with_output().unwrap();
            assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
            serde_json::from_slice::<Value>(&ended.stdout).unwrap()
        };
        let file = self.stack.home().join("second.nk");
        let made = run(&format!("signer new issuer --file {}", file.display()));
        let key = made["key"].as_str().unwrap_or_else(|| panic!("{made}"));
        run(&format!("signer add issuer --key {key}"));
        run(&format!("signer withdraw {key} --reason drill --yes"));
    }

    async fn key(&self, client: &str, fields: Value) -> String {
        let mut fields = fields;
        fields["recipient"] = json!(self.operator.recipient());
        let outcome = self.operator.accepted(&at(client), Verb::Issue, fields).await.unwrap();
        let key = self.operator.delivered(&ring(client), Version(outcome.version.unwrap())).await.unwrap();
        key.expose().to_owned()
    }

    async fn next(&self, client: &str) -> String {
        let version = self.operator.rotate(&ring(client)).await.unwrap();
        self.operator.delivered(&ring(client), version).await.unwrap().expose().to_owned()
    }

    async fn until_state(&self, client: &str, version: u32, wanted: &str) {
        let what = format!("v{version} {wanted}");
        let is = |state: &keywheel_domain::State| word(state, Version(version)) == wanted;
        self.operator.until(&ring(client), &what, is).await.unwrap();
    }

    /// What every verb does, and what is refused.
    async fn commands(&self) {
        let refused = async |client: &str, verb, fields| {
            let outcome = self.operator.command(&at(client), verb, fields).await.unwrap();
            assert_eq!(outcome.outcome, Word::Rejected, "{outcome:?}");
        };
        refused("nobody", Verb::Rotate, json!({ "recipient": self.operator.recipient() })).await;
        refused("nobody", Verb::Issue, json!({ "colour": "red" })).await;
        refused("nobody", Verb::Retire, json!({ "version": 9 })).await;
        self.key("back", json!({ "meta": { "team": "payments ⚙" } })).await;
        self.next("back").await;
        let rotation = self.operator.history(&at("back")).await.unwrap().1;
        let rotation = rotation.iter().rev().find_map(|recorded| recorded.event.rotation).unwrap();
        let rotation = keywheel_wire::text::id(rotation.0);
        self.operator
            .accepted(&at("back"), Verb::Rollback, json!({ "rotation_id": rotation }))
            .await
            .unwrap();
        let import = json!({ "digest": "5a".repeat(32), "label": "legacy", "scopes": ["read"] });
        self.operator.accepted(&at("old"), Verb::Import, import).await.unwrap();
        let again = json!({ "policy": { "quiet": "2s" } });
        let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
        let outcome = self.operator.command(&tenant, Verb::Policy, again).await.unwrap();
        assert_eq!(outcome.outcome, Word::Unchanged);
    }

    /// What lies in the queues while nobody works them off: commands of every verb as the program publishes them, use
    /// as the edges report it, a secret that is staged.
    async fn queues(&self, store: &Store, edges: &Edges, used: &str) {
        let quit = |signal| SERVICES.iter().for_each(|service| self.stack.signal(service, signal).unwrap());
        self.stack.signal("propagator", Signal::SIGSTOP).unwrap();
        let staged = json!({ "recipient": self.operator.recipient() });
        self.operator.accepted(&at("staged"), Verb::Issue, staged).await.unwrap();
        quit(Signal::SIGSTOP);
        edges.ask("e1", used).await;
        let lines = [
            "issue acme/later --scope read --cidr 10.0.0.0/8 --expires-in 30d --meta team=x --timeout 3s",
            "rotate acme/app --timeout 3s",
            "activate acme/app --version 1 --reason drill --timeout 3s",
            "retire acme/app --version 1 --timeout 3s",
            "revoke acme/app --version 1 --reason drill --timeout 3s",
            "policy set acme/app --quiet 4s --timeout 3s",
        ];
        let children: Vec<Child> = lines.iter().map(|line| self.cli(line)).collect();
        let import = format!("import acme/later --digest {} --timeout 3s", "6b".repeat(32));
        let children = children.into_iter().chain([self.cli(&import)]);
        for verb in [Verb::EdgeAdd, Verb::EdgeRemove] {
            let document = json!({ "id": keywheel_wire::text::id(keywheel_token::id::fresh()), "actor": "rig", "edge": "e9" });
            self.operator.bus.send_command(&Address::Installation, verb, &document).await.unwrap();
        }
        for (verb, sample) in
            [(Verb::SignerAdd, "command-signer-add"), (Verb::SignerWithdraw, "command-signer-withdraw")]
        {
            let file = crate::schemas::folder().join(format!("golden/v1/{sample}.json"));
            let mut document = crate::schemas::read_json(&file);
            document["id"] = json!(keywheel_wire::text::id(keywheel_token::id::fresh()));
            self.operator.bus.send_command(&Address::Installation, verb, &document).await.unwrap();
        }
        // The program asks for no rollback of which it sees that it would restore nothing.
        let id = keywheel_wire::text::id(keywheel_token::id::fresh());
        let rollback = json!({ "id": id, "actor": "rig", "to_seq": 1 });
        self.operator.bus.send_command(&at("app"), Verb::Rollback, &rollback).await.unwrap();
        let ended: Vec<String> = tokio::task::block_in_place(|| {
            children
                .map(|child| String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap())
                .collect()
        });
        poll("a usage report", async || store.count(subject::USAGE).await > 0).await;
        let mut seen = BTreeSet::new();
        for stream in [subject::COMMANDS, subject::USAGE, subject::STAGE] {
            seen.extend(store.check(stream).await);
        }
        let wanted: BTreeSet<String> = Verb::ALL
            .iter()
            .map(|verb| format!("command-{}", verb.word()))
            .chain(["report", "sealed"].map(Into::into))
            .collect();
        assert_eq!(seen, wanted, "{ended:#?}");
        quit(Signal::SIGCONT);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_on_the_bus_and_at_the_edge_is_as_described() {
    let run = Run::open().await;
    let (store, edges) = (Store::open(&run.stack).await, Edges::of(&run.stack, OpenApi::load()));
    check_context(&run.stack);
    let old = run.key("app", json!({ "scopes": ["read"] })).await;
    edges.accepted("e1", &old).await;
    let new = run.next("app").await;
    edges.accepted("e2", &new).await;
    let bound = run.key("bound", json!({ "cidrs": ["10.0.0.0/8"] })).await;
    let short = run.key("short", json!({ "expires_in": "1s" })).await;
    let leaked = run.key("leaked", json!({})).await;
    let revoke = json!({ "all": true, "reason": "leaked" });
    run.operator.accepted(&at("leaked"), Verb::Revoke, revoke).await.unwrap();
    run.commands().await;
    tokio::task::block_in_place(|| run.signers());
    run.until_state("app", 1, "retired").await;
    edges.every_answer(&new, &[("retired", &old), ("revoked", &leaked), ("expired", &short)], &bound).await;

    let usage = run.operator.bus.ask_usage(&ring("app")).await.unwrap();
    let usage = serde_json::to_value(usage).unwrap();
    assert_eq!(wrong(&Schemas::load().closed().of("usage"), &usage), None);
    run.queues(&store, &edges, &new).await;
    let answer = run.operator.bus.ask_snapshot(std::time::Duration::from_secs(20)).await.unwrap();
    assert_eq!(answer.map(|manifest| manifest.bucket), Ok("KW_SNAPSHOTS".to_owned()));

    let gone = json!({ "edge": "e2" });
    run.operator.accepted(&Address::Installation, Verb::EdgeRemove, gone).await.unwrap();
    edges.until_refused("e2", &new, "not_ready").await;
    let mut seen = BTreeSet::new();
    for stream in keywheel_bus::topology::streams(1) {
        seen.extend(store.check(&stream.name).await);
    }
    let kinds =
        keywheel_domain::event::FactKind::ALL.map(|kind| keywheel_wire::body::type_word(kind).to_owned());
    let others = ["result", "sealed", "pulse", "receipt", "manifest", "chunk", "head"].map(Into::into);
    for wanted in kinds.into_iter().chain(others) {
        assert!(seen.contains(&wanted), "no {wanted} among {seen:?}");
    }
    run.stack.signal("nats", Signal::SIGKILL).unwrap();
    edges
        .until_refused("e1", keywheel_token::mint(&keywheel_token::Brand::default()).text.expose(), "stale")
        .await;
    edges.all_was_seen();
}

fn check_context(stack: &Stack) {
    let context = crate::schemas::read_json(&stack.home().join("context.json"));
    assert_eq!(wrong(&Schemas::load().closed().of("context"), &context), None);
}
