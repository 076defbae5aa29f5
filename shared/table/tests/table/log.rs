//! A log that is written as services write it, beside a plain fold in memory to compare with.

use keywheel_domain::command::{Minted, Retirement, SpecAsked, Which};
use keywheel_domain::event::{Barrier, CommandId, EventId, RotationId, Use};
use keywheel_domain::policy::{AutoRollback, Change, Class, PolicyChange};
use keywheel_domain::{
    Act, Actor, Address, At, Command, Digest, EdgeId, Event, Fact, KeySpec, KeyringId, Kid, Policy, Recorded,
    Span, State, Version, decide, evolve,
};
use keywheel_table::{Fold, Message, Options};
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use nkeys::KeyPair;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock};

/// The installation of these logs.
pub const OURS: Installation = Installation(7);

static SIGNERS: LazyLock<Vec<(Service, Signer)>> = LazyLock::new(|| {
    let fresh = |service| (service, Signer::from_seed(&KeyPair::new_user().seed().unwrap()).unwrap());
    Service::ALL.map(fresh).into()
});

/// What every reader of these logs believes.
pub fn signers() -> Arc<Signers> {
    let keys = SIGNERS.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
    Arc::new(Signers::of(OURS, keys).unwrap())
}

/// The key of a service.
pub fn signer(of: Service) -> &'static Signer {
    SIGNERS.iter().find(|(service, _)| *service == of).map(|(_, signer)| signer).unwrap()
}

/// A message as a service stores it.
pub fn signed(by: Service, seq: u64, subject: &str, payload: Vec<u8>) -> Message {
    let signed = Some(signer(by).sign(subject, &payload).unwrap());
    Message { seq, subject: subject.to_owned(), payload, signed }
}

/// The one service that writes such facts.
pub fn author(fact: &Fact) -> Service {
    Service::ALL.into_iter().rev().find(|service| is_entitled(*service, fact)).unwrap()
}

/// One step of a log's life.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Issue(u8),
    Import(u8),
    /// The first key of one of many keyrings.
    Many(u32),
    Rotate(u8),
    Activate(u8, u32),
    Use(u8, u32),
    Retire(u8, u32),
    Revoke(u8, u32),
    RevokeAll(u8),
    Policy(u8, u64),
    TenantPolicy(u64),
    AddEdge(u8),
    RemoveEdge(u8),
    /// Something that continues nothing.
    Stray(u8),
    /// What would continue the keyring if its writer were who may write it: one of five forgeries.
    Forged(u8, u8),
    /// Something that this version does not understand.
    Garbled(u8),
    /// Something at a subject that is no address.
    Nowhere,
}

/// What services write.
pub fn sound() -> impl Strategy<Value = Step> {
    let (keyring, version) = (0..3_u8, 1..5_u32);
    let of = move || (keyring.clone(), version.clone());
    prop_oneof![
        4 => (0..3_u8).prop_map(Step::Issue),
        1 => (0..3_u8).prop_map(Step::Import),
        4 => (0..3_u8).prop_map(Step::Rotate),
        6 => of().prop_map(|(k, v)| Step::Activate(k, v)),
        3 => of().prop_map(|(k, v)| Step::Use(k, v)),
        2 => of().prop_map(|(k, v)| Step::Retire(k, v)),
        1 => of().prop_map(|(k, v)| Step::Revoke(k, v)),
        1 => (0..3_u8).prop_map(Step::RevokeAll),
        1 => (0..3_u8, any::<u64>()).prop_map(|(k, n)| Step::Policy(k, n)),
        1 => any::<u64>().prop_map(Step::TenantPolicy),
        1 => (0..3_u8).prop_map(Step::AddEdge),
        1 => (0..3_u8).prop_map(Step::RemoveEdge),
    ]
}

/// Also what nobody should write.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let doubtful = prop_oneof![
        4 => (0..3_u8).prop_map(Step::Stray),
        4 => (0..3_u8, 0..5_u8).prop_map(|(k, kind)| Step::Forged(k, kind)),
        1 => (0..3_u8).prop_map(Step::Garbled),
        1 => Just(Step::Nowhere),
    ];
    vec(prop_oneof![12 => sound(), 1 => doubtful], 1..40)
}

/// A log with what it should fold to.
#[derive(Default)]
pub struct Log {
    pub messages: Vec<Message>,
    pub states: BTreeMap<Address, State>,
    pub frozen: BTreeSet<Address>,
    pub last: BTreeMap<Address, u64>,
    prev: BTreeMap<Address, [u8; 32]>,
    minted: u32,
    /// By how much the clock of who writes each event is behind, over and over.
    behind: Vec<u64>,
}

pub fn keyring(n: u8) -> Address {
    Address::Keyring(KeyringId::parse(&format!("acme/client-{n}")).unwrap())
}

fn many(n: u32) -> Address {
    Address::Keyring(KeyringId::parse(&format!("acme/many-{n}")).unwrap())
}

pub fn edge(n: u8) -> EdgeId {
    EdgeId::parse(&format!("edge-{n}")).unwrap()
}

pub fn command_id(seq: u64) -> CommandId {
    CommandId(u128::from(seq))
}

