//! A state in a row is read as it was written, whatever state it is.

use crate::anything::{edge, key_state, kid, patch};
use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Origin, Quiet, Replaces, Seen};
use keywheel_domain::{At, Digest, Key, KeySpec, Policy, Span, State, Version};
use keywheel_table::stored;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{BoxedStrategy, Strategy, any, prop_assert_eq, proptest};

fn at() -> impl Strategy<Value = At> {
    any::<u64>().prop_map(At)
}

fn spec() -> BoxedStrategy<KeySpec> {
    let texts = || vec(any::<String>(), 0..3);
    let meta = btree_map(any::<String>(), any::<String>(), 0..3);
    (texts(), texts(), option::of(at()), meta)
        .prop_map(|(scopes, cidrs, expires_at, meta)| KeySpec { scopes, cidrs, expires_at, meta })
        .boxed()
}

fn replaces() -> BoxedStrategy<Replaces> {
    let policy = patch().prop_map(|patch| Policy::default().overlaid(&patch));
    (vec(any::<u32>().prop_map(Version), 0..4), policy)
        .prop_map(|(only, policy)| Replaces { only, policy })
        .boxed()
}

fn key() -> BoxedStrategy<Key> {
    let seen = (at(), at(), any::<u64>()).prop_map(|(first, last, uses)| Seen { first, last, uses });
    let quiet = (at(), at()).prop_map(|(from, through)| Quiet { from, through });
    let names = (kid(), any::<[u8; 32]>(), any::<u128>(), any::<bool>(), any::<bool>());
    let known = (option::of(seen), option::of(quiet), option::of(replaces()), at());
    (names, known, spec(), key_state())
        .prop_map(|(names, known, spec, state)| Key {
            kid: names.0,
            digest: Digest(names.1),
            spec,
            origin: if names.3 { Origin::Imported } else { Origin::Minted },
            issued_at: known.3,
            rotation: RotationId(names.2),
            replaces: known.2,
            state,
            was_activated: names.4,
            seen: known.0,
            quiet: known.1,
        })
        .boxed()
}

/// The policy in force is always the last that was set, and commands are kept elsewhere.
fn state() -> BoxedStrategy<State> {
    let keys = btree_map(any::<u32>().prop_map(Version), key(), 0..4);
    let policies = vec((any::<u64>(), patch()), 0..3);
    (any::<u64>(), keys, policies, btree_map(edge(), any::<u64>(), 0..4))
        .prop_map(|(revision, keys, policies, edges)| State {
            revision,
            keys,
            policy: policies.last().map(|(_, patch)| patch.clone()).unwrap_or_default(),
            policies,
            edges,
            done: Default::default(),
        })
        .boxed()
}

proptest! {
    #[test]
    fn a_state_is_read_as_it_was_written(state in state()) {
        let bytes = stored::write(&state).unwrap();
        prop_assert_eq!(stored::read(&bytes), Ok(state.clone()));
        prop_assert_eq!(stored::write(&state.clone()).unwrap(), bytes, "one encoding");
    }

    #[test]
    fn bytes_that_are_no_state_are_an_error(bytes in vec(any::<u8>(), 0..200)) {
        let _ = stored::read(&bytes).map_err(|error| error.to_string());
    }

    #[test]
    fn a_cut_state_is_an_error(state in state(), cut in 1..50_usize) {
        let bytes = stored::write(&state).unwrap();
        let end = bytes.len().saturating_sub(cut);
        assert!(stored::read(&bytes[..end]).is_err());
    }
}

#[test]
fn an_empty_state_is_small() {
    let bytes = stored::write(&State::default()).unwrap();
    assert!(bytes.len() < 64, "{}", bytes.len());
    assert_eq!(stored::read(&bytes), Ok(State::default()));
    assert_eq!(Span(0), Span::default());
}
