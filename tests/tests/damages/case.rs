//! One case: a server, a history, an edge and a service that follow it, and an auditor who looked at it before.

use crate::history::History;
use crate::process::Process;
use crate::server::Server;
use async_nats::jetstream::Context;
use keywheel_bus::follow::Unobserved;
use keywheel_bus::{Bus, BusError, Follower, SharedFold, topology};
use keywheel_domain::{Address, At, EdgeId};
use keywheel_table::{Fold, Options, TableError};
use keywheel_tests::hostile::chance::Chance;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_wire::notice::{Notice, SignedHead};
use keywheel_wire::text::{Hex32, Id, Moment};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than a reader waits for messages before it looks at the log again.
const LOOK: Duration = Duration::from_secs(3);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs the cases of a kind side by side.
pub async fn cases<F: Future<Output = ()>>(run: impl Fn(Case, Chance) -> F) {
    let seed = number("KEYWHEEL_DAMAGES_SEED").unwrap_or(keywheel_token::id::fresh() as u64);
    let count = number("KEYWHEEL_DAMAGES").unwrap_or(5);
    println!("{count} cases, KEYWHEEL_DAMAGES_SEED={seed}");
    let mut chance = Chance::new(seed);
    let mut running = Vec::new();
    for _ in 0..count {
        let mut chance = chance.branch();
        let case = Case::begin(&mut chance).await;
        running.push(run(case, chance));
    }
    futures_util::future::join_all(running).await;
}

/// What is damaged, and who follows it.
pub struct Case {
    pub server: Server,
    pub admin: Bus,
    pub history: History,
    pub edge: Process,
    service: JoinHandle<Result<(), BusError>>,
    fold: SharedFold,
    /// A key that everybody knows.
    known: String,
    /// How many messages the log has.
    pub last: u64,
    folder: TempDir,
}

impl Case {
    async fn begin(chance: &mut Chance) -> Case {
        let folder = TempDir::new().unwrap();
        let server = Server::start(folder.path()).expect("KEYWHEEL_TEST_NATS names a nats-server");
        let admin = server.admin().await;
        topology::ensure(&admin, 1, 1).await.unwrap();
        topology::ensure_edge(&admin, &EdgeId::parse("e1").unwrap()).await.unwrap();
        let mut history = History::new(&server).await;
        history.add_edge().await;
        let known = history.issue("known").await;
        let mut last = 2;
        for number in 0..chance.within(4, 20) {
            history.issue(&format!("c{number}")).await;
            last += 1;
        }
        let edge = Process::start(&server, folder.path(), "2s").await;
        let bus = server.connect("issuer").await;
        let options = Options { commands: true, pending: |_| false, doubts: false };
        let path = folder.path().join("issuer.db");
        let fold = SharedFold::new(Fold::open(&path, options, bus.signers()).unwrap());
        let follower = Follower::new(bus, fold.clone(), "issuer-1".to_owned());
        let service = tokio::spawn(async move { follower.run(Unobserved, std::future::pending()).await });
        let mut case = Case { server, admin, history, edge, service, fold, known, last, folder };
        case.all_follow().await;
        case.audit("before", 0).await;
        case
    }

    /// More of the history, which everybody applies.
    pub async fn go_on(&mut self, count: u64) {
        for number in 0..count {
            self.history.issue(&format!("more{}-{number}", self.last)).await;
        }
        self.last += count;
        self.all_follow().await;
    }

    /// Everybody has applied everything, and the propagator has told where the log stands.
    async fn all_follow(&mut self) {
        let last = self.last;
        self.edge.until_ready(true).await;
        let follow = async || self.edge_at().await >= last && self.fold.head().watermark >= last;
        until("everybody follows", follow).await;
        let head = self.fold.head();
        let told = SignedHead {
            installation: Id(7),
            log_created: Moment(self.fold.log_created().unwrap().unwrap()),
            seq: head.watermark,
            chain: Hex32(head.chain.0),
            digest: Hex32(head.digest),
            at: Moment(At(0)),
        };
        let id = keywheel_wire::text::id(keywheel_token::id::fresh());
        let propagator = self.server.connect("propagator").await;
        propagator.notify(&Address::Installation, &id, &Notice::Head(told)).await.unwrap();
    }

    async fn edge_at(&self) -> u64 {
        let info: Value = serde_json::from_str(&self.edge.get("/v1/info", "").await.2).unwrap();
        info["watermark"].as_u64().unwrap()
    }

    /// An administrator's own connection.
    pub async fn context(&self) -> Context {
        let seed = std::fs::read_to_string(self.server.seed("admin")).unwrap();
        let connecting = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        async_nats::jetstream::new(connecting.connect(self.server.url()).await.unwrap())
    }

