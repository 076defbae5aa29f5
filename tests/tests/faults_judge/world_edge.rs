//! An edge of the small fleet: it applies the log with a lag, can be cut off or killed, and answers by the domain's
//! own verdict.

use keywheel_domain::verdict::{Found, Freshness, Needs, Verdict, judge};
use keywheel_domain::{At, Policy, Recorded, Span, State, Version, evolve};
use keywheel_tests::faults::ledger::{Answer, Micros};
use std::collections::BTreeMap;

/// What is done to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It hears nothing of the bus.
    Cut,
    /// It does not run, and forgets what it counted.
    Kill,
}

/// An edge.
pub struct Edge {
    pub name: String,
    pub lag: Micros,
    pub applied: u64,
    /// The moment of its last proof of freshness.
    pub proof: Micros,
    pub fault: Option<(Fault, u32, Micros)>,
    /// The time of which its reports tell every use.
    pub covered: (Micros, Micros),
    tables: BTreeMap<usize, State>,
}

impl Edge {
    pub fn new(name: String, lag: Micros) -> Edge {
        Edge { name, lag, applied: 0, proof: 0, fault: None, covered: (0, 0), tables: BTreeMap::new() }
    }

    /// One more event, of the keyring at this place.
    pub fn apply(&mut self, ring: usize, recorded: &Recorded) {
        let state = self.tables.remove(&ring).unwrap_or_default();
        self.tables.insert(ring, evolve(state, recorded));
        self.applied = recorded.seq;
    }

    pub fn answer(
        &self,
        ring: usize,
        version: u32,
        policy: &Policy,
        lease: Micros,
        now: (Micros, At),
    ) -> Answer {
        if matches!(self.fault, Some((Fault::Kill, ..))) {
            return Answer::None;
        }
        let age = now.0 - self.proof;
        let freshness =
            if age <= lease { Freshness::Fresh } else { Freshness::Stale { age: Span(age / 1000) } };
        let key = self.tables.get(&ring).and_then(|state| state.keys.get(&Version(version)));
        let found = key.map_or(Found::Nothing, |key| Found::Key {
            state: &key.state,
            scopes: &[],
            expires_at: key.spec.expires_at,
            class: policy.class,
            stale_max: policy.stale_max,
        });
        match judge(&found, &Needs { scopes: &[], address_allowed: true }, freshness, now.1) {
            Verdict::Valid => Answer::Accepted(version),
            Verdict::Refused(refusal) if refusal.is_definite() => Answer::Refused(refusal.code().to_owned()),
            Verdict::Refused(refusal) => Answer::Unavailable(refusal.code().to_owned()),
        }
    }
}
