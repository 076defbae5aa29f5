//! What an edge answers: the order of its reasons, and what a stale one may not say (SAFETY 15).

use crate::scene::hour;
use keywheel_domain::key::{Cause, KeySpec, KeyState};
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::{Found, Freshness, Needs, Refusal, Verdict, judge};
use keywheel_domain::{At, Span};

const ANYTHING: Needs<'static> = Needs { scopes: &[], address_allowed: true };
const STALE: Freshness = Freshness::Stale { age: Span::hours(1) };

fn answer(state: &KeyState, needs: &Needs<'_>, freshness: Freshness, now: At) -> Verdict {
    let spec = KeySpec { scopes: vec!["read".to_owned()], expires_at: Some(hour(10)), ..KeySpec::default() };
    let found = Found::Key {
        state,
        scopes: &spec.scopes,
        expires_at: spec.expires_at,
        class: Class::Available,
        stale_max: Span::hours(2),
    };
    judge(&found, needs, freshness, now)
}

fn retired() -> KeyState {
    KeyState::Retired { at: hour(0), cause: Cause::Superseded }
}

fn revoked() -> KeyState {
    KeyState::Revoked { at: hour(0), reason: "leaked".to_owned() }
}

#[test]
fn a_stale_edge_cannot_say_that_a_key_is_retired() {
    assert_eq!(answer(&retired(), &ANYTHING, Freshness::Fresh, hour(1)), Verdict::Refused(Refusal::Retired));
    assert_eq!(answer(&retired(), &ANYTHING, STALE, hour(1)), Verdict::Refused(Refusal::Stale));
}

#[test]
fn revoked_is_a_definite_no_on_any_edge_that_serves() {
    for freshness in [Freshness::Fresh, STALE] {
        assert_eq!(answer(&revoked(), &ANYTHING, freshness, hour(1)), Verdict::Refused(Refusal::Revoked));
    }
}

#[test]
fn a_stale_edge_cannot_say_that_a_key_is_unknown_but_knows_a_wrong_secret() {
    let of = |found| judge(&found, &ANYTHING, STALE, hour(1));
    assert_eq!(of(Found::Nothing), Verdict::Refused(Refusal::Stale));
    assert_eq!(of(Found::WrongSecret), Verdict::Refused(Refusal::Unknown));
    assert_eq!(of(Found::Malformed), Verdict::Refused(Refusal::Malformed));
}

#[test]
fn the_keys_own_end_holds_by_the_edges_clock() {
    let active = KeyState::Active;
    assert_eq!(answer(&active, &ANYTHING, Freshness::Fresh, At(hour(10).0 - 1)), Verdict::Valid);
    assert_eq!(answer(&active, &ANYTHING, Freshness::Fresh, hour(10)), Verdict::Refused(Refusal::Expired));
    assert_eq!(answer(&active, &ANYTHING, STALE, hour(10)), Verdict::Refused(Refusal::Expired));
}

#[test]
fn an_edge_that_serves_nobody_says_nothing_about_any_key() {
    for state in [KeyState::Active, retired(), revoked()] {
        let verdict = answer(&state, &ANYTHING, Freshness::NotServing, hour(1));
        assert_eq!(verdict, Verdict::Refused(Refusal::NotReady));
    }
}

#[test]
fn a_stale_edge_serves_what_it_knows_until_stale_max() {
    let at_age = |age| answer(&KeyState::Active, &ANYTHING, Freshness::Stale { age }, hour(1));
    assert_eq!(at_age(Span::hours(2)), Verdict::Valid);
    assert_eq!(at_age(Span(Span::hours(2).0 + 1)), Verdict::Refused(Refusal::Stale));
}

#[test]
fn a_key_needs_the_scope_and_the_address() {
    let needs = |scopes, address_allowed| Needs { scopes, address_allowed };
    let of = |needs: Needs<'_>| answer(&KeyState::Active, &needs, Freshness::Fresh, hour(1));
    assert_eq!(of(needs(&["read"], true)), Verdict::Valid);
    assert_eq!(of(needs(&["read", "write"], true)), Verdict::Refused(Refusal::InsufficientScope));
    assert_eq!(of(needs(&["read"], false)), Verdict::Refused(Refusal::ForbiddenAddress));
}

#[test]
fn only_stale_and_not_ready_leave_it_open() {
    let open = [Refusal::Stale, Refusal::NotReady];
    let definite = [
        Refusal::Malformed,
        Refusal::Unknown,
        Refusal::Retired,
        Refusal::Revoked,
        Refusal::Expired,
        Refusal::InsufficientScope,
        Refusal::ForbiddenAddress,
    ];
    assert!(open.iter().all(|refusal| !refusal.is_definite()));
    assert!(definite.iter().all(|refusal| refusal.is_definite()));
}
