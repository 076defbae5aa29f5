//! The promises of SAFETY, held against everything that happens.

use crate::world::{LEASE, World};
use keywheel_domain::event::{CommandId, Evidence, Fact};
use keywheel_domain::key::Cause;
use keywheel_domain::{Address, At, EdgeId, Key, KeyState, KeyringId, Recorded, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How often every edge is asked about every key.
const PROBE_EVERY: u64 = 400;

/// A receipt as it was published.
#[derive(Clone, Debug)]
pub struct Receipt {
    pub seq: u64,
    pub keyring: KeyringId,
    pub applied_on: Vec<EdgeId>,
    pub unreached: BTreeMap<EdgeId, At>,
    pub final_at: At,
}

/// An accepted use, in true time.
#[derive(Clone, Debug)]
struct TrueUse {
    at: u64,
    edge: EdgeId,
    /// Not where an old disk was put back, nor where the edge was removed more than a lease before: that
    /// it serves nobody is then its operator's word.
    counts: bool,
}

pub type Named = (KeyringId, Version);

#[derive(Default)]
pub struct Promises {
    /// What was broken first.
    pub broken: Option<String>,
    /// Versions to which no edge may say a definite no.
    pub promised: BTreeSet<Named>,
    pub receipts: Vec<Receipt>,
    /// The position at which each version ended, if it is over.
    pub ended: BTreeMap<Named, u64>,
    uses: BTreeMap<Named, Vec<TrueUse>>,
    commands: BTreeSet<CommandId>,
    removed: BTreeMap<EdgeId, u64>,
    next_probe: u64,
}

impl World {
    pub fn breaks(&mut self, what: impl Into<String>) {
        if self.promises.broken.is_none() {
            let what = what.into();
            self.tell(|| format!("BROKEN: {what}"));
            self.promises.broken = Some(what);
        }
    }

    /// Asks every edge about every key that was ever handed out, now and then.
    pub fn check(&mut self) {
        if self.now < self.promises.next_probe || self.promises.broken.is_some() {
            return;
        }
        self.promises.next_probe = self.now + PROBE_EVERY;
        self.probe();
    }

    pub fn probe(&mut self) {
        let delivered: Vec<Named> = self.bus.delivered.keys().cloned().collect();
        for edge in 0..self.edges.len() {
            for (keyring, version) in &delivered {
                self.ask(edge, keyring, *version, true);
            }
        }
    }

    pub fn delivered(&mut self, keyring: &KeyringId, version: Version) {
        self.count("deliveries");
        let address = Address::Keyring(keyring.clone());
        let is_live = |key: &Key| key.state.is_live();
        // One that ended before its delivery is of no use to anybody.
        if self.log.now(&address).keys.get(&version).is_some_and(is_live) {
            self.promises.promised.insert((keyring.clone(), version));
            self.hand_out(keyring, version);
        }
        self.probe();
    }

    pub fn used(&mut self, edge: usize, keyring: &KeyringId, version: Version) {
        self.count("uses");
        let Self { now, edges, promises, .. } = self;
        let edge = &edges[edge];
        let removed = promises.removed.get(&edge.id);
        let counts = !edge.is_rolled_back && removed.is_none_or(|at| *now < at + LEASE.0);
        let used = TrueUse { at: *now, edge: edge.id.clone(), counts };
        promises.uses.entry((keyring.clone(), version)).or_default().push(used);
    }

    /// How often a version was truly used.
    pub fn true_uses(&self, keyring: &KeyringId, version: Version) -> u64 {
        self.promises.uses.get(&(keyring.clone(), version)).map_or(0, |uses| uses.len() as u64)
    }

    pub fn received(&mut self, receipt: Receipt) {
        self.count("receipts");
        let now = self.log.now(&Address::Installation);
        let then = self.log.state(&Address::Installation, receipt.seq);
        for edge in then.edges.keys().filter(|edge| now.edges.contains_key(*edge)) {
            if !receipt.applied_on.contains(edge) && !receipt.unreached.contains_key(edge) {
                self.breaks(format!("the receipt of {} does not speak of {edge}", receipt.seq));
            }
        }
        if let Fact::RolledBack(restored) = &self.log.at(receipt.seq).event.fact {
            let is_live = |version: &Version| {
                let state = self.log.now(&Address::Keyring(receipt.keyring.clone()));
                state.keys.get(version).is_some_and(|key| key.state.is_live())
            };
            let live: Vec<Version> = restored.restored.iter().filter(|v| is_live(v)).copied().collect();
            self.promises.promised.extend(live.into_iter().map(|version| (receipt.keyring.clone(), version)));
        }
        self.promises.receipts.push(receipt);
        self.probe();
    }

    /// An event was appended.
    pub fn check_appended(&mut self, seq: u64) {
        let recorded = self.log.at(seq).clone();
        self.count(counted(&recorded.event.fact));
        if !self.promises.commands.insert(recorded.event.command) {
            self.breaks(format!("{:?} had a second effect at {seq}", recorded.event.command));
        }
        match (&recorded.event.fact, &recorded.event.address) {
            (Fact::EdgeRemoved(edge), _) => {
                self.promises.removed.insert(edge.clone(), self.now);
            }
            (Fact::EdgeAdded(edge), _) => {
                self.promises.removed.remove(edge);
            }
            (_, Address::Keyring(keyring)) => self.check_keyring(&recorded, &keyring.clone()),
            (
                Fact::KeyIssued(_)
                | Fact::KeyActivated(_)
                | Fact::KeySeen(_)
                | Fact::KeyRetired(_)
                | Fact::RolledBack(_)
                | Fact::PolicySet(_)
                | Fact::SignerAdded(_)
                | Fact::SignerWithdrawn(_),
                _,
            ) => {}
        }
    }

    fn check_keyring(&mut self, recorded: &Recorded, keyring: &KeyringId) {
        let before = self.log.state(&recorded.event.address, recorded.seq - 1);
        let after = self.log.state(&recorded.event.address, recorded.seq);
        for (version, key) in &before.keys {
            let then = &after.keys[version].state;
            let named = (keyring.clone(), *version);
            if matches!(key.state, KeyState::Revoked { .. }) && !matches!(then, KeyState::Revoked { .. }) {
                self.breaks(format!("{keyring} {version} was revoked and is {then:?}"));
            }
            if !then.is_accepted() && key.state != *then {
                self.promises.promised.remove(&named);
                self.promises.ended.insert(named, recorded.seq);
            } else if then.is_accepted() {
                self.promises.ended.remove(&named);
            }
        }
        if let Fact::KeyRetired(ended) = &recorded.event.fact {
            if let Some(Evidence::Quiet { from, through, .. }) = ended.evidence {
                self.count("quiet retirements");
                self.check_quiet(keyring, ended.version, from, through);
            }
            let is_live = |key: &Key| key.is_usable(recorded.event.at);
            if ended.cause == Cause::Requested && !after.keys.values().any(is_live) {
                self.breaks(format!("{keyring} was left without a key by retiring {}", ended.version));
            }
        }
        self.check_continuity(recorded, keyring, &after);
    }

    /// Quiet: no edge that counts accepted it in (from, through].
    fn check_quiet(&mut self, keyring: &KeyringId, version: Version, from: At, through: At) {
        let Some(uses) = self.promises.uses.get(&(keyring.clone(), version)) else { return };
        let inside = |used: &&TrueUse| from.0 < used.at && used.at <= through.0;
        if let Some(used) = uses.iter().filter(|used| used.counts).find(inside) {
            let TrueUse { at, edge, .. } = used;
            let text = format!("{keyring} {version} is not quiet in {from:?}..{through:?}: {edge} at {at}");
            self.breaks(text);
        }
    }

    /// Continuity: whoever holds a key that it was delivered, the newest or one before it, holds an
    /// accepted one, unless a person or a clock ended it.
    fn check_continuity(
        &mut self,
        recorded: &Recorded,
        keyring: &KeyringId,
        state: &Arc<keywheel_domain::State>,
    ) {
        let is_excused = match &recorded.event.fact {
            Fact::KeyRetired(ended) => match (ended.cause, ended.evidence) {
                (Cause::Superseded, Some(Evidence::Deadline { .. })) => true,
                (Cause::Superseded | Cause::Cancelled | Cause::RolledBack, _) => false,
                (Cause::Requested | Cause::Revoked | Cause::Expired, _) => true,
            },
            Fact::RolledBack(restored) => {
                restored.withdrawn.iter().any(|(_, to)| matches!(to, KeyState::Revoked { .. }))
            }
            Fact::KeyIssued(_)
            | Fact::KeyActivated(_)
            | Fact::KeySeen(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => false,
        };
        for n in 0..self.clients.len() {
            let client = &self.clients[n];
            if client.keyring != *keyring {
                continue;
            }
            let is_over = |version: &Version| !state.keys[version].state.is_accepted();
            let newest = client.delivered.iter().max().copied();
            if let Some(lost) = [client.held, newest].into_iter().flatten().find(is_over) {
                if !is_excused {
                    self.breaks(format!("client {n} of {keyring} is left with {lost}"));
                }
                // Whoever ended its key by hand gives it a new one; it does not fall back on older ones.
                self.clients[n].delivered.clear();
                self.clients[n].held = None;
            }
        }
    }
}

fn counted(fact: &Fact) -> &'static str {
    match fact {
        Fact::KeyIssued(_) => "KeyIssued",
        Fact::KeyActivated(_) => "KeyActivated",
        Fact::KeySeen(_) => "KeySeen",
        Fact::KeyRetired(_) => "KeyRetired",
        Fact::RolledBack(_) => "RolledBack",
        Fact::PolicySet(_) => "PolicySet",
        Fact::EdgeAdded(_) => "EdgeAdded",
        Fact::EdgeRemoved(_) => "EdgeRemoved",
        Fact::SignerAdded(_) => "SignerAdded",
        Fact::SignerWithdrawn(_) => "SignerWithdrawn",
    }
}
