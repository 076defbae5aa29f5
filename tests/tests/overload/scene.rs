//! A stack, a tenant that wants little, and what the services take of memory.

use async_nats::{ConnectOptions, jetstream};
use keywheel_bus::connect::inbox_prefix;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, KeyringId};
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::stack::{Context, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions};
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
        if nats_server().is_none() {
            eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.edges = edges;
        let stack = tokio::task::block_in_place(|| Stack::start(&options).unwrap());
        let operator = Operator::connect(&stack.context).await.unwrap();
        let context = &stack.context;
        let bus = connect(context, &context.credentials, &context.inbox_prefix).await;
        let admin = stack.home().join("credentials").join("admin.nk");
        let admin = connect(context, &admin, &inbox_prefix("admin")).await;
        Some(Scene { stack, operator, bus, admin, _folder: folder })
    }

    /// Resident memory of each service, in MiB; bounded.
    pub fn memory(&self, when: &str) {
        let resident = |name: &str| {
            let pid = self.stack.pid(name).unwrap();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().trim();
            line.split(' ').next().unwrap().parse::<u64>().unwrap() / 1024
        };
        let all: Vec<(&str, u64)> =
            SERVICES.iter().chain(&["edge-e1", "nats"]).map(|name| (*name, resident(name))).collect();
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
        let mut stream = self.admin.get_stream(subject::COMMANDS).await.unwrap();
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

    pub async fn has_outcome(&self, id: u128) -> bool {
        self.operator.bus.outcome(CommandId(id)).await.unwrap().is_some()
    }
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
    fn of(mut all: Vec<Duration>) -> Times {
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
