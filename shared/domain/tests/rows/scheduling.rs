//! When a keyring is rotated by itself: from what it counts, by how much it is moved, what holds it.
#![allow(clippy::unwrap_used)]

use crate::scene::{Story, given, hour, rotation};
use keywheel_domain::key::Cause;
use keywheel_domain::schedule::{Hold, Scheduled, due, scheduled};
use keywheel_domain::{At, KeyringId, Policy, Span, Version};

fn keyring() -> KeyringId {
    KeyringId::parse("acme/api").unwrap()
}

/// Every ten hours, with a recipient.
fn schedule() -> Policy {
    Policy { every: Some(Span::hours(10)), recipient: Some("X".to_owned()), ..Policy::default() }
}

fn next(story: &Story, policy: &Policy) -> Option<Scheduled> {
    scheduled(&keyring(), &story.state, policy, story.now)
}

fn held(story: &Story, policy: &Policy) -> Option<Hold> {
    next(story, policy).unwrap().hold
}

#[test]
fn it_is_due_when_every_has_passed_since_the_newest_version_was_issued() {
    let story = given().handed_out(1);
    let expected = Scheduled { due: hour(10), hold: None };
    assert_eq!(next(&story, &schedule()), Some(expected));
    let before = At(hour(10).0 - 1);
    assert_eq!((expected.is_due(before), expected.starts(before)), (false, false));
    assert_eq!((expected.is_due(hour(10)), expected.starts(hour(10))), (true, true));
}

#[test]
fn a_rotation_by_hand_begins_the_count_anew() {
    let story = given().handed_out(1).at(hour(7)).rotated(2).activated(2, &[1]);
    assert_eq!(next(&story, &schedule()).unwrap().due, hour(17));
}

#[test]
fn however_long_nobody_looked_one_rotation_is_due_and_then_none() {
    let story = given().handed_out(1).at(hour(1000));
    assert!(next(&story, &schedule()).unwrap().starts(story.now));
    let story = story.rotated(2).activated(2, &[1]);
    assert_eq!(next(&story, &schedule()), Some(Scheduled { due: hour(1010), hold: None }));
}

#[test]
fn without_a_schedule_or_a_key_there_is_none() {
    let story = given().handed_out(1);
    assert_eq!(next(&story, &Policy::default()), None);
    let never = Policy { every: Some(Span(0)), ..schedule() };
    assert_eq!(next(&story, &never), None, "0s is never");
    assert_eq!(next(&given(), &schedule()), None);
}

#[test]
fn what_holds_a_rotation_is_said() {
    let pending = rotation().rotated(3);
    assert_eq!(held(&pending, &schedule()), Some(Hold::Pending(Version(3))));
    let beside = given().handed_out(1).issued(2);
    assert_eq!(held(&beside, &schedule()), Some(Hold::Pending(Version(2))), "it would be cancelled");
    let ended = given().handed_out(1).ended(1, Cause::Requested);
    assert_eq!(held(&ended, &schedule()), Some(Hold::NothingToRotate));
    let expired = given().expiring(hour(3)).handed_out(1).at(hour(4));
    assert_eq!(held(&expired, &schedule()), Some(Hold::NothingToRotate));
    let nowhere = Policy { recipient: None, ..schedule() };
    assert_eq!(held(&given().handed_out(1), &nowhere), Some(Hold::NoRecipient));
}

#[test]
fn a_schedule_does_not_pile_up_versions_that_nobody_fetches() {
    let policy = Policy { max_active: 2, ..schedule() };
    let story = given().handed_out(1).rotated(2).activated(2, &[1]);
    assert_eq!(held(&story, &policy), None);
    let story = story.rotated(3).activated(3, &[2]);
    assert_eq!(held(&story, &policy), Some(Hold::Overlaps(2)));
    assert_eq!(held(&story.ended(1, Cause::Superseded), &policy), None, "one overlap is over");
}

#[test]
fn a_keyring_that_accepts_as_many_as_can_be_waits() {
    let full = (1..=64).fold(given(), |story, n| story.handed_out(n));
    assert_eq!(held(&full, &schedule()), Some(Hold::TooManyAccepted(64)));
}

#[test]
fn the_jitter_of_a_keyring_and_version_never_changes() {
    let policy = Policy { jitter: Span::hours(1), ..schedule() };
    let after = |name: &str, version| {
        due(&KeyringId::parse(name).unwrap(), Version(version), At(0), &policy).unwrap().0 - 36_000_000
    };
    // Computed by another program.
    assert_eq!(
        [after("acme/api", 1), after("acme/api", 2), after("acme/web", 1)],
        [2_876_332, 381_953, 2_933_904]
    );
}

/// 20 buckets for 100 versions of each of 200 keyrings, and for one version of 20,000: chi-squared with 19 degrees of freedom
/// stays below 43.8 in all but one of a thousand fair cases.
#[test]
fn jitter_is_spread_evenly_within_its_bounds() {
    let jitter = Span::hours(2);
    let policy = Policy { jitter, ..schedule() };
    let moved = |client: u32, version: u32| {
        let keyring = KeyringId::parse(&format!("acme/client-{client}")).unwrap();
        Span(due(&keyring, Version(version), hour(0), &policy).unwrap().0 - hour(10).0)
    };
    let even = |what: &str, moves: Vec<Span>| {
        assert!(moves.iter().all(|moved| *moved <= jitter), "{what}");
        let mut buckets = [0_u32; 20];
        for moved in &moves {
            buckets[usize::try_from(moved.0 * 20 / (jitter.0 + 1)).unwrap()] += 1;
        }
        let expected = moves.len() as f64 / 20.0;
        let chi: f64 = buckets.iter().map(|n| (f64::from(*n) - expected).powi(2) / expected).sum();
        assert!(chi < 43.8, "{what}: {chi} {buckets:?}");
    };
    even(
        "many versions",
        (0..200).flat_map(|c| (1..=100).map(move |v| (c, v))).map(|(c, v)| moved(c, v)).collect(),
    );
    even("many keyrings", (0..20_000).map(|c| moved(c, 1)).collect());
    even("the versions of one keyring", (1..=20_000).map(|v| moved(7, v)).collect());
    let tight = Policy { jitter: Span(1), ..schedule() };
    let both: std::collections::BTreeSet<u64> =
        (1..50).map(|v| due(&keyring(), Version(v), At(0), &tight).unwrap().0 - 36_000_000).collect();
    assert_eq!(both.into_iter().collect::<Vec<_>>(), [0, 1], "both bounds are reached");
}

#[test]
fn the_end_of_time_is_no_overflow() {
    let policy = Policy { every: Some(Span(u64::MAX)), jitter: Span(u64::MAX), ..schedule() };
    let far = due(&keyring(), Version(u32::MAX), At(u64::MAX), &policy);
    assert_eq!(far, Some(At(u64::MAX)));
}
