//! What an edge answers: what it found, by its freshness and the keyring's class.

use crate::scene::{hour, words};
use crate::table::Table;
use keywheel_domain::key::{Cause, KeySpec, KeyState, Overlap};
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::{Found, Freshness, Needs, Verdict, judge};
use keywheel_domain::{At, Span};

const STALE_MAX: Span = Span::hours(2);

const EDGES: [(&str, Freshness, Class); 7] = [
    ("not serving", Freshness::NotServing, Class::Available),
    ("fresh", Freshness::Fresh, Class::Available),
    ("fresh, strict", Freshness::Fresh, Class::Strict),
    ("stale", Freshness::Stale { age: Span(1) }, Class::Available),
    ("stale for stale_max", Freshness::Stale { age: STALE_MAX }, Class::Available),
    ("stale for longer", Freshness::Stale { age: Span(STALE_MAX.0 + 1) }, Class::Available),
    ("stale, strict", Freshness::Stale { age: Span(1) }, Class::Strict),
];

fn states() -> [KeyState; 10] {
    let at = hour(0);
    let end = hour(99);
    let overlap =
        Overlap { since: at, not_before: at, deadline: end, retire_at_deadline: false, quiet: Span(0) };
    let retired = |cause| KeyState::Retired { at, cause };
    [
        KeyState::Issued,
        KeyState::Active,
        KeyState::Retiring(overlap),
        retired(Cause::Superseded),
        retired(Cause::Requested),
        retired(Cause::Revoked),
        retired(Cause::Expired),
        retired(Cause::Cancelled),
        retired(Cause::RolledBack),
        KeyState::Revoked { at, reason: "leaked".to_owned() },
    ]
}

/// Retired for another reason: the answer is the same, so one row says enough.
fn is_like_superseded(state: &KeyState) -> bool {
    matches!(state, KeyState::Retired { cause, .. } if *cause != Cause::Superseded)
}

fn answer(found: &Found<'_>, needs: &Needs<'_>, freshness: Freshness, now: At) -> String {
    match judge(found, needs, freshness, now) {
        Verdict::Valid => "valid".to_owned(),
        Verdict::Refused(refusal) if refusal.is_definite() => format!("no: {}", refusal.code()),
        Verdict::Refused(refusal) => format!("? {}", refusal.code()),
    }
}

fn keyless(table: &mut Table, name: &str, found: &Found<'_>) {
    let needs = Needs { scopes: &[], address_allowed: true };
    table.row(name, EDGES.map(|(_, freshness, _)| answer(found, &needs, freshness, hour(1))));
}

fn key(table: &mut Table, name: &str, state: &KeyState, needs: &Needs<'_>, now: At) {
    let spec = KeySpec { expires_at: Some(hour(50)), ..KeySpec::default() };
    let cells = EDGES.map(|(_, freshness, class)| {
        let found = Found::Key {
            state,
            scopes: &spec.scopes,
            expires_at: spec.expires_at,
            class,
            stale_max: STALE_MAX,
        };
        answer(&found, needs, freshness, now)
    });
    table.row(name, cells);
}

/// "no" is a definite refusal, "?" one that asks to try another edge.
pub fn table() -> String {
    let columns = EDGES.iter().map(|(name, _, _)| *name);
    let mut table = Table::new("What an edge answers", "the key is", columns);
    keyless(&mut table, "malformed", &Found::Malformed);
    keyless(&mut table, "not in the table", &Found::Nothing);
    keyless(&mut table, "another than its id says", &Found::WrongSecret);
    let anything = Needs { scopes: &[], address_allowed: true };
    for state in states() {
        key(&mut table, &words::state(&state), &state, &anything, hour(1));
    }
    for state in states().into_iter().filter(|state| !is_like_superseded(state)) {
        key(&mut table, &format!("{}, past its end", words::state(&state)), &state, &anything, hour(50));
    }
    let more = Needs { scopes: &["write"], address_allowed: true };
    key(&mut table, "active, lacks a scope", &KeyState::Active, &more, hour(1));
    let elsewhere = Needs { scopes: &["write"], address_allowed: false };
    key(&mut table, "active, from elsewhere", &KeyState::Active, &elsewhere, hour(1));
    table.to_string()
}