impl Log {
    pub fn of(steps: &[Step]) -> Log {
        Log::by_clocks(steps, &[])
    }

    /// A log whose writers' clocks are behind by so many milliseconds, one after the other.
    pub fn by_clocks(steps: &[Step], behind: &[u64]) -> Log {
        let mut log = Log { behind: behind.to_vec(), ..Log::default() };
        for step in steps {
            log.step(*step);
        }
        log
    }

    /// A log of some length in which nothing is doubtful.
    pub fn plain() -> Log {
        use Step::{Activate, AddEdge, Issue, Policy, Rotate, TenantPolicy, Use};
        Log::of(&[
            AddEdge(0),
            Issue(0),
            Activate(0, 1),
            Issue(1),
            Rotate(0),
            TenantPolicy(7),
            Activate(0, 2),
            Use(0, 2),
            Policy(1, 9),
            Activate(1, 1),
        ])
    }

    fn step(&mut self, step: Step) {
        let now = self.now();
        let by_hand = Barrier { position: 1, edges: vec![edge(0)], passed_over: vec![], by_hand: None };
        let used = Use { first_use: Some(now), last_use: Some(now), uses: now.0, quiet: None };
        let (at, act) = match step {
            Step::Issue(k) => (keyring(k), self.issue()),
            Step::Many(n) => (many(n), self.issue()),
            Step::Import(k) => (keyring(k), self.import()),
            Step::Rotate(k) => (keyring(k), self.rotate()),
            Step::Activate(k, v) => (keyring(k), Act::Activate { version: Version(v), barrier: by_hand }),
            Step::Use(k, v) => (keyring(k), Act::RecordUse { version: Version(v), seen: used }),
            Step::Retire(k, v) => {
                (keyring(k), Act::Retire { version: Version(v), why: Retirement::Requested })
            }
            Step::Revoke(k, v) => (keyring(k), revoke(Which::One(Version(v)))),
            Step::RevokeAll(k) => (keyring(k), revoke(Which::All)),
            Step::Policy(k, n) => (keyring(k), set_policy(n)),
            Step::TenantPolicy(n) => (tenant(), set_policy(n)),
            Step::AddEdge(n) => (Address::Installation, Act::AddEdge { edge: edge(n) }),
            Step::RemoveEdge(n) => (Address::Installation, Act::RemoveEdge { edge: edge(n) }),
            Step::Stray(k) => return self.stray(&keyring(k)),
            Step::Forged(k, kind) => return self.forge(&keyring(k), kind),
            Step::Garbled(k) => return self.garble(&keyring(k)),
            Step::Nowhere => return self.push(Service::Issuer, "kw.evt.nowhere", b"?".to_vec()),
        };
        self.ask(&at, act);
    }

    fn now(&self) -> At {
        let count = self.messages.len();
        let behind = self.behind.get(count % self.behind.len().max(1)).copied().unwrap_or_default();
        At(1_000_000 + 60_000 * count as u64).before(Span(behind))
    }

    fn next_seq(&self) -> u64 {
        self.messages.len() as u64 + 1
    }

    fn push(&mut self, by: Service, subject: &str, payload: Vec<u8>) {
        let message = signed(by, self.next_seq(), subject, payload);
        self.messages.push(message);
    }

    /// Decides, and appends what was decided, if anything was. The command's id is the position.
    fn ask(&mut self, address: &Address, act: Act) {
        let seq = self.next_seq();
        let state = self.states.get(address).cloned().unwrap_or_default();
        let command = Command {
            id: command_id(seq),
            address: address.clone(),
            actor: Actor::service("issuer"),
            at: self.now(),
            event_id: EventId(u128::from(seq) << 64),
            act,
        };
        let Ok(Some(event)) = decide(&state, &command) else { return };
        let link = Link { revision: state.revision + 1, prev: self.prev.get(address).copied() };
        let payload = event::write(&event, link, OURS).unwrap();
        let hash = payload_hash(&payload);
        self.push(author(&event.fact), &subject::event(address), payload);
        self.last.insert(address.clone(), seq);
        if !self.frozen.contains(address) {
            self.prev.insert(address.clone(), hash);
            self.states.insert(address.clone(), evolve(state, &Recorded { seq, event }));
        }
    }

    /// An event that was decided on another past.
    fn stray(&mut self, address: &Address) {
        let (revision, seq) = (self.states.get(address).map_or(0, |state| state.revision), self.next_seq());
        let link = Link { revision: revision + 1, prev: Some([7; 32]) };
        let payload = event::write(&foreign_event(address), link, OURS).unwrap();
        self.push(Service::Issuer, &subject::event(address), payload);
        self.states.entry(address.clone()).or_default();
        self.last.insert(address.clone(), seq);
    }