    /// Ends the server in good order, so that it notes where each of its files stands.
    pub async fn stop_server(&mut self) {
        let config = self.beside("nats.conf").display().to_string();
        let running = async || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            let named = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
            let is_it = |pid: &i32| {
                std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.contains(&config))
            };
            named.filter(is_it).collect::<Vec<i32>>()
        };
        kill(Pid::from_raw(running().await[0]), Signal::SIGTERM).unwrap();
        until("the server ends", async || running().await.is_empty()).await;
        self.server.kill();
    }

    /// Starts it again.
    pub async fn restart_server(&mut self) {
        self.server.restart();
        until("the server is there", async || self.admin.head().await.is_ok()).await;
    }

    /// Whether the log is as long as it was, as the server says.
    pub async fn is_whole(&self) -> bool {
        let state = self.context().await.get_stream("KW_EVENTS").await.unwrap().cached_info().state.clone();
        (state.messages, state.last_sequence) == (self.last, self.last)
    }

    /// Where the log's messages lie.
    pub fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Where else something may be put.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes what entitled services would write, to keyrings that have no past.
    pub async fn write_on(&mut self, count: u64) -> Vec<String> {
        let mut keys = Vec::new();
        for number in 0..count {
            keys.push(self.history.issue(&format!("late{number}")).await);
        }
        keys
    }

    /// Edge and service have noticed, have applied nothing more, and the edge goes on with what it knows.
    pub async fn is_refused(&mut self, what: &str, late: &[String]) {
        let before = self.last;
        let noticed = async || self.edge.metric("alarms_total{kind=\"diverged\"}").await > 0;
        until(&format!("{what}: the edge notices"), noticed).await;
        let ended = tokio::time::timeout(PATIENCE, &mut self.service).await;
        let ended = ended.unwrap_or_else(|_| panic!("{what}: the service goes on")).unwrap();
        let refused = matches!(
            ended,
            Err(BusError::OtherLog(_) | BusError::Table(TableError::Diverged { .. } | TableError::Gap { .. }))
        );
        assert!(refused, "{what}: {ended:?}");
        assert_eq!((self.edge_at().await, self.fold.head().watermark), (before, before), "{what}");
        self.edge.until_ready(false).await;
        assert_eq!(self.edge.check(&self.known).await, 200, "{what}: it goes on with what it knows");
        for key in late {
            assert_eq!(self.edge.check(key).await, 503, "{what}: it takes nothing more");
        }
    }

    /// It stays so whatever is written then.
    pub async fn is_refused_still(&self, what: &str, late: &[String]) {
        tokio::time::sleep(LOOK).await;
        assert_eq!(self.edge_at().await, self.last, "{what}");
        for key in late {
            assert_eq!(self.edge.check(key).await, 503, "{what}: it takes nothing more");
        }
    }

    /// What nobody's history contradicts is followed: edge and service have applied all up to `last`.
    pub async fn is_followed(&mut self, what: &str, late: &[String]) {
        self.last += late.len() as u64;
        self.all_follow().await;
        for key in late {
            assert_eq!(self.edge.check(key).await, 200, "{what}");
        }
        assert_eq!(self.edge.metric("alarms_total{kind=\"diverged\"}").await, 0, "{what}");
    }

    /// An edge that begins now, in the place of the other, never serves from this log, and says so.
    pub async fn a_new_edge_refuses(self, what: &str) {
        let folder = self.beside("new");
        std::fs::create_dir(&folder).unwrap();
        self.edge.stop().await.unwrap();
        let edge = Process::start(&self.server, &folder, "2s").await;
        let noticed = async || edge.metric("alarms_total{kind=\"diverged\"}").await > 0;
        until(&format!("{what}: a new edge notices"), noticed).await;
        edge.until_ready(false).await;
        edge.stop().await.unwrap();
    }

    /// What `audit verify` says, which must end with `code`.
    pub async fn audit(&self, what: &str, code: i32) -> Value {
        let file = self.beside("context.json");
        let context = json!({
            "nats_url": self.server.url(), "credentials": self.server.seed("admin"), "inbox_prefix": "_INBOX_admin",
            "signers": self.server.signers(), "edges": [],
        });
        std::fs::write(&file, context.to_string()).unwrap();
        let mut command = keywheel(&binary().unwrap());
        command.args(["audit", "verify", "--output", "json", "--context"]).arg(&file);
        command.arg("--remember").arg(self.beside("verified.json"));
        let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(
            ended.status.code(),
            Some(code),
            "{what}: {}{said}",
            String::from_utf8_lossy(&ended.stdout)
        );
        serde_json::from_slice(&ended.stdout).unwrap()
    }

    /// The auditor sees it too, and says where it begins.
    pub async fn is_named(&self, what: &str, codes: &[&str]) {
        let said = self.audit(what, 1).await;
        let found = said["findings_by_code"].as_object().unwrap();
        assert!(codes.iter().any(|code| found.contains_key(*code)), "{what}: {said}");
        assert!(said["first_wrong"].is_u64(), "{what}: {said}");
        println!("{what}: first wrong {}, {}", said["first_wrong"], said["findings_by_code"]);
    }
}

/// Waits for a condition.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Copies a folder.
pub fn copy(from: &Path, to: &Path) {
    let done = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}
