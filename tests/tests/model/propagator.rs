//! A propagator: the real desk, fed from the log and the pulses, and its effects carried out as
//! `keywheel_propagator::carry` does it.

use crate::gate::{Service, Task};
use crate::promises::Receipt;
use crate::world::{Happening, LEASE, Who, World};
use keywheel_domain::command::Retirement;
use keywheel_domain::event::{Barrier, CommandId};
use keywheel_domain::{Act, Address, At, EdgeId, Event, Fact, KeyringId, Version};
use keywheel_propagator::desk::{Desk, Effect, kids, refuses_by};
use keywheel_token::id::derived;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject;
use std::collections::BTreeSet;

const STEP_EVERY: u64 = 300;
/// As the shell has it: stored pulses are read back of edges that were not heard for a fifth of a lease.
const UNHEARD: u64 = LEASE.0 / 5;

pub struct Propagator {
    pub service: Service,
    pub desk: Desk,
    /// Positions of events that left work; kept with the fold.
    pub open: BTreeSet<u64>,
    /// Whether pulses are heard as they are published.
    pub hears: bool,
    /// Whether stored pulses can be read, and how much longer the answer takes.
    pub reads: bool,
    pub read_lag: u64,
    /// The edge with whose pulses there is this trouble; none for all.
    pub only_of: Option<EdgeId>,
    /// Whether the work that was left by the process before is on the desk.
    has_taken_up: bool,
}

impl Propagator {
    pub fn new(service: Service) -> Self {
        let desk = Desk::new(LEASE);
        Self {
            service,
            desk,
            open: BTreeSet::new(),
            hears: true,
            reads: true,
            read_lag: 0,
            only_of: None,
            has_taken_up: true,
        }
    }

    fn is_troubled_by(&self, edge: &EdgeId) -> bool {
        self.only_of.as_ref().is_none_or(|only| only == edge)
    }
}

impl World {
    /// A new process: an empty picture, the roster as the fold has it, and the work that was left.
    pub fn begin_desk(&mut self, n: usize) {
        let now = self.now;
        let roster = self.known(Who::Propagator(n), &Address::Installation).edges.clone();
        let propagator = &mut self.propagators[n];
        propagator.desk = Desk::new(LEASE);
        propagator.desk.set_roster(roster, propagator.service.boot_ms(now));
        propagator.has_taken_up = false;
    }

    /// What was applied comes onto the desk.
    pub fn take_from_log(&mut self, n: usize, from: u64, to: u64) {
        let now = self.now;
        let events = self.log.between(from, to);
        let roster = self.log.state(&Address::Installation, to).edges.clone();
        let propagator = &mut self.propagators[n];
        let boot_ms = propagator.service.boot_ms(now);
        if events.iter().any(|recorded| recorded.event.address == Address::Installation) {
            propagator.desk.set_roster(roster, boot_ms);
        }
        for recorded in &events {
            if leaves_work(&recorded.event) {
                propagator.open.insert(recorded.seq);
            }
            propagator.desk.take(recorded, boot_ms);
        }
    }

    pub fn let_hear(&mut self, propagator: usize, pulse: &Pulse) {
        if !self.is_lost() {
            let (delay, life) = (self.delay(), self.propagators[propagator].service.life);
            self.after(delay, Happening::Hear { propagator, life, pulse: pulse.clone() });
        }
    }

    pub fn hear(&mut self, n: usize, life: u32, pulse: &Pulse) {
        let now = self.now;
        let propagator = &mut self.propagators[n];
        let edge = EdgeId::parse(&pulse.id).unwrap();
        let hears = propagator.hears || !propagator.is_troubled_by(&edge);
        if propagator.service.life == life && !propagator.service.is_cut && hears {
            propagator.desk.hear(&edge, pulse, propagator.service.boot_ms(now));
        }
    }

    /// Asks for the stored pulses of edges that were not heard. They are read at some moment after the
    /// asking began, and the answer comes later still.
    pub fn read_back(&mut self, n: usize) -> u64 {
        let propagator = &self.propagators[n];
        let (began, life) = (propagator.service.boot_ms(self.now), propagator.service.life);
        if !propagator.service.is_cut {
            for unheard in propagator.desk.fleet().unheard(UNHEARD, began) {
                let is_troubled = self.propagators[n].is_troubled_by(&unheard);
                if is_troubled && !self.propagators[n].reads {
                    continue;
                }
                let lag = if is_troubled { self.propagators[n].read_lag } else { 0 };
                let Some(edge) = self.edges.iter().position(|edge| edge.id == unheard) else { continue };
                let pulse = self.bus.pulses.get(&unheard).map(|(pulse, _)| pulse.clone());
                if !self.is_lost() {
                    let delay = self.delay() + lag;
                    self.after(delay, Happening::Stored { propagator: n, life, edge, pulse, began });
                }
            }
        }
        UNHEARD / 2
    }

    pub fn find_stored(&mut self, n: usize, life: u32, edge: usize, pulse: Option<&Pulse>, began: u64) {
        let now = self.now;
        let id = self.edges[edge].id.clone();
        let propagator = &mut self.propagators[n];
        if propagator.service.life == life && !propagator.service.is_cut {
            let now = propagator.service.boot_ms(now);
            propagator.desk.find_stored(&id, pulse, began, now);
        }
    }

