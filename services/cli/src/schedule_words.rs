//! When a keyring is rotated by itself next, and why it is not, in words and for programs.

use crate::replay::{Told, World};
use crate::screen::{Mood, Shown};
use crate::words::{ago, ahead, when};
use keywheel_domain::schedule::{Hold, Scheduled, scheduled};
use keywheel_domain::{Address, At, KeyringId, Policy, Span, State};
use keywheel_wire::text::moment;
use serde_json::{Value, json};

/// After so long a due rotation should have been started.
const SOON: Span = Span::secs(60);

/// A keyring's next rotation by schedule, under its own policy and its tenant's; none without a schedule.
pub(crate) fn next(keyring: &KeyringId, state: &State, tenant: Option<&State>, now: At) -> Option<Scheduled> {
    let policy = match tenant {
        Some(tenant) => state.policy_within(tenant),
        None => Policy::default().overlaid(&state.policy),
    };
    scheduled(keyring, state, &policy, now)
}

/// The same out of the whole log.
pub(crate) fn next_in(world: &World, keyring: &KeyringId, told: &Told, now: At) -> Option<Scheduled> {
    let tenant = world.state(&Address::Tenant(keyring.tenant.clone()));
    next(keyring, told.state(), tenant, now)
}

/// In a sentence.
pub(crate) fn words(next: Scheduled, now: At) -> String {
    let due = when(now, next.due);
    let overdue = now.since(next.due) > SOON;
    match next.hold {
        Some(hold @ Hold::NothingToRotate) => format!("no rotation by schedule: {hold}"),
        None if !next.is_due(now) => format!("the next rotation by schedule is due {due}"),
        None if overdue => {
            format!(
                "a rotation by schedule is overdue since {due}: no issuer has started it; see that one runs"
            )
        }
        None => format!("a rotation by schedule is due since {due} and about to start"),
        Some(hold) if next.is_due(now) => {
            format!("a rotation by schedule is overdue since {due} and does not start: {hold}")
        }
        Some(hold) if hold.needs_a_person() => {
            format!("the next rotation by schedule is due {due}, and as things stand will not start: {hold}")
        }
        Some(_) => format!("the next rotation by schedule is due {due}"),
    }
}

/// In a cell of a table.
pub(crate) fn cell(next: Option<Scheduled>, now: At) -> Shown {
    let Some(next) = next.filter(|next| next.hold != Some(Hold::NothingToRotate)) else {
        return Shown::plain("-");
    };
    let hold = next.hold.filter(|hold| next.is_due(now) || hold.needs_a_person());
    let why = hold.map_or(String::new(), |hold| format!(": {}", hold.code()));
    if next.is_due(now) {
        let mood = if hold.is_some_and(Hold::needs_a_person) { Mood::Bad } else { Mood::Pending };
        Shown::with(format!("due {}{why}", ago(now, next.due)), mood)
    } else {
        Shown::with(
            format!("{}{why}", ahead(now, next.due)),
            if hold.is_some() { Mood::Bad } else { Mood::Plain },
        )
    }
}

/// For programs.
pub(crate) fn to_json(next: Option<Scheduled>, now: At) -> Value {
    let hold = |hold: Hold| json!({ "code": hold.code(), "detail": hold.to_string() });
    next.map_or(
        Value::Null,
        |next| json!({ "due": moment(next.due), "is_due": next.is_due(now), "hold": next.hold.map(hold) }),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting_words::tests::{NOW, retiring};
    use expect_test::{Expect, expect};
    use keywheel_domain::policy::PolicyPatch;
    use keywheel_domain::{KeyState, Version};

    fn check(due: At, hold: Option<Hold>, expected: Expect) {
        let next = Scheduled { due, hold };
        let cell = crate::screen::Screen::new(crate::arguments::Output::Text)
            .table(&[""], vec![vec![super::cell(Some(next), NOW)]]);
        expected.assert_eq(&format!("{} | {}", words(next, NOW), cell.trim()));
    }

    #[test]
    fn what_is_to_come_is_told_and_what_keeps_it_from_coming() {
        let (ahead, just, long) =
            (NOW.after(Span::hours(3)), NOW.before(Span::secs(2)), NOW.before(Span::hours(5)));
        check(
            ahead,
            None,
            expect!["the next rotation by schedule is due 2027-01-15T11:00:00Z (in 3h) | in 3h"],
        );
        check(
            ahead,
            Some(Hold::Pending(Version(2))),
            expect!["the next rotation by schedule is due 2027-01-15T11:00:00Z (in 3h) | in 3h"],
        );
        check(
            ahead,
            Some(Hold::NoRecipient),
            expect![
                "the next rotation by schedule is due 2027-01-15T11:00:00Z (in 3h), and as things stand will not start: recipient: the policy names none, so the new secret has nowhere to go; set the public xkey of its owner (policy field `recipient`) | in 3h: no_recipient"
            ],
        );
        check(
            just,
            None,
            expect![
                "a rotation by schedule is due since 2027-01-15T07:59:58Z (2s ago) and about to start | due 2s ago"
            ],
        );
        check(
            long,
            None,
            expect![
                "a rotation by schedule is overdue since 2027-01-15T03:00:00Z (5h ago): no issuer has started it; see that one runs | due 5h ago"
            ],
        );
        check(
            long,
            Some(Hold::Pending(Version(2))),
            expect![
                "a rotation by schedule is overdue since 2027-01-15T03:00:00Z (5h ago) and does not start: v2 waits for its activation first | due 5h ago: pending"
            ],
        );
        check(
            long,
            Some(Hold::Overlaps(5)),
            expect![
                "a rotation by schedule is overdue since 2027-01-15T03:00:00Z (5h ago) and does not start: max_active: 5 old versions are still accepted, as many as it allows a schedule; let the client fetch its newest key, retire old versions, or raise it | due 5h ago: too_many_overlaps"
            ],
        );
        check(
            long,
            Some(Hold::NothingToRotate),
            expect!["no rotation by schedule: no version is in use any more; issue a key first | -"],
        );
        check(
            long,
            Some(Hold::TooManyAccepted(64)),
            expect![
                "a rotation by schedule is overdue since 2027-01-15T03:00:00Z (5h ago) and does not start: 64 versions are still accepted; wait until old ones retire, or retire some | due 5h ago: too_many_accepted"
            ],
        );
    }

    #[test]
    fn programs_are_told_the_same() {
        let next = Scheduled { due: NOW, hold: Some(Hold::Pending(Version(2))) };
        expect![[r#"{"due":"2027-01-15T08:00:00.000Z","hold":{"code":"pending","detail":"v2 waits for its activation first"},"is_due":true}"#]].assert_eq(&to_json(Some(next), NOW).to_string());
        assert_eq!(to_json(None, NOW), Value::Null);
    }

    #[test]
    fn the_tenants_schedule_holds_where_the_keyring_has_none() {
        let keyring = KeyringId::parse("acme/app").unwrap();
        let key = keywheel_domain::Key { state: KeyState::Active, ..retiring() };
        let own = State { keys: [(Version(1), key)].into(), ..State::default() };
        let policy = PolicyPatch { every: Some(Some(Span::days(30))), ..PolicyPatch::NONE };
        let tenant = State { policy, ..State::default() };
        assert_eq!(next(&keyring, &own, None, NOW), None);
        let due = next(&keyring, &own, Some(&tenant), NOW).unwrap().due;
        assert_eq!(due, NOW.after(Span::days(21)));
    }
}
