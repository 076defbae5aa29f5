//! When a rotation is undone by itself, and what nobody can provoke.

use crate::scene::{Story, acts, given, hour, rotation};
use keywheel_domain::event::RotationId;
use keywheel_domain::key::Cause;
use keywheel_domain::policy::AutoRollback;
use keywheel_domain::undo::{Refusals, undo};
use keywheel_domain::{Policy, Span, Version};

/// A fifth of all requests, ten at least, in the hour after.
fn policy() -> Policy {
    let auto = AutoRollback { refused_permille: 200, min_refused: 10, window: Span::hours(1) };
    Policy { auto_rollback: Some(auto), ..Policy::default() }
}

/// v1 retired at hour 2; this many were refused with it and accepted with others since.
fn asked(story: &Story, refused: u64, accepted: u64) -> Option<RotationId> {
    let refusals = Refusals { since: hour(2), refused, accepted };
    undo(&story.state, Version(1), &refusals, &policy(), story.now).map(|undo| undo.rotation)
}

fn retired(cause: Cause) -> Story {
    rotation().used(2).at(hour(2)).ended(1, cause)
}

#[test]
fn it_takes_the_number_and_the_ratio() {
    let story = retired(Cause::Superseded);
    let v2 = Some(RotationId(2));
    for (refused, accepted, expected) in
        [(9, 0, None), (10, 0, v2), (10, 40, v2), (10, 41, None), (u64::MAX, u64::MAX, v2), (0, 0, None)]
    {
        assert_eq!(asked(&story, refused, accepted), expected, "{refused} refused, {accepted} accepted");
    }
}

#[test]
fn only_what_was_proven_quiet_or_came_to_its_deadline_comes_back() {
    for cause in [Cause::Requested, Cause::Expired, Cause::Cancelled, Cause::RolledBack] {
        assert_eq!(asked(&retired(cause), 1000, 0), None, "{cause:?}");
    }
    assert_eq!(asked(&retired(Cause::Superseded).revoked(1), 1000, 0), None);
    assert_eq!(asked(&rotation().used(2).at(hour(2)), 1000, 0), None, "it is retiring");
    let expiring = given().expiring(hour(3)).handed_out(1).used(1).rotated(2).activated(2, &[1]).used(2);
    let expiring = expiring.at(hour(2)).ended(1, Cause::Superseded);
    assert!(asked(&expiring, 1000, 0).is_some());
    assert_eq!(asked(&expiring.at(hour(3)), 1000, 0), None);
}

#[test]
fn it_counts_for_the_window_after_the_retirement_alone() {
    let story = retired(Cause::Superseded);
    assert!(asked(&story.clone().at(hour(3)), 10, 0).is_some());
    assert_eq!(asked(&story.clone().at(hour(4)), 1000, 0), None);
    let before = Refusals { since: hour(1), refused: 1000, accepted: 0 };
    assert_eq!(undo(&story.state, Version(1), &before, &policy(), story.now), None, "of a retirement before");
}

#[test]
fn without_a_policy_nothing_is_undone() {
    let story = retired(Cause::Superseded);
    let refusals = Refusals { since: hour(2), refused: 1000, accepted: 0 };
    let never = AutoRollback { refused_permille: 0, min_refused: 1, window: Span::hours(1) };
    for auto_rollback in [None, Some(never)] {
        let policy = Policy { auto_rollback, ..Policy::default() };
        assert_eq!(undo(&story.state, Version(1), &refusals, &policy, story.now), None);
    }
}

#[test]
fn going_back_there_is_what_brings_it_back() {
    let story = retired(Cause::Superseded);
    let rotation = asked(&story, 10, 0).unwrap();
    let before = story.log.iter().take_while(|recorded| recorded.event.rotation != Some(rotation)).count();
    let act = acts::back_to(&story, before as u64, false);
    let back = story.when(act).then("back: v1 active, v2 retiring");
    assert_eq!(asked(&back, 1000, 0), None, "once");
}
