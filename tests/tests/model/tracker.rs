//! The usage-tracker: the real ledger, coverage, proofs and removals, in the order of its own rounds.
//! Between the readings of a round anything may happen.

use crate::gate::{Service, Task};
use crate::world::{Happening, LEASE, Who, World};
use keywheel_domain::event::{CommandId, Use};
use keywheel_domain::key::Seen;
use keywheel_domain::{Act, Address, At, EdgeId, Fact, KeyringId, Version, wants_quiet_proof};
use keywheel_token::id::derived;
use keywheel_usage_tracker::ledger::{Arrived, Ledger, Snapshot, summed};
use keywheel_usage_tracker::quiet::{Asked, Silence, Witness, prove};
use keywheel_usage_tracker::removals::Removals;
use keywheel_wire::{subject, text};
use std::path::Path;

const ROUND_EVERY: u64 = 1500;
/// A report that was not acknowledged comes again after this.
const AGAIN: u64 = 4000;

pub struct Tracker {
    pub service: Service,
    pub ledger: Ledger,
    removals: Removals,
    /// Up to where removals were looked for; they are found again after a restart.
    looked_up_to: u64,
    is_looking: bool,
}

/// One reading of the ledger, on its way to becoming proofs.
pub struct Look {
    snapshot: Snapshot,
    /// By the tracker's clock, read with the snapshot.
    now: At,
    /// The head of the log up to which the fold is, once that was caught up.
    caught_up: bool,
}

impl Tracker {
    pub fn new(service: Service) -> Self {
        let ledger = Ledger::open(Path::new(":memory:")).expect("a database in memory");
        let removals = Removals::new(LEASE);
        Self { service, ledger, removals, looked_up_to: 0, is_looking: false }
    }
}

impl World {
    /// The process ends; the ledger and the fold stay.
    pub fn restart_tracker(&mut self) {
        self.tracker.removals = Removals::new(LEASE);
        self.tracker.looked_up_to = 0;
        self.tracker.is_looking = false;
        self.restart(Who::Tracker);
    }

    /// Takes reports, commits them, acknowledges them, says what they show.
    pub fn round(&mut self) -> u64 {
        if self.tracker.service.is_cut || self.tracker.is_looking {
            return ROUND_EVERY;
        }
        self.take_reports();
        for keyring in self.keyrings() {
            self.record(&keyring);
        }
        let keyrings = self.keyrings();
        let snapshot = self.tracker.ledger.snapshot(&keyrings).unwrap();
        let look = Look { snapshot, now: self.tracker.service.wall(self.now), caught_up: false };
        self.tracker.is_looking = true;
        let (pause, life) = (self.delay(), self.tracker.service.life);
        self.after(pause, Happening::Look(life, look));
        ROUND_EVERY
    }

    pub fn keyrings(&self) -> Vec<KeyringId> {
        self.log.addresses().filter_map(|address| address.keyring().cloned()).collect()
    }

    fn take_reports(&mut self) {
        let now = self.now;
        let mut queue = std::mem::take(&mut self.bus.usage);
        queue.sort_by_key(|queued| (queued.next_at, queued.stored_at));
        let ready = queue.iter().filter(|queued| queued.next_at <= now).count();
        let taken = if self.faults.strikes { self.rng.index(ready + 1) } else { ready };
        let arrived: Vec<Arrived<'_>> = queue[..taken]
            .iter()
            .map(|queued| Arrived {
                edge: &queued.edge,
                report: Some(&queued.report),
                stored_at: queued.stored_at,
            })
            .collect();
        self.tracker.ledger.take(&arrived).unwrap();
        for (index, mut queued) in queue.into_iter().enumerate() {
            if index < taken && !self.is_lost() {
                continue;
            }
            if index < taken {
                queued.next_at = now + AGAIN;
            }
            self.bus.usage.push(queued);
        }
    }

    /// First uses, and uses that void a proof, before anything else is said.
    fn record(&mut self, keyring: &KeyringId) {
        let address = Address::Keyring(keyring.clone());
        let uses = summed(&self.tracker.ledger.uses(keyring).unwrap());
        self.catch_up(Who::Tracker);
        let state = self.known(Who::Tracker, &address);
        for (version, seen) in uses {
            let Some(key) = state.keys.get(&version) else { continue };
            let voids = key.quiet.is_some_and(|quiet| seen.last > quiet.from);
            if key.seen.is_none() || voids {
                let what =
                    if voids { format!("void {}", text::moment(seen.last)) } else { "first".to_owned() };
                self.say(&address, version, &what, as_use(Some(seen)));
            }
        }
    }

