//! A state in a row is read as it was written, whatever state it is.

use crate::anything::{edge, key_state, kid, patch};
use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Origin, Quiet, Replaces, Seen};
use keywheel_domain::signer::{Learned, Standing};
use keywheel_domain::{At, Digest, Key, KeySpec, Policy, Service, SignerKey, Span, State, Version};
use keywheel_table::Loaded;
use keywheel_table::part::Part;
use keywheel_table::stored::{self, Stored};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{
    BoxedStrategy, Strategy, any, prop_assert, prop_assert_eq, prop_assert_ne, proptest,
};

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

fn signers() -> BoxedStrategy<Learned> {
    let key = || "U[A-Z2-7]{55}".prop_map(|text| SignerKey::parse(&text).unwrap());
    let role = (0..4_usize).prop_map(|n| Service::ALL[n]);
    let standing = (role, any::<u64>(), key()).prop_map(|(role, since, by)| Standing { role, since, by });
    (btree_map(key(), standing, 0..3), btree_map(key(), any::<u64>(), 0..3))
        .prop_map(|(added, withdrawn)| Learned { added, withdrawn })
        .boxed()
}

/// The policy in force is always the last that was set, and commands are kept elsewhere.
fn state() -> BoxedStrategy<State> {
    let keys = btree_map(any::<u32>().prop_map(Version), key(), 0..4);
    let policies = vec((any::<u64>(), patch()), 0..3);
    (any::<u64>(), keys, policies, btree_map(edge(), any::<u64>(), 0..4), signers())
        .prop_map(|(revision, keys, policies, edges, signers)| State {
            revision,
            keys,
            policy: policies.last().map(|(_, patch)| patch.clone()).unwrap_or_default(),
            policies,
            edges,
            signers,
            done: Default::default(),
        })
        .boxed()
}

/// What a fold keeps of an address.
fn loaded() -> BoxedStrategy<Loaded> {
    (state(), any::<u64>(), option::of(any::<[u8; 32]>()), option::of(any::<String>()))
        .prop_map(|(state, seq, prev, frozen)| Loaded { state, seq, prev, frozen })
        .boxed()
}

/// As a row is read: what its parts say stands elsewhere.
fn read(stored: &Stored) -> Result<Loaded, String> {
    let parts: Vec<Part> = stored
        .parts
        .iter()
        .map(|bytes| Part::read(bytes).map_err(|error| error.to_string()))
        .collect::<Result<_, _>>()?;
    let row =
        stored::read(&stored.body, &parts.iter().collect::<Vec<_>>()).map_err(|error| error.to_string())?;
    let frozen = row.is_frozen.then(String::new);
    Ok(row.into_loaded(frozen))
}

fn same(one: &Loaded, other: &Loaded) -> bool {
    (&one.state, one.seq, one.prev) == (&other.state, other.seq, other.prev)
        && one.frozen.is_some() == other.frozen.is_some()
}

proptest! {
    #[test]
    fn a_state_is_read_as_it_was_written(loaded in loaded()) {
        let stored = stored::write(&loaded);
        let again = read(&stored).unwrap();
        prop_assert!(same(&again, &loaded), "{again:?}\n{loaded:?}");
        prop_assert_eq!(stored::write(&again), stored, "one encoding");
    }

    #[test]
    fn bytes_that_are_no_state_are_an_error(body in vec(any::<u8>(), 0..200), parts in vec(vec(any::<u8>(), 0..40), 0..3)) {
        let stored = Stored { body, parts };
        if let Ok(read) = read(&stored) {
            prop_assert_eq!(stored::write(&read), stored, "what is read at all has one encoding");
        }
    }

    /// Also near to what is a state: an altered byte is an error, or another state's one encoding.
    #[test]
    fn an_altered_state_is_an_error_or_another_state(loaded in loaded(), at in any::<usize>(), bit in 0..8_u8) {
        let stored = stored::write(&loaded);
        let lengths = [stored.body.len()].into_iter().chain(stored.parts.iter().map(Vec::len));
        let mut at = at % lengths.sum::<usize>();
        let mut altered = stored.clone();
        for bytes in [&mut altered.body].into_iter().chain(&mut altered.parts) {
            if at < bytes.len() {
                bytes[at] ^= 1 << bit;
                break;
            }
            at -= bytes.len();
        }
        prop_assert_ne!(&altered, &stored);
        if let Ok(read) = read(&altered) {
            prop_assert!(!same(&read, &loaded));
            prop_assert_eq!(stored::write(&read), altered);
        }
    }

    #[test]
    fn a_cut_state_is_an_error(loaded in loaded(), cut in 1..50_usize) {
        let mut stored = stored::write(&loaded);
        stored.body.truncate(stored.body.len().saturating_sub(cut));
        assert!(read(&stored).is_err());
        let mut stored = stored::write(&loaded);
        if stored.parts.pop().is_some() {
            assert!(read(&stored).is_err());
        }
    }
}

#[test]
fn an_empty_state_is_small() {
    let stored = stored::write(&Loaded::default());
    assert_eq!((stored.body.len(), stored.parts.len()), (3, 0));
    assert!(same(&read(&stored).unwrap(), &Loaded::default()));
    assert_eq!(Span(0), Span::default());
}

/// What most keys are, most of it what no packing makes smaller: hashes, digest and ids take 88 bytes.
#[test]
fn a_usual_key_is_small() {
    use crate::log::{Log, Step, keyring, open};
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    fold.apply(&Log::of(&[Step::Issue(0), Step::Activate(0, 1)]).messages, &[]).unwrap();
    let stored = stored::write(&fold.load(&keyring(0), None).unwrap());
    assert!(stored.body.len() <= 104, "{}", stored.body.len());
}
