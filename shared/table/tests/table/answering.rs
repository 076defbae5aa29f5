//! The table in memory says what the fold says.

use crate::log::{Log, Step, edge, open, states, steps};
use keywheel_domain::key::Origin;
use keywheel_domain::verdict::Found;
use keywheel_domain::{Address, Kid, State};
use keywheel_table::Answers;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_follow_the_fold(steps in steps(), size in 1..9_usize) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        let (mut fold, mut answers) = (open(folder.path()), Answers::default());
        for piece in log.messages.chunks(size) {
            let applied = fold.apply(piece, &[]).unwrap();
            for (address, state) in &applied.changed {
                answers.update(address, state);
            }
        }
        check(&answers, &states(&fold));

        // A restart fills the table from the fold.
        let anew = fold.answers().unwrap();
        check(&anew, &log.kept());
        prop_assert_eq!(anew.keys(), answers.keys());
        prop_assert_eq!(anew.has_imports(), answers.has_imports());
        prop_assert!(answers.by_kid(Kid::parse("nobodysKid").unwrap()).is_none());
    }
}

fn check(answers: &Answers, states: &std::collections::BTreeMap<Address, State>) {
    let none = State::default();
    let tenant = states.get(&crate::log::tenant()).unwrap_or(&none);
    let (mut keys, mut keyrings) = (0, 0);
    for (address, state) in states {
        let Address::Keyring(id) = address else { continue };
        keyrings += usize::from(!state.keys.is_empty());
        assert!(answers.agrees(address, state));
        for (version, key) in &state.keys {
            keys += 1;
            let row = answers.by_kid(key.kid).expect("every key has a row");
            assert_eq!(row.names(), (id.tenant.as_str(), id.client.as_str()));
            assert_eq!((row.version(), row.kid(), row.digest()), (*version, key.kid, &key.digest));
            let imported = answers.by_digest(&key.digest).map(|row| row.kid());
            assert_eq!(imported, (key.origin == Origin::Imported).then_some(key.kid));
            assert_eq!((row.cidrs(), row.joined_scopes()), (&*key.spec.cidrs, &*key.spec.scopes.join(" ")));
            let policy = state.policy_within(tenant);
            let Found::Key { state: shown, scopes, expires_at, class, stale_max } = row.found() else {
                panic!("a row is a key")
            };
            assert_eq!((shown, scopes, expires_at), (&key.state, &*key.spec.scopes, key.spec.expires_at));
            assert_eq!((class, stale_max), (policy.class, policy.stale_max));
        }
    }
    assert_eq!((answers.keys(), answers.keyrings()), (keys, keyrings));
    let roster = &states.get(&Address::Installation).unwrap_or(&none).edges;
    for n in 0..3 {
        assert_eq!(answers.is_on_roster(&edge(n)), roster.contains_key(&edge(n)));
    }
}

/// Uses are counted by place.
#[test]
fn a_row_keeps_its_place_whatever_happens_to_it() {
    let log = Log::plain();
    let folder = tempfile::tempdir().unwrap();
    let (mut fold, mut answers) = (open(folder.path()), Answers::default());
    let mut places = std::collections::BTreeMap::new();
    for message in &log.messages {
        for (address, state) in fold.apply(std::slice::from_ref(message), &[]).unwrap().changed {
            answers.update(&address, &state);
            for key in state.keys.values() {
                let row = answers.by_kid(key.kid).unwrap();
                assert_eq!(*places.entry(key.kid).or_insert(row.place()), row.place());
                assert_eq!(answers.at(row.place()).kid(), key.kid);
            }
        }
    }
    assert!(places.len() > 1 && places.values().all(|place| (*place as usize) < answers.keys()));
}

/// Enough rows for two threads, with a damaged one in either half.
#[test]
fn a_large_table_is_loaded_by_halves_and_damage_is_found_in_either() {
    let log = Log::of(&(0..5000).map(Step::Many).collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).apply(&log.messages, &[]).unwrap();
    let answers = open(folder.path()).answers().unwrap();
    assert_eq!((answers.keys(), answers.keyrings()), (5000, 5000));
    for state in log.states.values() {
        let (version, key) = state.newest().unwrap();
        let row = answers.by_kid(key.kid).unwrap();
        assert!(row.version() == version && *row.digest() == key.digest);
    }
    for place in ["acme.many-10", "acme.many-99"] {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).apply(&log.messages, &[]).unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("fold.db")).unwrap();
        for change in ["UPDATE address SET row = substr(row, 1, length(row) - 1)", "DELETE FROM address"] {
            let done = connection.execute(&format!("{change} WHERE place = ?1"), [place]).unwrap();
            assert_eq!(done, 1);
            assert!(open(folder.path()).answers().is_err_and(|error| error.is_damage()), "{place}: {change}");
        }
    }
}
