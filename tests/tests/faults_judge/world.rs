//! A small fleet in plain functions, whose ledgers are legal: the domain decides, edges lag, are cut off and killed,
//! clients and an operator do what they do in a campaign. Nothing of the judge takes part.

use crate::world_edge::{Edge, Fault};
use keywheel_domain::command::{Minted, Retirement, SpecAsked, Which};
use keywheel_domain::due::{next, wants_quiet_proof};
use keywheel_domain::event::{Barrier, CommandId, EventId, QuietProof, RotationId, Use};
use keywheel_domain::policy::Class;
use keywheel_domain::{
    Act, Actor, Address, At, Command, Digest, Event, Fact, KeyState, Kid, Policy, Recorded, Span, State,
    Version, decide, evolve,
};
use keywheel_tests::faults::ledger::{Answer, Entry, Micros, Why};
use keywheel_tests::hostile::chance::Chance;
use keywheel_wire::event::{Link, to_json, write};
use keywheel_wire::signers::Installation;
use keywheel_wire::{chain, subject, text};

pub const LEASE: Micros = 2_000_000;
pub const STALE_MAX: Micros = 6_000_000;
/// The machine's clock at the beginning, in milliseconds.
pub const WALL: u64 = 1_800_000_000_000;
const STEP: Micros = 20_000;
const STORM_ENDS: Micros = 24_000_000;
const ENDS: Micros = 34_000_000;
const QUIET: Span = Span(1000);

/// A keyring with its client.
struct Ring {
    name: String,
    address: Address,
    policy: Policy,
    state: State,
    link: Link,
    past: Vec<(u64, State)>,
    /// What the client was delivered.
    has: Vec<u32>,
    /// Somebody goes on with this version until then.
    straggles: Option<(u32, Micros)>,
    uses: Vec<(Micros, u32)>,
}

/// The fleet.
pub struct World {
    chance: Chance,
    now: Micros,
    ids: u128,
    rings: Vec<Ring>,
    edges: Vec<Edge>,
    log: Vec<(Micros, usize, Recorded)>,
    unreceipted: Vec<(usize, Version, u64, Micros)>,
    entries: Vec<Entry>,
}

impl World {
    /// A whole campaign.
    pub fn run(seed: u64) -> Vec<Entry> {
        let mut chance = Chance::new(seed);
        let rings: Vec<Ring> = (0..5).map(ring).collect();
        let edges: Vec<Edge> =
            (1..=3).map(|at| Edge::new(format!("e{at}"), chance.within(5_000, 60_000))).collect();
        let began = Entry::Began {
            seed,
            lease: LEASE,
            stale_max: STALE_MAX,
            quiet: QUIET.0 * 1000,
            edges: edges.iter().map(|edge| edge.name.clone()).collect(),
            keyrings: rings.iter().map(|ring| (ring.name.clone(), is_strict(&ring.policy))).collect(),
        };
        let (entries, log, unreceipted) = (vec![began], Vec::new(), Vec::new());
        let mut world = World { chance, now: 0, ids: 1, rings, edges, log, unreceipted, entries };
        while world.now < ENDS {
            world.step();
        }
        world.close()
    }

    fn step(&mut self) {
        self.now += STEP;
        if self.now.is_multiple_of(5_000_000) {
            self.entries.push(Entry::Clock { at: self.now, wall: self.wall().0 });
        }
        self.weather();
        self.replay();
        for at in 0..self.rings.len() {
            if self.now < STORM_ENDS {
                self.operate(at);
            }
            self.propagate(at);
            self.track(at);
            self.retire(at);
            self.ask(at);
        }
        self.receipts();
    }

    fn wall(&self) -> At {
        At(WALL + self.now / 1000)
    }

    fn id(&mut self) -> u128 {
        self.ids += 1;
        self.ids
    }

    /// The last edge never has a fault, so that something is always answered.
    fn weather(&mut self) {
        for at in 0..self.edges.len() - 1 {
            let edge = &mut self.edges[at];
            match edge.fault {
                Some((kind, number, until)) if until <= self.now => {
                    edge.fault = None;
                    if kind == Fault::Kill {
                        edge.covered = (self.now, self.now);
                    }
                    self.entries.push(Entry::Healed { at: self.now, number });
                }
                None if self.now < STORM_ENDS && self.chance.within(0, 300) == 0 => {
                    let number = u32::try_from(self.entries.len()).unwrap();
                    let until = self.now + self.chance.within(300_000, 9_000_000);
                    let kill = self.chance.percent(40);
                    let (kind, word) = if kill { (Fault::Kill, "kill") } else { (Fault::Cut, "cut") };
                    edge.fault = Some((kind, number, until));
                    let target = format!("edge-{}", edge.name);
                    self.entries.push(Entry::Fault { at: self.now, number, kind: word.to_owned(), target });
                }
                Some(_) | None => {}
            }
        }
    }