    /// Looks through the desk.
    pub fn step(&mut self, n: usize) -> u64 {
        let now = self.now;
        let propagator = &mut self.propagators[n];
        let boot_ms = propagator.service.boot_ms(now);
        if !propagator.has_taken_up && !propagator.service.is_cut {
            for seq in &propagator.open {
                propagator.desk.take(self.log.at(*seq), boot_ms);
            }
            propagator.has_taken_up = true;
        }
        if propagator.has_taken_up {
            let life = propagator.service.life;
            for effect in propagator.desk.step(boot_ms) {
                let pause = self.delay();
                self.after(pause, Happening::Carry { propagator: n, life, effect });
            }
        }
        STEP_EVERY
    }

    /// Work is done for good, or is to be given out again.
    pub fn settle(&mut self, n: usize, seq: u64, is_done: bool) {
        let propagator = &mut self.propagators[n];
        if is_done {
            propagator.open.remove(&seq);
            propagator.desk.done(seq);
        } else {
            propagator.desk.again(seq);
        }
    }

    pub fn carry(&mut self, n: usize, life: u32, effect: Effect) {
        let service = &self.propagators[n].service;
        if service.life != life {
            return;
        }
        let is_away = service.is_cut || self.is_lost();
        match effect {
            Effect::Activate { seq, .. } | Effect::Deliver { seq, .. } | Effect::Receipt { seq, .. }
                if is_away =>
            {
                self.settle(n, seq, false);
            }
            Effect::Activate { seq, keyring, version, barrier } => {
                self.activate(n, seq, keyring, version, barrier);
            }
            Effect::Deliver { seq, keyring, version } => {
                self.deliver(n, &keyring, version);
                self.settle(n, seq, true);
            }
            Effect::Receipt { seq, event, applied_on, unreached } => {
                self.write_receipt(n, seq, &event, applied_on, &unreached);
                self.settle(n, seq, true);
            }
            Effect::Withdraw { keyring, versions } => {
                let state = self.known(Who::Propagator(n), &Address::Keyring(keyring));
                for kid in kids(&state, &versions) {
                    self.bus.staged.remove(&kid);
                }
            }
            Effect::Settle { seq } => self.settle(n, seq, true),
        }
    }

    fn activate(&mut self, n: usize, seq: u64, keyring: KeyringId, version: Version, barrier: Barrier) {
        let who = Who::Propagator(n);
        let address = Address::Keyring(keyring);
        let state = self.known(who, &address);
        let Some(key) = state.keys.get(&version) else { return self.settle(n, seq, true) };
        let (word, act) = if self.bus.staged.contains(&key.kid) {
            ("activate", Act::Activate { version, barrier })
        } else {
            ("cancel", Act::Retire { version, why: Retirement::Cancelled("not staged".to_owned()) })
        };
        let parts = [word, &subject::event(&address), &version.0.to_string()];
        let id = CommandId(derived(&parts));
        let life = self.life(who);
        self.decide(Task { who, life, address, id, act, settles: Some(seq) });
    }

    fn deliver(&mut self, n: usize, keyring: &KeyringId, version: Version) {
        let state = self.known(Who::Propagator(n), &Address::Keyring(keyring.clone()));
        let Some(key) = state.keys.get(&version) else { return };
        if self.bus.staged.remove(&key.kid) {
            self.bus.delivered.insert((keyring.clone(), version), self.now);
            self.tell(|| format!("{keyring} {version} is delivered"));
            self.delivered(keyring, version);
        }
    }

    fn write_receipt(
        &mut self,
        n: usize,
        seq: u64,
        event: &Event,
        applied_on: Vec<EdgeId>,
        unreached: &[(EdgeId, u64)],
    ) {
        let who = Who::Propagator(n);
        let Address::Keyring(keyring) = &event.address else { return };
        let Some(tenant) = event.address.tenant().cloned() else { return };
        let (state, tenant) = (self.known(who, &event.address), self.known(who, &Address::Tenant(tenant)));
        let wall = self.propagators[n].service.wall(self.now);
        let named = unreached.iter().map(|(edge, watermark)| {
            let contact: At = self.bus.pulses.get(edge).map_or(wall, |(_, at)| *at);
            (edge.clone(), refuses_by(contact, state.horizon_since(&tenant, *watermark, LEASE)))
        });
        let unreached = named.collect();
        let final_at = refuses_by(event.at, state.horizon_since(&tenant, 0, LEASE));
        let receipt = Receipt { seq, keyring: keyring.clone(), applied_on, unreached, final_at };
        self.tell(|| format!("{receipt:?}"));
        self.received(receipt);
    }
}

/// Events that leave work which must survive a restart.
fn leaves_work(event: &Event) -> bool {
    match &event.fact {
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeyRetired(_)
        | Fact::RolledBack(_)
        | Fact::EdgeRemoved(_) => true,
        Fact::KeySeen(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => false,
    }
}
