//! What the tests share: a bus with its streams, replicas that follow and decide, a writer of plain events.

use crate::server::Server;
use keywheel_bus::follow::Sink;
use keywheel_bus::gate::Sources;
use keywheel_bus::log::Appended;
use keywheel_bus::{Bus, BusError, Follower, Gate, SharedFold, topology};
use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::policy::PolicyPatch;
use keywheel_domain::{Actor, Address, At, Event, Fact, KeyringId, Recorded, Span};
use keywheel_table::fold::Head;
use keywheel_table::{Applied, Fold, Options};
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link};
use keywheel_wire::subject::Service;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

static TICKS: AtomicU64 = AtomicU64::new(1);

fn now() -> At {
    At(1_769_860_800_000 + TICKS.fetch_add(1, Ordering::Relaxed))
}

/// An id that no other has.
pub fn fresh_id() -> u128 {
    u128::from(TICKS.fetch_add(1, Ordering::Relaxed)) << 64 | 0x4000_8000_0000_0000_0000
}

pub fn actor() -> Actor {
    Actor::parse("dana").unwrap()
}

pub fn keyring(n: u32) -> Address {
    Address::Keyring(KeyringId::parse(&format!("acme/client-{n}")).unwrap())
}

/// A server with all streams, for two replicas of each service.
pub async fn server() -> (Server, Bus) {
    let server = Server::start();
    let bus = server.bus("admin").await;
    topology::ensure(&bus, 1, 2).await.unwrap();
    (server, bus)
}

/// Waits until `check` holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    for _ in 0..2000 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// An event that says little.
pub fn plain_event(address: &Address) -> Event {
    Event {
        id: EventId(fresh_id()),
        address: address.clone(),
        at: now(),
        actor: actor(),
        command: CommandId(fresh_id()),
        rotation: None,
        fact: Fact::PolicySet(PolicyPatch { quiet: Some(Span(now().0)), ..PolicyPatch::NONE }),
    }
}

/// Writes linked events without a gate.
#[derive(Default)]
pub struct Writer {
    last: BTreeMap<Address, (u64, Link)>,
}

impl Writer {
    pub async fn append(&mut self, bus: &Bus, address: &Address) -> u64 {
        let (expects, link) =
            self.last.get(address).copied().unwrap_or((0, Link { revision: 1, prev: None }));
        let event = plain_event(address);
        let Appended::Stored(seq) = bus.append(&event, link, expects).await.unwrap() else {
            panic!("nobody else writes")
        };
        let prev = Some(payload_hash(&event::write(&event, link, bus.signers().installation()).unwrap()));
        self.last.insert(address.clone(), (seq, Link { revision: link.revision + 1, prev }));
        seq
    }

    pub async fn append_many(&mut self, bus: &Bus, count: u32) {
        for n in 0..count {
            self.append(bus, &keyring(n % 3)).await;
        }
    }
}

/// Remembers everything that it was passed.
#[derive(Clone, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Default)]
pub struct Seen {
    pub events: Vec<Recorded>,
    pub alarms: Vec<(u64, String)>,
    pub notes: Vec<(&'static str, Vec<u8>)>,
}

impl Witness {
    pub fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.seen().events.iter().map(|recorded| recorded.seq).collect()
    }
}

impl Sink for Witness {
    fn applied(&mut self, applied: Applied, _: Head) {
        let mut seen = self.seen();
        seen.events.extend(applied.events);
        seen.alarms.extend(applied.alarms);
    }

    fn notes(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        std::mem::take(&mut self.seen().notes)
    }
}

/// What stops a follower, and how it ended.
type Running = (oneshot::Sender<()>, JoinHandle<Result<(), BusError>>);

/// One replica of a service: its own connection, durable and fold.
pub struct Replica {
    pub gate: Gate,
    pub fold: SharedFold,
    pub witness: Witness,
    watermark: watch::Receiver<u64>,
    follower: Option<Follower>,
    running: Option<Running>,
}

impl Replica {
    /// Opens one that does not follow yet.
    pub async fn open(server: &Server, instance: u32, folder: &Path) -> Replica {
        let bus = server.bus("issuer").await;
        eventually("it is connected", || async { bus.connections() == 1 }).await;
        let options = Options { commands: true, pending: |_| false, doubts: false };
        let fold = SharedFold::new(
            Fold::open(&folder.join(format!("{instance}.db")), options, bus.signers()).unwrap(),
        );
        let follower = Follower::new(bus.clone(), fold.clone(), Service::Issuer.log_durable(instance));
        let watermark = follower.watermark();
        let gate = Gate::new(bus, fold.clone(), watermark.clone(), Sources { now, fresh_id });
        let witness = Witness::default();
        Replica { gate, fold, witness, watermark, follower: Some(follower), running: None }
    }

    pub async fn start(server: &Server, instance: u32, folder: &Path) -> Replica {
        let mut replica = Replica::open(server, instance, folder).await;
        replica.follow();
        replica
    }

    pub fn follow(&mut self) {
        let (stop, stopped) = oneshot::channel();
        let (follower, witness) = (self.follower.take().unwrap(), self.witness.clone());
        let run = async move {
            let stop = async {
                let _ = stopped.await;
            };
            follower.run(witness, stop).await
        };
        self.running = Some((stop, tokio::spawn(run)));
    }

    /// Waits until everything up to `seq` is committed and was passed on.
    pub async fn reaches(&self, seq: u64) {
        let mut watermark = self.watermark.clone();
        let reached = tokio::time::timeout(Duration::from_secs(20), watermark.wait_for(|at| *at >= seq));
        reached.await.expect("the fold catches up").unwrap();
    }

    /// Ends it in order.
    pub async fn stop(mut self) {
        let (stop, run) = self.running.take().unwrap();
        drop(stop);
        run.await.unwrap().unwrap();
    }

    /// Waits until it ends by itself.
    pub async fn ends(mut self) -> BusError {
        let (_stop, run) = self.running.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(30), run).await;
        ended.expect("it should have ended").unwrap().unwrap_err()
    }
}
