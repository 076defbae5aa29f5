//! A bus, a propagator without edges, issuers that come and go, and what must hold of every rotation.

use crate::server::{OURS, Server};
use keywheel_bus::{Bus, BusError, topology};
use keywheel_domain::Recorded;
use keywheel_domain::{Address, Fact, KeyringId, Tenant, Version, schedule};
use keywheel_tests::Operator;
use keywheel_tests::stack::Context;
use keywheel_token::id::derived;
use keywheel_wire::outcome::Word;
use keywheel_wire::subject;
use keywheel_wire::text::{Length, id};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use keywheel_domain::Span;
use keywheel_runtime::Shutdown;

pub struct Rig {
    pub server: Server,
    pub bus: Bus,
    pub operator: Operator,
    folder: TempDir,
    _propagator: Running,
}

/// A service in this process.
pub struct Running {
    shutdown: Shutdown,
    task: JoinHandle<Result<(), BusError>>,
}

impl Running {
    fn start(run: impl FnOnce(Shutdown) -> JoinHandle<Result<(), BusError>>) -> Running {
        let shutdown = Shutdown::new();
        Running { task: run(shutdown.clone()), shutdown }
    }

    /// Asked to end, it ends.
    pub async fn stop(self) {
        self.shutdown.trigger();
        self.task.await.unwrap().unwrap();
    }

    /// Nothing more of it runs, whatever it was waiting for.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled(), "it had ended before");
    }
}

impl Rig {
    pub async fn open() -> Rig {
        let (server, folder) = (Server::start(), TempDir::new().unwrap());
        let bus = server.bus().await;
        topology::ensure(&bus, 1, 2).await.unwrap();
        let context = Context {
            nats_url: server.config("operator").url,
            credentials: server.seed("operator"),
            signers: server.signers(),
            inbox_prefix: "_INBOX_operator".to_owned(),
            edges: Vec::new(),
            services: Vec::new(),
            tls: None,
        };
        let propagator = keywheel_propagator::Config {
            observe: Default::default(),
            instance: NonZeroU32::MIN,
            data_dir: folder.path().join("propagator"),
            lease: Length(Span::secs(1)),
            bus: server.config("propagator"),
            snapshot: Default::default(),
            log: Default::default(),
        };
        let _propagator =
            Running::start(|shutdown| tokio::spawn(Box::pin(keywheel_propagator::run(propagator, shutdown))));
        Rig { operator: Operator::connect(&context).await.unwrap(), server, bus, folder, _propagator }
    }

    /// An issuer with the fold that its instance left.
    pub fn issuer(&self, instance: u32) -> Running {
        let config = keywheel_issuer::Config {
            observe: Default::default(),
            instance: NonZeroU32::new(instance).unwrap(),
            data_dir: self.folder.path().join("issuer"),
            lease: Length(Span::secs(1)),
            bus: self.server.config("issuer"),
            key: Default::default(),
            log: Default::default(),
        };
        Running::start(|shutdown| tokio::spawn(Box::pin(keywheel_issuer::run(config, shutdown))))
    }

    /// A key that was handed out, for each client.
    pub async fn issue(&self, clients: &[String]) {
        for client in clients {
            self.operator.issue(&keyring(client)).await.unwrap();
        }
    }

    /// Waits until a keyring has `n` versions and none that is pending.
    pub async fn versions(&self, client: &str, n: usize) {
        let settled = |state: &keywheel_domain::State| {
            state.keys.len() >= n && state.keys.values().all(|key| key.state.is_live())
        };
        self.operator.until(&keyring(client), &format!("at {n} versions"), settled).await.unwrap();
    }

    /// Holds each rotation by schedule of a keyring against the promises: it came when it was due and not
    /// before, under the id that follows from its due time, and its outcome is written. Gives their number.
    pub async fn check(&self, client: &str) -> usize {
        let (state, events) = self.operator.history(&address(client)).await.unwrap();
        let installation = id(OURS.0);
        let mut ids = BTreeSet::new();
        for recorded in events.iter().filter(|recorded| recorded.event.actor.as_str() == "schedule") {
            let event = &recorded.event;
            let Fact::KeyIssued(issued) = &event.fact else { panic!("{event:?}") };
            let before = Version(issued.version.0 - 1);
            let due = schedule::due(&keyring(client), before, state.keys[&before].issued_at, &issued.policy);
            let due = due.unwrap();
            assert!(due <= event.at, "{client} {}: due at {due:?}, began at {:?}", issued.version, event.at);
            let subject = subject::event(&address(client));
            let command = derived(&["schedule", &installation, &subject, &due.0.to_string()]);
            assert_eq!(event.command.0, command, "{client} {}", issued.version);
            assert!(ids.insert(command), "{client}: two rotations for one due time");
            self.has_outcome(recorded).await;
        }
        ids.len()
    }

    /// Waits until a rotation's outcome says what the log says.
    pub async fn has_outcome(&self, recorded: &Recorded) {
        let patience = Duration::from_secs(20);
        let outcome = self.bus.await_outcome(recorded.event.command, patience).await.unwrap();
        let outcome = outcome.unwrap_or_else(|| panic!("{} has no outcome", recorded.seq));
        assert_eq!(outcome.outcome, Word::Accepted);
        assert_eq!(outcome.event.unwrap().seq, recorded.seq);
    }

    /// How many sealed secrets wait for their activation.
    pub async fn staged(&self) -> u64 {
        let stream = self.server.stranger().await.get_stream("KW_STAGE").await.unwrap();
        stream.cached_info().state.messages
    }
}

pub fn tenant() -> Address {
    Address::Tenant(Tenant::parse("acme").unwrap())
}

pub fn keyring(client: &str) -> KeyringId {
    KeyringId::parse(&format!("acme/{client}")).unwrap()
}

pub fn address(client: &str) -> Address {
    Address::Keyring(keyring(client))
}

pub fn clients(n: u32) -> Vec<String> {
    (0..n).map(|n| format!("client-{n}")).collect()
}

/// Waits for a condition; says what it was when it does not come.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
