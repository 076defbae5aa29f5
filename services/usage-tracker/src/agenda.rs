//! When to look at which keyring again. Recomputed from the states, so that a restart forgets nothing;
//! kept in order, so that a round costs what is due in it and not what exists.

use keywheel_domain::due::{PROOF_AGE_SLACK, Waiting, retirement};
use keywheel_domain::event::Evidence;
use keywheel_domain::{At, KeyringId, Span, State, Version};
use std::collections::{BTreeMap, BTreeSet};

/// The keyrings that wait for a quiet proof or have one.
#[derive(Debug, Default)]
pub struct Agenda {
    times: BTreeMap<KeyringId, At>,
    order: BTreeSet<(At, KeyringId)>,
    proved: BTreeSet<KeyringId>,
}

impl Agenda {
    /// Takes a keyring's new state.
    pub fn update(&mut self, keyring: &KeyringId, state: &State, now: At) {
        if state.keys.values().any(|key| key.quiet.is_some()) {
            self.proved.insert(keyring.clone());
        } else {
            self.proved.remove(keyring);
        }
        self.look(keyring, next_look(state, now));
    }

    /// Says when to look at a keyring next; never, until it changes, for none.
    pub fn look(&mut self, keyring: &KeyringId, at: Option<At>) {
        if let Some(before) = self.times.remove(keyring) {
            self.order.remove(&(before, keyring.clone()));
        }
        if let Some(at) = at {
            self.times.insert(keyring.clone(), at);
            self.order.insert((at, keyring.clone()));
        }
    }

    /// The keyrings to look at now, those that waited longest first.
    pub fn due(&self, now: At, max: usize) -> Vec<KeyringId> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        due.take(max).map(|(_, keyring)| keyring.clone()).collect()
    }

    /// Whether a version of this keyring has a proof that a use would void.
    pub fn is_proved(&self, keyring: &KeyringId) -> bool {
        self.proved.contains(keyring)
    }

    /// All such keyrings.
    pub fn proved(&self) -> impl Iterator<Item = &KeyringId> {
        self.proved.iter()
    }
}

/// When a proof may be wanted, if the keyring does not change before.
pub fn next_look(state: &State, now: At) -> Option<At> {
    state.keys.keys().filter_map(|version| look_at(state, *version, now)).min()
}

fn look_at(state: &State, version: Version, now: At) -> Option<At> {
    match retirement(state, version, now) {
        Err(Waiting::OverlapMin { until }) => Some(until),
        Err(Waiting::Quiet { .. }) => Some(now),
        Err(Waiting::NotRetiring | Waiting::Successor) => None,
        // Should nobody retire it, the proof becomes too old to count.
        Ok(Evidence::Quiet { from, through, .. }) => {
            Some(through.after(through.since(from)).after(PROOF_AGE_SLACK).after(Span(1)))
        }
        Ok(Evidence::Deadline { .. } | Evidence::Expired { .. }) => None,
    }
}
