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

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::event::RotationId;
    use keywheel_domain::key::{Digest, Kid, Origin, Overlap, Quiet, Replaces, Seen};
    use keywheel_domain::{Key, KeySpec, KeyState, Policy};

    const HOUR: Span = Span::hours(1);

    fn ring(name: &str) -> KeyringId {
        KeyringId::parse(&format!("acme/{name}")).unwrap()
    }

    fn key(n: u8, state: KeyState) -> Key {
        Key {
            kid: Kid::parse(&format!("kid000000{n}")).unwrap(),
            digest: Digest([n; 32]),
            spec: KeySpec::default(),
            origin: Origin::Minted,
            issued_at: At(0),
            rotation: RotationId(u128::from(n)),
            replaces: (n > 1).then(|| Replaces { only: vec![], policy: Policy::default() }),
            state,
            was_activated: true,
            seen: None,
            quiet: None,
        }
    }

    /// v1 is in its overlap until `not_before` at least, v2 took its place.
    fn rotated(not_before: At) -> State {
        let overlap = Overlap {
            since: At(0),
            not_before,
            deadline: At(u64::MAX),
            retire_at_deadline: false,
            quiet: HOUR,
        };
        let keys =
            [(Version(1), key(1, KeyState::Retiring(overlap))), (Version(2), key(2, KeyState::Active))];
        State { keys: keys.into_iter().collect(), ..State::default() }
    }

    fn in_use(mut state: State) -> State {
        let seen = Seen { first: At(1), last: At(1), uses: 1 };
        state.keys.get_mut(&Version(2)).unwrap().seen = Some(seen);
        state
    }

    fn proved(mut state: State, through: At) -> State {
        state.keys.get_mut(&Version(1)).unwrap().quiet = Some(Quiet { from: through.before(HOUR), through });
        state
    }

    #[test]
    fn a_proof_is_looked_for_when_it_is_wanted() {
        let now = At(HOUR.0 * 10);
        assert_eq!(next_look(&State::default(), now), None);
        assert_eq!(next_look(&in_use(rotated(now.after(HOUR))), now), Some(now.after(HOUR)));
        assert_eq!(next_look(&rotated(now), now), None, "until the successor is seen");
        assert_eq!(next_look(&in_use(rotated(now)), now), Some(now));
        let again = next_look(&proved(in_use(rotated(now)), now), now).unwrap();
        assert_eq!(again, now.after(HOUR).after(PROOF_AGE_SLACK).after(Span(1)));
        assert_eq!(next_look(&proved(in_use(rotated(now)), now), again), Some(again));
    }

    #[test]
    fn what_waited_longest_comes_first_and_each_comes_once() {
        let mut agenda = Agenda::default();
        for (name, at) in [("a", 30), ("b", 10), ("c", 20), ("a", 15)] {
            agenda.look(&ring(name), Some(At(at)));
        }
        assert_eq!(agenda.due(At(20), 9), ["b", "a", "c"].map(ring));
        assert_eq!(agenda.due(At(20), 2), ["b", "a"].map(ring));
        assert!(agenda.due(At(9), 9).is_empty());
        agenda.look(&ring("b"), None);
        assert_eq!(agenda.due(At(99), 9), ["a", "c"].map(ring));
    }

    #[test]
    fn keyrings_with_a_proof_are_known() {
        let (mut agenda, now) = (Agenda::default(), At(HOUR.0 * 10));
        agenda.update(&ring("a"), &proved(in_use(rotated(now)), now), now);
        agenda.update(&ring("b"), &in_use(rotated(now)), now);
        assert_eq!(agenda.proved().collect::<Vec<_>>(), [&ring("a")]);
        assert_eq!(agenda.due(now, 9), [ring("b")]);
        agenda.update(&ring("a"), &in_use(rotated(now)), now);
        assert!(!agenda.is_proved(&ring("a")));
        assert_eq!(agenda.due(now, 9).len(), 2);
    }
}