    fn replay(&mut self) {
        for edge in self.edges.iter_mut().filter(|edge| edge.fault.is_none()) {
            let behind = usize::try_from(edge.applied).unwrap();
            for (stored, ring, recorded) in &self.log[behind..] {
                if stored + edge.lag <= self.now {
                    edge.apply(*ring, recorded);
                }
            }
            edge.proof = self.now.saturating_sub(edge.lag);
            edge.covered.1 = edge.covered.1.max(self.now.saturating_sub(100_000));
        }
    }

    /// What the domain decides is in the log at once.
    fn execute(&mut self, at: usize, command: u128, act: Act) -> Result<Option<Recorded>, &'static str> {
        let (event_id, wall) = (EventId(self.id()), self.wall());
        let ring = &mut self.rings[at];
        let address = ring.address.clone();
        let actor = Actor::service("world");
        let command = Command { id: CommandId(command), address, actor, at: wall, event_id, act };
        let Some(event) = decide(&ring.state, &command).map_err(|rejection| rejection.code())? else {
            return Ok(None);
        };
        let recorded = Recorded { seq: self.log.len() as u64 + 1, event };
        ring.state = evolve(std::mem::take(&mut ring.state), &recorded);
        ring.past.push((recorded.seq, ring.state.clone()));
        ring.link.revision += 1;
        let payload = write(&recorded.event, ring.link, Installation(7)).unwrap();
        ring.link.prev = Some(chain::payload_hash(&payload));
        self.entries.push(logged(&ring.name, recorded.seq, self.now, &payload));
        self.log.push((self.now, at, recorded.clone()));
        if let Fact::KeyRetired(ended) = &recorded.event.fact {
            self.unreceipted.push((at, ended.version, recorded.seq, self.now));
        }
        Ok(Some(recorded))
    }

    fn command(&mut self, at: usize, verb: &str, version: Option<u32>, act: Act) {
        let command = self.id();
        let id = text::id(command);
        let (name, sent) = (self.rings[at].name.clone(), self.now);
        let decided = self.execute(at, command, act);
        for copy in 1..=u32::try_from(self.chance.within(1, 4)).unwrap() {
            let acknowledged = (copy == 1 || self.chance.percent(50)).then_some(sent + 900);
            let (id, keyring, verb) = (id.clone(), name.clone(), verb.to_owned());
            self.entries.push(Entry::Command { sent, acknowledged, id, keyring, verb, version, copy });
        }
        let (word, code, recorded) = match decided {
            Ok(Some(recorded)) => ("accepted", None, Some(recorded)),
            Ok(None) => ("unchanged", None, None),
            Err(code) => ("rejected", Some(code.to_owned()), None),
        };
        let sequence = recorded.as_ref().map(|recorded| recorded.seq);
        let version = recorded.and_then(|recorded| recorded.event.fact.version()).map(|version| version.0);
        for _ in 0..=self.chance.index(2) {
            let (id, outcome, code, read) = (id.clone(), word.to_owned(), code.clone(), self.now + 20_000);
            self.entries.push(Entry::Outcome { read, id, outcome, code, sequence, version });
        }
    }

    fn operate(&mut self, at: usize) {
        if self.rings[at].state.keys.is_empty() {
            let spec = SpecAsked { expires_in: (at == 4).then_some(Span(9000)), ..SpecAsked::default() };
            let (minted, policy) = (self.minted(), self.rings[at].policy.clone());
            return self.command(at, "issue", None, Act::Issue { minted, spec, policy });
        }
        let ring = &self.rings[at];
        let newest = ring.state.newest().map_or(1, |(version, _)| version.0);
        let some = u32::try_from(self.chance.within(1, u64::from(newest) + 1)).unwrap();
        let policy = ring.policy.clone();
        match self.chance.within(0, 1000) {
            0..7 => {
                let minted = self.minted();
                let (spec, supersedes) = (SpecAsked::default(), Vec::new());
                self.command(at, "rotate", None, Act::Rotate { minted, spec, supersedes, policy });
            }
            7 => {
                let act = Act::Retire { version: Version(some), why: Retirement::Requested };
                self.command(at, "retire", Some(some), act);
            }
            8 if newest > 1 => {
                let (which, reason) = (Which::One(Version(some)), "leaked".to_owned());
                self.command(at, "revoke", Some(some), Act::Revoke { which, reason });
            }
            9..14 => {
                let recent = ring.past.len().saturating_sub(1 + self.chance.index(10));
                let (to_seq, target) = ring.past[recent].clone();
                let target = Box::new(target);
                self.command(
                    at,
                    "rollback",
                    None,
                    Act::Rollback { to_seq, target, revoke_new: false, policy },
                );
            }
            _ => {}
        }
    }

    fn minted(&mut self) -> Minted {
        let number = self.id();
        let mut digest = [0; 32];
        digest[..16].copy_from_slice(&number.to_be_bytes());
        let kid = Kid::of_number(u64::try_from(number).unwrap());
        Minted { kid, digest: Digest(digest), rotation: RotationId(number) }
    }

    /// The barrier, and the delivery after it.
    fn propagate(&mut self, at: usize) {
        let pending = self.rings[at].state.keys.iter().find(|(_, key)| key.state == KeyState::Issued);
        let Some(version) = pending.map(|(version, _)| *version) else { return };
        let issued = |(_, ring, recorded): &&(Micros, usize, Recorded)| {
            *ring == at
                && recorded.event.fact.issues().is_some()
                && recorded.event.fact.version() == Some(version)
        };
        let (stored, _, recorded) = self.log.iter().rev().find(issued).unwrap();
        let (waited, position) = (self.now - stored > LEASE + 100_000, recorded.seq);
        if !waited && self.edges.iter().any(|edge| edge.applied < position) {
            return;
        }
        let barrier = Barrier { position, edges: Vec::new(), passed_over: Vec::new(), by_hand: None };
        let command = self.id();
        if let Ok(Some(_)) = self.execute(at, command, Act::Activate { version, barrier }) {
            let ring = &mut self.rings[at];
            if let Some(old) = ring.has.last().filter(|_| self.chance.percent(50)) {
                ring.straggles = Some((*old, self.now + self.chance.within(500_000, 4_000_000)));
            }
            ring.has.push(version.0);
            let (keyring, kid) = (ring.name.clone(), ring.state.keys[&version].kid.to_string());
            self.entries.push(Entry::Delivered { at: self.now, keyring, version: version.0, kid });
        }
    }

    /// First uses, then quiet proofs, by what the edges' reports tell.
    fn track(&mut self, at: usize) {
        let ring = &self.rings[at];
        let first = ring.uses.iter().find(|(_, version)| {
            ring.state.keys.get(&Version(*version)).is_some_and(|key| key.seen.is_none())
        });
        if let Some((used, version)) = first.copied() {
            let used = Some(At(WALL + used / 1000));
            let seen = Use { first_use: used, last_use: used, uses: 1, quiet: None };
            let command = self.id();
            let _ = self.execute(at, command, Act::RecordUse { version: Version(version), seen });
        }
        for (version, quiet) in wants_quiet_proof(&self.rings[at].state, self.wall()) {
            let ring = &self.rings[at];
            let horizon = if is_strict(&ring.policy) { LEASE } else { STALE_MAX };
            let through = self.edges.iter().map(|edge| edge.covered.1).max().unwrap_or_default();
            let from = through.saturating_sub(quiet.0 * 1000);
            let covers = |edge: &Edge| {
                edge.covered.0 <= from && through <= edge.covered.1
                    || edge.fault.is_some() && edge.proof + horizon + 10_000 <= from
            };
            let used = ring.uses.iter().any(|(when, used)| *used == version.0 && *when > from);
            if used || from == 0 || !self.edges.iter().all(covers) {
                continue;
            }
            let wall = |micros: Micros| At(WALL + micros / 1000);
            let through = wall(through);
            let proof =
                QuietProof { from: through.before(quiet), complete_through: through, edges: Vec::new() };
            let seen = Use { first_use: None, last_use: None, uses: 0, quiet: Some(proof) };
            let command = self.id();
            let _ = self.execute(at, command, Act::RecordUse { version, seen });
        }
    }

    fn retire(&mut self, at: usize) {
        if let Some(act) = next(&self.rings[at].state, self.wall()) {
            let command = self.id();
            let _ = self.execute(at, command, act);
        }
    }

    fn receipts(&mut self) {
        let mut waiting = std::mem::take(&mut self.unreceipted);
        waiting.retain(|(at, version, position, stored)| {
            let behind = || self.edges.iter().filter(|edge| edge.applied < *position);
            if behind().next().is_some() && self.now - stored < 1_000_000 {
                return true;
            }
            let ring = &self.rings[*at];
            let horizon = if is_strict(&ring.policy) { LEASE } else { STALE_MAX };
            let open_until = behind().map(|edge| edge.proof + horizon).max();
            let (read, keyring, position) = (self.now, ring.name.clone(), *position);
            let versions = vec![version.0];
            self.entries.push(Entry::Receipt { read, keyring, versions, position, open_until });
            false
        });
        self.unreceipted.append(&mut waiting);
    }

    fn ask(&mut self, at: usize) {
        let ring = &self.rings[at];
        let Some(newest) = ring.has.last().copied() else { return };
        if self.chance.percent(40) {
            let answer = self.show(at, newest, Why::Newest);
            if let (Answer::Refused(_), [.., before, _]) = (answer, self.rings[at].has.as_slice()) {
                self.show(at, *before, Why::Fallback);
            }
        }
        if let Some((version, until)) = self.rings[at].straggles
            && self.now < until
            && self.chance.percent(30)
        {
            self.show(at, version, Why::Straggler);
        }
        let old = self.rings[at].has[self.chance.index(self.rings[at].has.len())];
        let has_ended = self.rings[at].state.keys[&Version(old)].state.word().starts_with("re");
        if has_ended && self.chance.percent(40) {
            self.show(at, old, Why::Probe);
        }
    }

    fn show(&mut self, at: usize, version: u32, why: Why) -> Answer {
        let edge = &self.edges[self.chance.index(self.edges.len())];
        let ring = &mut self.rings[at];
        let answer = edge.answer(at, version, &ring.policy, LEASE, (self.now, At(WALL + self.now / 1000)));
        if why != Why::Probe && matches!(answer, Answer::Accepted(_)) {
            ring.uses.push((self.now, version));
        }
        let (edge, keyring) = (edge.name.clone(), ring.name.clone());
        let (sent, answered) = (self.now, self.now + self.chance.within(300, 8_000));
        self.entries.push(Entry::Request {
            sent,
            answered,
            edge,
            keyring,
            version,
            why,
            answer: answer.clone(),
        });
        answer
    }

    fn close(mut self) -> Vec<Entry> {
        for edge in &self.edges {
            let (digest, position) = ("d".to_owned(), self.log.len() as u64);
            assert_eq!(edge.applied, position, "the world came to rest");
            let (edge, folded) = (edge.name.clone(), digest.clone());
            self.entries.push(Entry::Table { edge, position, digest, folded });
        }
        self.entries.push(Entry::Ended { at: self.now });
        self.entries
    }
}

