//! What the command line prints with `--output json`, on a live stack: each command's documents are as described, field
//! for field, and each command has a description.

use crate::schemas::{Schemas, wrong};
use async_nats::ConnectOptions;
use keywheel_bus::connect::inbox_prefix;
use keywheel_tests::stack::{binary, keywheel, nats_server};
use keywheel_tests::{Stack, StackOptions, traffic};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What other definitions are made of.
const PARTS: [&str; 10] =
    ["leftOut", "done", "plan", "doubt", "next", "row", "version", "alarm", "happened", "moment"];
/// What runs until it is told to end, and prints no document.
const RUN_ON: [&str; 3] = ["up", "run", "help"];
const LEGACY: &str = "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";

struct Cli {
    stack: Stack,
    schemas: Schemas,
    closed: Schemas,
    met: BTreeSet<String>,
    folder: TempDir,
}

fn program(home: &Path, line: &str) -> Command {
    let mut command = keywheel(&binary().unwrap());
    command.args(line.split_whitespace()).args(["--output", "json"]).env("KEYWHEEL_HOME", home);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The rotation that made a version.
fn rotation_of(log: &str, version: u64) -> String {
    let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let issued = |event: &Value| event["type"] == "KeyIssued" && event["body"]["version"] == version;
    events.into_iter().find(issued).unwrap()["rotation_id"].as_str().unwrap().to_owned()
}

impl Cli {
    fn open() -> Cli {
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.lease = "15s";
        options.words = ["--leaf", "paris"].map(str::to_owned).into();
        let stack = Stack::start(&options).unwrap();
        let schemas = Schemas::load();
        let closed = schemas.closed();
        Cli { stack, schemas, closed, met: BTreeSet::new(), folder }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Holds each line against the definition of that name.
    fn check(&mut self, name: &str, lines: &str) -> Value {
        // An event's fields are the event's own description's, which knows no position.
        let schemas = if name == "log" { &self.schemas } else { &self.closed };
        let validator = schemas.at(&format!("v1/cli.schema.json#/$defs/{name}"));
        let mut last = Value::Null;
        for line in lines.lines() {
            last = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}: {error}: {line}"));
            assert_eq!(wrong(&validator, &last), None, "{name}: {line}");
        }
        assert_ne!(last, Value::Null, "{name}: nothing was printed");
        self.met.insert(name.to_owned());
        last
    }

    fn run(&self, line: &str) -> Output {
        program(self.stack.home(), line).output().unwrap()
    }

    /// Runs a command that ends with 0, and gives its last document.
    fn says(&mut self, name: &str, line: &str) -> Value {
        self.ends(name, line, 0)
    }

    /// The same of one that ends with `code` and has a document all the same.
    fn ends(&mut self, name: &str, line: &str, code: i32) -> Value {
        let ended = self.run(line);
        assert_eq!(ended.status.code(), Some(code), "{line}: {}", text(&ended.stderr));
        self.check(name, &text(&ended.stdout))
    }

    /// Asks an edge with a key.
    async fn uses(&self, key: &Value) {
        let edge = &self.stack.context.edges[0].http;
        let asked = traffic::ask(&reqwest::Client::new(), edge, key.as_str().unwrap(), false).await;
        assert!(asked.unwrap().valid);
    }

    async fn keys(&mut self) {
        self.says("policy-set", "policy set acme --overlap-min 1s --quiet 2s");
        self.says("policy-get", "policy get acme");
        let old = self.says("issue", "issue acme/web --scope read --meta team=x");
        self.uses(&old["key"]).await;
        self.until_retired().await;
        self.says("fetch", "fetch acme/web --version 2");
        self.says("rotate", "rotate acme/web --until accepted");
        self.says("issue", "issue acme/app");
        self.says("rotate", "rotate acme/app");
        self.says("retire", "retire acme/app --version 1");
        self.says("issue", "issue acme/app");
        self.says("revoke", "revoke acme/app --version 2 --reason leaked");
        self.says("revoke", "revoke acme/app --version 2 --reason leaked");
        self.says("import", &format!("import acme/old --digest {LEGACY}"));
        self.says("plan", "rollback acme/web --dry-run");
        self.says("rollback", "rollback acme/web --yes");
        self.activated();
        let refused = self.run("retire acme/nobody --version 1");
        assert_eq!(refused.status.code(), Some(1));
        self.check("failure", text(&refused.stderr).lines().last().unwrap());
        for (key, code) in [(old["key"].as_str().unwrap(), 1), ("kw_live_x", 1)] {
            self.verified(key, code);
        }
        let now = self.says("issue", "issue acme/now");
        self.verified(now["key"].as_str().unwrap(), 0);
    }

    /// The key comes first, then the end of the old version, on standard error.
    async fn until_retired(&mut self) {
        let mut rotating = program(self.stack.home(), "rotate acme/web --until retired").spawn().unwrap();
        let mut key = String::new();
        BufReader::new(rotating.stdout.as_mut().unwrap()).read_line(&mut key).unwrap();
        let made = self.check("rotate", &key);
        self.uses(&made["key"]).await;
        let ended = tokio::task::block_in_place(|| rotating.wait_with_output()).unwrap();
        let said = text(&ended.stderr);
        assert!(ended.status.success(), "{said}");
        self.check("rotate-retired", said.lines().last().unwrap());
    }

    /// While an edge holds up the barrier, for a lease at most.
    fn activated(&mut self) {
        self.stack.signal("edge-e2", Signal::SIGSTOP).unwrap();
        let made = self.says("rotate", "rotate acme/app --until accepted");
        self.says("activate", &format!("activate acme/app --version {} --reason drill", made["version"]));
        self.stack.signal("edge-e2", Signal::SIGCONT).unwrap();
    }

    fn verified(&mut self, key: &str, code: i32) {
        let mut command = program(self.stack.home(), "verify --key-stdin");
        let mut asking = command.stdin(Stdio::piped()).spawn().unwrap();
        asking.stdin.take().unwrap().write_all(key.as_bytes()).unwrap();
        let ended = asking.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(code), "{}", text(&ended.stderr));
        self.check("verify", &text(&ended.stdout));
    }

    fn fleet(&mut self) {
        let before = keywheel_wire::text::moment(keywheel_domain::At(keywheel_runtime::clock::wall_ms()));
        // A moment is one of milliseconds.
        std::thread::sleep(Duration::from_millis(5));
        self.says("rotate-all", "rotate acme --all --older-than 1ms");
        self.says("rollback-all-plan", &format!("rollback acme --all --to-time {before} --dry-run"));
        self.says("rollback-all", &format!("rollback acme --all --to-time {before} --yes"));
        let table = self.beside("keys.csv");
        let rows = format!("tenant,client,digest\nacme,shop,{}\nacme,shop,none\n", "5c".repeat(32));
        std::fs::write(&table, rows).unwrap();
        let import = format!("import --csv {}", table.display());
        self.ends("import-many", &format!("{import} --dry-run"), 1);
        self.ends("import-many", &import, 1);

        let state = self.says("state", &format!("state acme/web --at {before}"));
        self.says("state-tenant", &format!("state acme --at {before}"));
        self.says("diff", &format!("diff acme/web --from {before}"));
        self.says("diff-tenant", &format!("diff acme --from {before}"));
        let kid = state["versions"][0]["kid"].as_str().unwrap().to_owned();
        self.says("would-accept", &format!("would-accept --kid {kid} --at {before}"));
    }

    fn looked_at(&mut self) {
        self.says("status", "status");
        self.says("status-keyring", "status acme/web");
        self.says("edges", "edges");
        let odd = self.says("log", "log acme/odd");
        assert_eq!(odd["freezes"], false, "nobody has signed it: {odd}");
        self.says("log", "log acme");
        self.says("doctor", "doctor");
        self.says("recipient-show", "recipient show");
        let file = self.beside("another.xk");
        self.says("recipient-new", &format!("recipient new --file {}", file.display()));
    }

    fn audited(&mut self) {
        let (log, proofs) = (self.beside("log.jsonl"), self.beside("proofs"));
        let signers = self.stack.context.signers.clone();
        self.says("audit-export", &format!("audit export --format jsonl --file {}", log.display()));
        // The message that nobody signed.
        self.ends("audit-verify", "audit verify", 1);
        let from_file = format!("audit verify --file {} --signers {}", log.display(), signers.display());
        self.ends("audit-verify", &from_file, 1);
        let of_web = text(&self.run("log acme/web").stdout);
        let rotation = rotation_of(&of_web, 2);
        self.says("audit-proof", &format!("audit proof --rotation {rotation} --dir {}", proofs.display()));
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&proofs).unwrap().map(|entry| entry.unwrap().path()).collect();
        crate::proofs::hold_as_described(&self.schemas, &files, &signers);
        files.push(log);
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let check = format!("audit check {} --signers {}", files.join(" "), signers.display());
        self.ends("audit-check", &check, 1);
        for report in ["inventory", "ledger", "overdue", "compromise", "overlaps"] {
            let ended = self.run(&format!("audit report {report} --format json"));
            self.check("audit-report", &text(&ended.stdout));
        }
    }

    fn installation(&mut self) {
        self.says("signer-list", "signer list");
        let file = self.beside("issuer-2.nk");
        let made = self.says("signer-new", &format!("signer new issuer --file {}", file.display()));
        let key = made["key"].as_str().unwrap().to_owned();
        self.says("signer-add", &format!("signer add issuer --key {key}"));
        self.says("signer-add", &format!("signer add issuer --key {key}"));
        self.says("signer-withdraw", &format!("signer withdraw {key} --reason drill --yes"));
        self.says("edge-add", "edge add e8 --library");
        self.says("edge-add", "edge add e9");
        self.says("edge-remove", "edge remove e9");
        let added = self.says("edge-add", "edge add p1 --leaf paris");
        self.mirrored(Path::new(added["folder"].as_str().unwrap()));
        self.says("edge-snapshot", "edge snapshot");
        self.says("restore", "restore --from-edge --dry-run");
    }

    /// At a leaf's server, which need not reach the hub for it.
    fn mirrored(&mut self, folder: &Path) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"store\", domain: \"leaf\" }}\ninclude \"accounts.conf\"\n"
        );
        std::fs::write(folder.join("nats.conf"), server).unwrap();
        let mut leaf = Command::new(nats_server().expect("KEYWHEEL_TEST_NATS"));
        leaf.args(["-c", "nats.conf"]).current_dir(folder).stderr(Stdio::null());
        let mut leaf = leaf.spawn().unwrap();
        let line = format!("edge mirror --dir {} --url nats://127.0.0.1:{port}", folder.display());
        let began = Instant::now();
        while !self.run(&line).status.success() {
            assert!(began.elapsed() < Duration::from_secs(60), "the leaf does not answer");
            std::thread::sleep(Duration::from_millis(100));
        }
        self.says("edge-mirror", &line);
        leaf.kill().unwrap();
        leaf.wait().unwrap();
    }

    /// Somebody who was let in writes to the log and signs nothing.
    async fn forged(&self) {
        let seed = std::fs::read_to_string(self.stack.home().join("credentials/issuer.nk")).unwrap();
        let options = ConnectOptions::with_nkey(seed.trim().to_owned());
        let options = options.custom_inbox_prefix(inbox_prefix("issuer"));
        let bus = async_nats::jetstream::new(options.connect(&self.stack.context.nats_url).await.unwrap());
        bus.publish("kw.evt.acme.odd", "odd".into()).await.unwrap().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_print_for_programs_is_as_described() {
    let mut cli = tokio::task::block_in_place(Cli::open);
    cli.keys().await;
    cli.forged().await;
    tokio::task::block_in_place(|| {
        cli.fleet();
        cli.looked_at();
        cli.audited();
        cli.installation();
    });
    let Cli { stack, schemas, met, .. } = cli;
    tokio::task::block_in_place(|| stack.stop()).unwrap();
    let described = described(&schemas);
    let parts: BTreeSet<String> = PARTS.map(str::to_owned).into();
    let missed: Vec<&String> = described.difference(&met).filter(|name| !parts.contains(*name)).collect();
    assert!(missed.is_empty(), "described, and never printed: {missed:?}");
}

fn described(schemas: &Schemas) -> BTreeSet<String> {
    schemas.schema("cli")["$defs"].as_object().unwrap().keys().cloned().collect()
}

/// The commands that the program's own help lists under `of`.
fn listed(of: &[&str]) -> Vec<String> {
    let help = keywheel(&binary().unwrap()).args(of).arg("--help").output().unwrap();
    let help = text(&help.stdout);
    let list = help.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap());
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names.map(str::to_owned).filter(|name| !RUN_ON.contains(&name.as_str())).collect()
}

#[test]
fn each_command_has_a_description() {
    let described = described(&Schemas::load());
    let mut count = 0;
    for command in listed(&[]) {
        let below = listed(&[&command]);
        let names = if below.is_empty() {
            vec![command]
        } else {
            below.iter().map(|name| format!("{command}-{name}")).collect()
        };
        for name in names {
            count += 1;
            assert!(described.contains(&name), "cli.schema.json has no {name}");
        }
    }
    assert!(count > 30, "{count}");
}