    fn forge(&mut self, address: &Address, kind: u8) {
        let (revision, seq) = (self.states.get(address).map_or(0, |state| state.revision), self.next_seq());
        let link = Link { revision: revision + 1, prev: self.prev.get(address).copied() };
        let of = if kind == 0 { Installation(OURS.0 + 1) } else { OURS };
        let payload = event::write(&foreign_event(address), link, of).unwrap();
        let mut message = signed(Service::Issuer, seq, &subject::event(address), payload);
        match kind {
            0 => {}
            1 => message.signed = None,
            2 => {
                message.signed =
                    Some(signer(Service::UsageTracker).sign(&message.subject, &message.payload).unwrap())
            }
            3 => message.signed.as_mut().unwrap().by = signer(Service::Retirer).public().to_owned(),
            _ => *message.payload.last_mut().unwrap() ^= 1,
        }
        self.messages.push(message);
        self.states.entry(address.clone()).or_default();
        self.last.insert(address.clone(), seq);
    }

    fn garble(&mut self, address: &Address) {
        let seq = self.next_seq();
        self.push(Service::Retirer, &subject::event(address), b"not MessagePack at all".to_vec());
        self.states.entry(address.clone()).or_default();
        self.frozen.insert(address.clone());
        self.last.insert(address.clone(), seq);
    }

    fn mint(&mut self) -> Minted {
        self.minted += 1;
        let kid = Kid::parse(&format!("kid{:07}", self.minted)).unwrap();
        let mut digest = [self.minted.to_le_bytes()[0]; 32];
        digest[..4].copy_from_slice(&self.minted.to_be_bytes());
        Minted { kid, digest: Digest(digest), rotation: RotationId(u128::from(self.minted)) }
    }

    fn issue(&mut self) -> Act {
        let spec = SpecAsked { scopes: Some(vec!["read".into()]), ..SpecAsked::default() };
        Act::Issue { minted: self.mint(), spec, policy: Policy::default() }
    }

    fn rotate(&mut self) -> Act {
        let (spec, policy) = (SpecAsked::default(), Policy::default());
        Act::Rotate { minted: self.mint(), spec, supersedes: vec![], policy }
    }

    fn import(&mut self) -> Act {
        let spec = KeySpec { expires_at: Some(At(u64::MAX >> 20)), ..KeySpec::default() };
        Act::Import { minted: self.mint(), spec, policy: Policy::default() }
    }

    /// The states as a fold keeps them: commands lie elsewhere.
    pub fn kept(&self) -> BTreeMap<Address, State> {
        let kept = |state: &State| State { done: BTreeMap::new(), ..state.clone() };
        self.states.iter().map(|(address, state)| (address.clone(), kept(state))).collect()
    }
}

pub fn tenant() -> Address {
    Address::Tenant(keywheel_domain::Tenant::parse("acme").unwrap())
}

pub fn foreign_event(address: &Address) -> Event {
    Event {
        id: EventId(1),
        address: address.clone(),
        at: At(1),
        actor: Actor::service("issuer"),
        command: CommandId(u128::MAX),
        rotation: None,
        fact: keywheel_domain::Fact::PolicySet(Default::default()),
    }
}

fn revoke(which: Which) -> Act {
    Act::Revoke { which, reason: "leaked".into() }
}

fn set_policy(n: u64) -> Act {
    let change = PolicyChange {
        quiet: Change::Set(Span(n)),
        class: if n.is_multiple_of(2) { Change::Set(Class::Strict) } else { Change::Clear },
        stale_max: if n.is_multiple_of(3) { Change::Set(Span(n)) } else { Change::Keep },
        auto_rollback: match n % 5 {
            0 => Change::Set(Some(AutoRollback { refused_permille: 50, min_refused: n, window: Span(n) })),
            1 => Change::Clear,
            _ => Change::Keep,
        },
        ..PolicyChange::default()
    };
    Act::SetPolicy { change, beneath: Policy::default() }
}

/// Keeps everything; work is left by what ends a key.
pub const OPTIONS: Options = Options {
    commands: true,
    pending: |event| matches!(event.fact, keywheel_domain::Fact::KeyRetired(_)),
    doubts: true,
};

pub fn open(folder: &Path) -> Fold {
    Fold::open(&folder.join("fold.db"), OPTIONS, signers()).unwrap()
}

/// Every address with its state.
pub fn states(fold: &Fold) -> BTreeMap<Address, State> {
    let mut found = BTreeMap::new();
    fold.each(|address, state| {
        found.insert(address, state);
    })
    .unwrap();
    found
}

/// Everything that a fold keeps, in a form to compare.
pub fn contents(fold: &Fold, log: &Log) -> String {
    let done: Vec<_> = log
        .messages
        .iter()
        .filter_map(|message| {
            subject::parse_event(&message.subject).ok().map(|address| (message.seq, address))
        })
        .map(|(seq, address)| fold.load(&address, Some(command_id(seq))).unwrap())
        .map(|loaded| format!("{} {:?} {:?} {:?}", loaded.seq, loaded.prev, loaded.frozen, loaded.state))
        .collect();
    let head = fold.head();
    let open = fold.open_addresses().unwrap();
    format!(
        "{} {:?} {:?} {:?}\n{:?}\n{:?}\n{:?}\n{done:#?}",
        head.watermark,
        head.chain,
        head.chain_before,
        head.digest,
        states(fold),
        open,
        fold.pending().unwrap()
    )
}
