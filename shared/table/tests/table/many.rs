//! The table in memory with more rows than one piece or one shard holds, and with keys that clash.

use keywheel_domain::policy::{Class, PolicyPatch};
use keywheel_domain::verdict::Found;
use keywheel_domain::{Address, At, Digest, KeyState, Kid, Span, State, Tenant, Version};
use keywheel_table::Answers;
use keywheel_table::answers::Loaded;

const ROWS: u64 = 70_000;

fn kid(n: u64) -> Kid {
    // Spread over the whole alphabet: a prime below 62^10.
    Kid::of_number(n * 11_400_714_819_323 % 839_299_365_868_340_224)
}

fn digest(n: u64) -> Digest {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Digest(bytes)
}

fn key<'a>(n: u64, state: &'a KeyState, scopes: &'a [String]) -> Loaded<'a> {
    let (kid, digest) = (kid(n), digest(n));
    let (version, cidrs) = (Version(1), [].as_slice());
    Loaded { version, kid, digest, state, scopes, cidrs, expires_at: None, imported_at: None }
}

fn load(answers: &mut Answers, client: &str, key: Loaded<'_>) {
    answers.load("t", client, &PolicyPatch::NONE, std::iter::once(key));
}

#[test]
fn each_of_many_keys_is_found_and_stays_itself_while_others_change() {
    let mut answers = Answers::default();
    let scopes = |n: u64| vec![format!("s-{}", n % 100)];
    for n in 0..ROWS {
        let imported_at = (n % 3 == 0).then_some(At(n));
        let own = scopes(n);
        load(&mut answers, &format!("c-{n}"), Loaded { imported_at, ..key(n, &KeyState::Active, &own) });
    }
    let retired = |n| KeyState::Retired { at: At(n), cause: keywheel_domain::key::Cause::Requested };
    for n in (0..ROWS).step_by(2) {
        load(&mut answers, &format!("c-{n}"), key(n, &retired(n), &scopes(n + 1)));
    }
    assert_eq!((answers.keys() as u64, answers.keyrings() as u64), (ROWS, ROWS));
    for n in 0..ROWS {
        let row = answers.by_kid(kid(n)).unwrap();
        assert_eq!((row.kid(), row.digest(), row.names()), (kid(n), &digest(n), ("t", &*format!("c-{n}"))));
        let (state, scopes) =
            if n % 2 == 0 { (retired(n), scopes(n + 1)) } else { (KeyState::Active, scopes(n)) };
        assert_eq!((row.state(), row.scopes(), row.joined_scopes()), (&state, &*scopes, &*scopes[0]));
        assert_eq!(answers.by_digest(&digest(n)).is_some(), n % 3 == 0);
    }
    assert!(answers.by_kid(kid(ROWS)).is_none() && answers.by_digest(&digest(ROWS)).is_none());
}

/// Of keyrings that adopted one key the first has it, whichever is loaded first.
#[test]
fn the_first_importer_of_a_key_has_it() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut answers = Answers::default();
        for n in order {
            let adopted = Loaded {
                digest: digest(9),
                imported_at: Some(At(100 + n)),
                ..key(n, &KeyState::Active, &[])
            };
            load(&mut answers, &format!("c-{n}"), adopted);
        }
        assert_eq!(answers.by_digest(&digest(9)).unwrap().names(), ("t", "c-0"), "{order:?}");
    }
}

/// What stands in a list with spaces between its entries cannot have one inside.
#[test]
fn a_scope_with_a_space_is_none() {
    let mut answers = Answers::default();
    let scopes = ["read admin".to_owned(), "write".to_owned()];
    load(&mut answers, "c", key(1, &KeyState::Active, &scopes));
    let row = answers.by_kid(kid(1)).unwrap();
    assert_eq!((row.scopes(), row.joined_scopes()), (&scopes[1..], "write"));
}

#[test]
fn a_tenants_policy_holds_where_the_keyring_has_none_also_when_it_comes_later() {
    let mut answers = Answers::default();
    let own = PolicyPatch { stale_max: Some(Span(5)), ..PolicyPatch::NONE };
    answers.load("t", "own", &own, std::iter::once(key(1, &KeyState::Active, &[])));
    load(&mut answers, "plain", key(2, &KeyState::Active, &[]));
    let policy = PolicyPatch { class: Some(Class::Strict), stale_max: Some(Span(9)), ..PolicyPatch::NONE };
    let tenant = Address::Tenant(Tenant::parse("t").unwrap());
    let state = State { policy, ..State::default() };
    assert!(!answers.agrees(&tenant, &state));
    answers.update(&tenant, &state);
    assert!(answers.agrees(&tenant, &state));
    let of = |n| match answers.by_kid(kid(n)).unwrap().found() {
        Found::Key { class, stale_max, .. } => (class, stale_max),
        Found::Malformed | Found::Nothing | Found::WrongSecret => panic!("a row is a key"),
    };
    assert_eq!((of(1), of(2)), ((Class::Strict, Span(5)), (Class::Strict, Span(9))));
}