    fn say(&mut self, address: &Address, version: Version, what: &str, seen: Use) {
        let parts = ["seen", &subject::event(address), &version.to_string(), what];
        let (id, who) = (CommandId(derived(&parts)), Who::Tracker);
        let act = Act::RecordUse { version, seen };
        let task = Task { who, life: self.life(who), address: address.clone(), id, act, settles: None };
        self.decide(task);
    }

    /// First the log up to its head, then the pulses.
    pub fn look(&mut self, life: u32, look: Look) {
        if self.tracker.service.life != life {
            return;
        }
        if self.tracker.service.is_cut || self.is_lost() {
            self.tracker.is_looking = false;
            return;
        }
        if look.caught_up {
            self.tracker.is_looking = false;
            return self.prove_quiet(&look);
        }
        self.catch_up(Who::Tracker);
        let pause = self.delay();
        self.after(pause, Happening::Look(life, Look { caught_up: true, ..look }));
    }

    fn prove_quiet(&mut self, look: &Look) {
        self.notice_removals();
        for keyring in self.keyrings() {
            let address = Address::Keyring(keyring.clone());
            let state = self.known(Who::Tracker, &address);
            let edges = self.witnesses(&keyring, look);
            for (version, quiet) in wants_quiet_proof(&state, look.now) {
                let used = look.snapshot.uses.get(&keyring).and_then(|uses| uses.get(&version)).copied();
                let logged = state.keys.get(&version).and_then(|key| key.seen);
                let last_use = used.map(|seen| seen.last).max(logged.map(|seen| seen.last));
                let asked = Asked { quiet, last_use, now: look.now, edges: &edges };
                if let Ok(proof) = prove(&asked) {
                    let what = format!("quiet {}", text::moment(proof.complete_through));
                    self.say(&address, version, &what, Use { quiet: Some(proof), ..as_use(used) });
                    break;
                }
            }
        }
    }

    /// Every edge of the roster with its coverage, as it was read, and its last contact, read after it.
    fn witnesses(&self, keyring: &KeyringId, look: &Look) -> Vec<Witness> {
        let who = Who::Tracker;
        let state = self.known(who, &Address::Keyring(keyring.clone()));
        let tenant = self.known(who, &Address::Tenant(keyring.tenant.clone()));
        let roster = self.known(who, &Address::Installation);
        let silence = |edge: &EdgeId| {
            let (at, watermark) = match self.bus.pulses.get(edge) {
                Some((pulse, at)) => (*at, pulse.watermark),
                None => (self.bus.pulses_kept_since, 0),
            };
            let reported = look.snapshot.coverage.get(edge).map(|coverage| coverage.newest);
            let horizon = state.horizon_since(&tenant, watermark, LEASE);
            Silence { contact: at.max(reported.unwrap_or_default()), horizon }
        };
        let on_roster = |edge: &EdgeId| Witness {
            edge: edge.clone(),
            covered: look.snapshot.coverage.get(edge).and_then(|coverage| coverage.stretch()),
            silence: None,
        };
        let is_on_roster = |edge: &EdgeId| roster.edges.contains_key(edge);
        let removed = self.tracker.removals.witnesses(is_on_roster, &look.snapshot.coverage);
        let mut edges: Vec<Witness> = roster.edges.keys().map(on_roster).chain(removed).collect();
        for witness in &mut edges {
            let known = witness.silence.into_iter().chain([silence(&witness.edge)]);
            witness.silence = known.min_by_key(Silence::ends);
        }
        edges
    }

    fn notice_removals(&mut self) {
        let to = self.tracker.service.watermark;
        for recorded in self.log.between(self.tracker.looked_up_to, to) {
            if let Fact::EdgeRemoved(edge) = recorded.event.fact {
                let stored_at = self.log.stored_at(recorded.seq);
                self.tracker.removals.notice(recorded.seq, edge, stored_at);
            }
        }
        self.tracker.looked_up_to = to;
    }
}

/// What the ledger counted, as the log is told it.
fn as_use(seen: Option<Seen>) -> Use {
    Use {
        first_use: seen.map(|seen| seen.first),
        last_use: seen.map(|seen| seen.last),
        uses: seen.map_or(0, |seen| seen.uses),
        quiet: None,
    }
}
