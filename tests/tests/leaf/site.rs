//! A hub with one edge, a leaf with another, and the leaf's two connections to the hub, each over a link of its own.

use keywheel_domain::{Address, KeyringId};
use keywheel_tests::link::Link;
use keywheel_tests::stack::{binary, keywheel, nats_server};
use keywheel_tests::traffic::{self, Answer};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::KeyText;
use serde_json::{Value, json};
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long an edge is fresh for.
pub const LEASE: Duration = Duration::from_secs(3);
/// How long anything may take that is awaited.
pub const PATIENCE: Duration = Duration::from_secs(60);
const CONFIGURATION: &str = include_str!("../../../deploy/leaf/nats.conf");
/// The addresses in it that a machine has to itself.
const HUB: &str = "tls://127.0.0.1:7422";
const LISTEN: &str = "127.0.0.1:4222";
const MONITOR: &str = "127.0.0.1:8222";

/// A process that ends with the test.
pub struct Running(Child);

impl Running {
    /// Starts it; what it says goes to `log`.
    pub fn start(mut command: Command, log: &Path) -> Running {
        let log = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Running(command.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All of it.
pub struct Site {
    options: StackOptions,
    hub: Option<Stack>,
    /// Who commands there.
    pub operator: Operator,
    /// What feeds the mirror.
    pub feed: Link,
    /// What edges tell and ask the hub over.
    pub talk: Link,
    leaf: Option<Running>,
    edge: Option<Running>,
    ports: [u16; 3],
    http: reqwest::Client,
    folder: TempDir,
}

impl Site {
    /// Starts it with the edge `p1` at the leaf `paris`, which is fresh.
    pub async fn start() -> Site {
        let folder = TempDir::new().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("hub")).unwrap();
        (options.edges, options.lease) = (1, "3s");
        options.words = ["--tls", "--leaf", "paris"].map(str::to_owned).into();
        let (stack, operator) = start(&options).await;
        let settings = std::fs::read(stack.home().join("stack.json")).unwrap();
        let settings: Value = serde_json::from_slice(&settings).unwrap();
        let hub = settings["leaves"]["listen"].as_str().unwrap();
        let (feed, talk) = (Link::to(hub).unwrap(), Link::to(hub).unwrap());
        let free = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|listener| listener.local_addr().unwrap().port());
        let http = reqwest::Client::new();
        let (hub, leaf, edge) = (Some(stack), None, None);
        let mut site = Site { options, hub, operator, feed, talk, leaf, edge, ports, http, folder };
        let listen = format!("127.0.0.1:{}", ports[2]);
        site.command(&["edge", "add", "p1", "--leaf", "paris", "--listen", &listen]);
        let at = site.at_leaf();
        std::fs::create_dir(&at).unwrap();
        for entry in std::fs::read_dir(site.hub().home().join("leaves/paris")).unwrap() {
            let from = entry.unwrap().path();
            std::fs::copy(&from, at.join(from.file_name().unwrap())).unwrap();
        }
        std::fs::write(at.join("nats.conf"), site.configuration()).unwrap();
        site.start_leaf().await;
        site.mirror();
        site.start_edge();
        site.until_fresh().await;
        site
    }

    /// The leaf's folder.
    pub fn at_leaf(&self) -> PathBuf {
        self.folder.path().join("paris")
    }

    /// A server of whoever has stolen the leaf's folder, with a user who may ask for whatever he likes; gives its URL.
    pub async fn start_rogue(&self) -> (Running, String) {
        let free = [0; 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, monitor] = free.map(|listener| listener.local_addr().unwrap().port());
        let tls = "tls { ca_file: \"ca.pem\", cert_file: \"leaf.pem\", key_file: \"leaf.key\" }";
        let hub = format!("tls://{}", self.talk.address());
        let conf = format!(
            "include \"seed.conf\"\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor}\"\nleafnodes {{ remotes: [ {{ \
             url: \"{hub}\", account: ROGUE, nkey: $LEAF_SEED, {tls} }} ] }}\naccounts {{ ROGUE {{ users: [ {{ user: rogue, \
             password: rogue }} ] }} }}\n"
        );
        std::fs::write(self.at_leaf().join("rogue.conf"), conf).unwrap();
        let mut command = Command::new(nats_server().expect("KEYWHEEL_TEST_NATS"));
        command.args(["-c", "rogue.conf"]).current_dir(self.at_leaf());
        let server = Running::start(command, &self.folder.path().join("rogue.log"));
        self.await_health(monitor).await;
        (server, format!("nats://127.0.0.1:{port}"))
    }

    /// Where the leaf's server is.
    pub fn leaf_url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports[0])
    }

    /// The shipped configuration with ports of this test, and nothing else.
    fn configuration(&self) -> String {
        assert_eq!(CONFIGURATION.matches(HUB).count(), 2);
        let linked = |link: &Link| format!("tls://{}", link.address());
        CONFIGURATION
            .replacen(HUB, &linked(&self.feed), 1)
            .replacen(HUB, &linked(&self.talk), 1)
            .replace(LISTEN, &format!("127.0.0.1:{}", self.ports[0]))
            .replace(MONITOR, &format!("127.0.0.1:{}", self.ports[1]))
    }

    /// A command about the hub that is done; gives what it printed.
    pub fn command(&self, words: &[&str]) -> Value {
        let mut command = keywheel(&binary().unwrap());
        command.args(words).args(["--output", "json"]).env("KEYWHEEL_HOME", self.hub().home());
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ended.stderr));
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// Starts the leaf's server, and waits until it is ready.
    pub async fn start_leaf(&mut self) {
        let mut command = Command::new(nats_server().expect("KEYWHEEL_TEST_NATS"));
        command.args(["-c", "nats.conf"]).current_dir(self.at_leaf());
        self.leaf = Some(Running::start(command, &self.folder.path().join("leaf.log")));
        self.await_health(self.ports[1]).await;
    }

    async fn await_health(&self, monitor: u16) {
        let (url, began) = (format!("http://127.0.0.1:{monitor}/healthz"), Instant::now());
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(began.elapsed() < PATIENCE, "{}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Makes the mirror and the durables at the leaf.
    pub fn mirror(&self) {
        let mut command = keywheel(&binary().unwrap());
        command.args(["edge", "mirror", "--url", &self.leaf_url()]).current_dir(self.at_leaf());
        let ended = command.output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    /// Starts the edge at the leaf.
    pub fn start_edge(&mut self) {
        let mut command = keywheel(&binary().unwrap());
        command.args(["run", "edge", "--config", "edge-p1.toml"]).current_dir(self.at_leaf());
        command.env("KEYWHEEL_BUS__URL", self.leaf_url()).env("KEYWHEEL_SNAPSHOTS", "false");
        self.edge = Some(Running::start(command, &self.folder.path().join("edge.log")));
    }

    /// Kills the edge at the leaf.
    pub fn kill_edge(&mut self) {
        drop(self.edge.take().unwrap());
    }

    /// Ends the leaf's server.
    pub fn kill_leaf(&mut self) {
        drop(self.leaf.take().unwrap());
    }

    /// Kills the hub: its server, and all that runs there.
    pub fn kill_hub(&mut self) {
        drop(self.hub.take().unwrap());
    }

    /// Starts it again, with what it had.
    pub async fn start_hub(&mut self) {
        let (stack, operator) = start(&self.options).await;
        (self.hub, self.operator) = (Some(stack), operator);
    }

    /// The hub.
    pub fn hub(&self) -> &Stack {
        self.hub.as_ref().unwrap()
    }

    /// Issues a key of a keyring of the class `strict` or `available`.
    pub async fn issue(&self, client: &str, class: &str) -> (KeyringId, KeyText) {
        let ring = KeyringId::parse(&format!("acme/{client}")).unwrap();
        let address = Address::Keyring(ring.clone());
        self.operator.policy(&address, json!({ "class": class })).await.unwrap();
        let (_, key) = self.operator.issue(&ring).await.unwrap();
        (ring, key)
    }

    fn edge_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[2])
    }

    /// What the edge at the leaf says of a key.
    pub async fn ask(&self, key: &str) -> Answer {
        traffic::ask(&self.http, &self.edge_url(), key, true).await.unwrap()
    }

    /// Waits until it says `valid`, or the code that is named.
    pub async fn until(&self, key: &KeyText, wanted: &str) {
        let began = Instant::now();
        loop {
            let answer = traffic::ask(&self.http, &self.edge_url(), key.expose(), true).await;
            let says = answer.map(|answer| answer.code.unwrap_or_else(|| "valid".to_owned()));
            if says.as_ref().is_ok_and(|says| says == wanted) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{says:?}, not {wanted}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What it says of itself.
    pub async fn info(&self) -> Value {
        let url = format!("{}/v1/info", self.edge_url());
        self.http.get(url).send().await.unwrap().json().await.unwrap()
    }

    /// Waits until it is fresh.
    pub async fn until_fresh(&self) {
        let began = Instant::now();
        loop {
            let info = self.http.get(format!("{}/v1/info", self.edge_url())).send().await;
            let info: Option<Value> = if let Ok(info) = info { info.json().await.ok() } else { None };
            if info.as_ref().is_some_and(|info| info["lease"]["fresh"] == true) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{info:?}\n{}", self.said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Up to where the mirror goes.
    pub async fn mirrored(&self) -> u64 {
        let url =
            format!("http://127.0.0.1:{}/jsz?acc=KEYWHEEL_MIRROR&accounts=true&streams=true", self.ports[1]);
        let told: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        told["account_details"][0]["stream_detail"][0]["state"]["last_seq"].as_u64().unwrap()
    }

    /// What the leaf and its edge wrote, for people.
    pub fn said(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("the leaf:\n{}\nits edge:\n{}", read("leaf.log"), read("edge.log"))
    }
}

async fn start(options: &StackOptions) -> (Stack, Operator) {
    let stack = tokio::task::block_in_place(|| Stack::start(options)).unwrap();
    let operator = Operator::connect(&stack.context).await.unwrap();
    (stack, operator)
}
