//! A stack, edges inside this process, a tenant that wants little, and what everybody takes of memory.

use async_nats::{ConnectOptions, jetstream};
use futures_util::StreamExt as _;
use keywheel_bus::connect::inbox_prefix;
use keywheel_domain::event::{Barrier, CommandId};
use keywheel_domain::{Address, EdgeId, Fact, KeyringId, Version};
use keywheel_edge::Config;
use keywheel_stack::home::Home;
use keywheel_stack::installation;
use keywheel_stack::settings::Fleet;
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::stack::{Context, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::{self, Verb};
use serde_json::json;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Who may have to be bounded.
pub const SERVICES: [&str; 4] = ["issuer", "propagator", "usage-tracker", "retirer"];
/// More than any service takes of memory in these tests: a bound, no aim.
const MIB_MAX: u64 = 400;

/// Whether the long versions are wanted.
pub fn is_long() -> bool {
    std::env::var_os("KEYWHEEL_TEST_OVERLOAD").is_some()
}

pub fn keyring(name: &str) -> KeyringId {
    KeyringId::parse(name).unwrap()
}

pub struct Scene {
    pub stack: Stack,
    pub operator: Operator,
    /// The operator's own connection, as any client has one.
    pub bus: jetstream::Context,
    admin: jetstream::Context,
    _folder: tempfile::TempDir,
}

impl Scene {
    pub async fn begin(edges: usize) -> Option<Scene> {
        Scene::with_libraries(edges, &[], "2s").await
    }

    /// With edges of these names besides, which nobody starts but the test.
    pub async fn with_libraries(edges: usize, libraries: &[EdgeId], lease: &'static str) -> Option<Scene> {
        if nats_server().is_none() {
            eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        (options.edges, options.lease) = (edges, lease);
        let home = Home::at(&options.home).unwrap();
        home.create().unwrap();
        Fleet { libraries: libraries.to_vec(), ..Fleet::default() }.save(&home).unwrap();
        let stack = tokio::task::block_in_place(|| Stack::start(&options).unwrap());
        let operator = Operator::connect(&stack.context).await.unwrap();
        let mut commands = Vec::new();
        for id in libraries {
            commands.push((installation::send(&operator.bus, Verb::EdgeAdd, id).await.unwrap(), id));
        }
        for (command, id) in commands {
            installation::settle(&operator.bus, command, id, PATIENCE).await.unwrap();
        }
        let context = &stack.context;
        let bus = connect(context, &context.credentials, &context.inbox_prefix).await;
        let admin = connect(context, &home.credential("admin"), &inbox_prefix("admin")).await;
        Some(Scene { stack, operator, bus, admin, _folder: folder })
    }

    /// The configuration of an edge that nobody starts but the test.
    pub fn library(&self, id: &EdgeId) -> Config {
        let home = Home::at(self.stack.home()).unwrap();
        Config::read(&home.config(&subject::edge_durable(id))).unwrap()
    }

    /// A plain connection by an edge's credential, as of somebody who stole it.
    pub async fn as_edge(&self, id: &EdgeId) -> jetstream::Context {
        let home = Home::at(self.stack.home()).unwrap();
        let name = subject::edge_durable(id);
        connect(&self.stack.context, &home.credential(&name), &inbox_prefix(&name)).await
    }

    /// Resident memory of each service, in MiB; bounded.
    pub fn memory(&self, when: &str) {
        let of = |name: &str| resident(self.stack.pid(name).unwrap().as_raw().cast_unsigned());
        let all: Vec<(&str, u64)> =
            SERVICES.iter().chain(&["edge-e1", "nats"]).map(|name| (*name, of(name))).collect();
        let text: Vec<String> = all.iter().map(|(name, mib)| format!("{name} {mib}")).collect();
        println!("MiB {when}: {}", text.join(", "));
        for (name, mib) in all.iter().filter(|(name, _)| *name != "nats") {
            assert!(*mib <= MIB_MAX, "{name} takes {mib} MiB {when}, more than {MIB_MAX}");
        }
    }

    /// Issues a key, one tenant's modest wish: how long until its outcome is there.
    pub async fn modest(&self, keyring: &KeyringId) -> Duration {
        let begun = Instant::now();
        let fields = json!({ "recipient": self.operator.recipient() });
        let address = Address::Keyring(keyring.clone());
        let outcome = self.operator.command(&address, Verb::Issue, fields).await.unwrap();
        assert_eq!(outcome.outcome, Word::Accepted, "{outcome:?}");
        begun.elapsed()
    }

    /// So many of them, one after another, each on a keyring of its own.
    pub async fn modest_times(&self, times: usize, name: &str) -> Times {
        let mut all = Vec::new();
        for at in 0..times {
            all.push(self.modest(&keyring(&format!("calm/{name}{at}"))).await);
        }
        Times::of(all)
    }

    /// Waits until the queue of commands is empty; gives how long that took.
    pub async fn drained(&self) -> Duration {
        let begun = Instant::now();
        while self.waiting().await > 0 {
            assert!(begun.elapsed() < Duration::from_secs(240), "the queue of commands does not empty");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        begun.elapsed()
    }

    /// Commands that wait.
    pub async fn waiting(&self) -> u64 {
        self.waiting_in(subject::COMMANDS).await
    }

    /// Messages that wait in a queue.
    pub async fn waiting_in(&self, queue: &str) -> u64 {
        let mut stream = self.admin.get_stream(queue).await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    /// How many wait as soon as there are more than so many.
    pub async fn waiting_beyond(&self, commands: u64) -> u64 {
        let begun = Instant::now();
        loop {
            let waiting = self.waiting().await;
            if waiting > commands {
                return waiting;
            }
            assert!(begun.elapsed() < PATIENCE, "no more than {commands} commands come");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Takes what waits under this subject away, as its owner may.
    pub async fn forget(&self, subject: &str) {
        let queue = self.admin.get_stream(subject::COMMANDS).await.unwrap();
        queue.purge().filter(subject).await.unwrap();
    }

    /// Reports of one edge that wait.
    pub async fn reports_waiting(&self, edge: &EdgeId) -> usize {
        let stream = self.admin.get_stream(subject::USAGE).await.unwrap();
        let mut info = stream.info_with_subjects(subject::usage(edge)).await.unwrap();
        info.next().await.map_or(0, |waiting| waiting.unwrap().1)
    }

    /// What the activation of a version rested on.
    pub async fn barrier(&self, keyring: &KeyringId, version: Version) -> Barrier {
        let (_, events) = self.operator.history(&Address::Keyring(keyring.clone())).await.unwrap();
        let barrier = events.into_iter().find_map(|recorded| {
            let Fact::KeyActivated(activated) = recorded.event.fact else { return None };
            (activated.version == version).then_some(activated.barrier)
        });
        barrier.unwrap()
    }

    /// The receipt for the event at this position.
    pub async fn receipt(&self, keyring: &KeyringId, seq: u64) -> Receipt {
        let address = Address::Keyring(keyring.clone());
        let begun = Instant::now();
        loop {
            let notices = self.operator.bus.notices(&address, "receipt").await.unwrap();
            let found = notices.into_iter().find_map(|(notice, _)| match notice {
                Notice::Receipt(receipt) if receipt.seq == seq => Some(receipt),
                Notice::Receipt(_) | Notice::Alarm(_) | Notice::Head(_) => None,
            });
            if let Some(receipt) = found {
                return receipt;
            }
            assert!(begun.elapsed() < PATIENCE, "no receipt for {keyring} at {seq}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn has_outcome(&self, id: u128) -> bool {
        self.operator.bus.outcome(CommandId(id)).await.unwrap().is_some()
    }
}

pub fn edge(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

/// Waits until it is so; gives how long that took.
pub async fn until(what: &str, patience: Duration, mut is_so: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < patience, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}

/// Resident memory of a process, in MiB.
pub fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
    line.split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
}

/// A plain connection by this credential.
pub async fn connect(context: &Context, credentials: &Path, inbox: &str) -> jetstream::Context {
    let seed = std::fs::read_to_string(credentials).unwrap();
    let options = ConnectOptions::with_nkey(seed.trim().to_owned()).custom_inbox_prefix(inbox);
    jetstream::new(options.connect(&context.nats_url).await.unwrap())
}

/// Of several latencies.
pub struct Times {
    all: Vec<Duration>,
}

impl Times {
    pub fn of(mut all: Vec<Duration>) -> Times {
        all.sort_unstable();
        Times { all }
    }

    pub fn max(&self) -> Duration {
        *self.all.last().unwrap()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let p50 = self.all[self.all.len() / 2];
        write!(f, "p50 {p50:.0?}, max {:.0?} of {}", self.max(), self.all.len())
    }
}