/// An event as the log has it.
pub fn logged(keyring: &str, sequence: u64, stored: Micros, payload: &[u8]) -> Entry {
    let event = to_json(payload).unwrap();
    Entry::Logged { sequence, stored, keyring: keyring.to_owned(), event, payload: text::hex(payload) }
}

/// An event of this keyring by nobody in particular.
pub fn event_of(keyring: &str, id: u128, fact: Fact) -> Event {
    let address = subject::parse_place(&keyring.replace('/', ".")).unwrap();
    let (actor, at) = (Actor::service("nobody"), At(WALL));
    Event { id: EventId(id), address, at, actor, command: CommandId(id), rotation: None, fact }
}

fn is_strict(policy: &Policy) -> bool {
    policy.class == Class::Strict
}

fn ring(at: usize) -> Ring {
    let name = format!("t{}/c{at}", at % 2);
    let address = subject::parse_place(&name.replace('/', ".")).unwrap();
    let class = if at.is_multiple_of(2) { Class::Strict } else { Class::Available };
    let policy = Policy {
        overlap_min: Span(300),
        quiet: QUIET,
        class,
        stale_max: Span(STALE_MAX / 1000),
        ..Policy::default()
    };
    Ring {
        name,
        address,
        policy,
        state: State::default(),
        link: Link::default(),
        past: Vec::new(),
        has: Vec::new(),
        straggles: None,
        uses: Vec::new(),
    }
}
