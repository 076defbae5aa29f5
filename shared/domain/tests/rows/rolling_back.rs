//! Going back (SAFETY 6): what comes back, what runs out, and what never does.

use crate::scene::acts::{activate, back_to, retire_due};
use crate::scene::{Story, given, hour, rotation};
use keywheel_domain::key::Cause;
use keywheel_domain::rollback::Plan;
use keywheel_domain::{Act, At, KeyState, next};

/// Positions of [`rotation`]: 3 is v1 in use alone, 4 is v2 pending, 5 is v2 active.
const V1_ALONE: u64 = 3;
const V2_PENDING: u64 = 4;
const V2_ACTIVE: u64 = 5;

fn revoking_new(story: Story, to: u64) -> crate::scene::Outcome {
    let act = back_to(&story, to, true);
    story.when(act)
}

fn deadline(story: &Story, n: u32) -> At {
    match &story.key(n).state {
        KeyState::Retiring(overlap) => overlap.deadline,
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => {
            panic!("v{n} is in no overlap")
        }
    }
}

#[test]
fn the_predecessor_is_active_again_and_the_newer_key_runs_out() {
    let story = rotation().at(hour(2)).when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    assert_eq!(deadline(&story, 2), hour(2 + 30 * 24));
}

#[test]
fn the_newer_key_does_not_retire_while_none_above_it_is_in_use() {
    let story = rotation().used(2).at(hour(2)).when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    let story = story.at(hour(2000)).proven_quiet(2, 1999, 2000);
    assert_eq!(next(&story.state, story.now), None);
    story.when(retire_due(2)).rejected("not_due");
}

#[test]
fn only_revoke_new_ends_it() {
    let story = revoking_new(rotation(), V1_ALONE).then("back: v1 active, v2 revoked");
    story.when(activate(2)).rejected("already_revoked");
}

#[test]
fn revoke_new_spares_what_was_in_use_then() {
    let story = rotation().used(2).rotated(3).activated(3, &[2]);
    revoking_new(story, V2_ACTIVE)
        .then("back: v2 active, v3 revoked")
        .stands("v1 retiring, v2 active, v3 revoked");
}

#[test]
fn revoke_new_reaches_newer_keys_that_have_retired_since() {
    let story = rotation().used(2).ended(2, Cause::Requested);
    revoking_new(story, V1_ALONE).then("back: v1 active, v2 revoked");
}

#[test]
fn a_key_that_was_never_activated_is_cancelled() {
    let story = given().handed_out(1).rotated(2);
    story.when_back_to(2).then("back: v2 retired (cancelled)").stands("v1 active, v2 retired (cancelled)");
}

#[test]
fn one_that_was_pending_then_and_is_now_goes_on() {
    given().handed_out(1).rotated(2).issued(3).when_back_to(3).then("back: v3 retired (cancelled)");
}

#[test]
fn one_that_was_pending_then_and_is_active_now_runs_out() {
    rotation().when_back_to(V2_PENDING).then("back: v1 active, v2 retiring");
}

#[test]
fn a_retired_predecessor_comes_back_if_it_was_ever_seen() {
    for cause in [Cause::Superseded, Cause::Requested, Cause::RolledBack] {
        rotation().used(2).ended(1, cause).when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    }
    let unseen = given().handed_out(1).rotated(2).activated(2, &[1]).ended(1, Cause::Requested);
    unseen.when_back_to(2).rejected("nothing_to_restore");
}

#[test]
fn an_overlapping_predecessor_comes_back_seen_or_not() {
    let unseen = given().handed_out(1).rotated(2).activated(2, &[1]);
    unseen.when_back_to(2).then("back: v1 active, v2 retiring");
}

#[test]
fn revoked_expired_and_cancelled_keys_stay_ended() {
    rotation().revoked(1).when_back_to(V1_ALONE).rejected("nothing_to_restore");
    rotation().ended(1, Cause::Expired).when_back_to(V1_ALONE).rejected("nothing_to_restore");
    rotation().ended(1, Cause::Cancelled).when_back_to(V1_ALONE).rejected("nothing_to_restore");
}

#[test]
fn a_key_past_its_own_end_does_not_come_back() {
    let story =
        given().expiring(hour(9)).handed_out(1).used(1).expiring(hour(99)).rotated(2).activated(2, &[1]);
    story.clone().at(hour(9)).when_back_to(3).rejected("nothing_to_restore");
    story.at(hour(8)).when_back_to(3).then("back: v1 active, v2 retiring");
}

#[test]
fn what_is_taken_away_never_outlives_its_own_end() {
    let story = given().handed_out(1).used(1).expiring(hour(9)).rotated(2).activated(2, &[1]);
    let story = story.at(hour(1)).when_back_to(3).then("back: v1 active, v2 retiring");
    assert_eq!(deadline(&story, 2), hour(9));
    assert_eq!(story.key(2).spec.expires_at, Some(hour(9)));
}

#[test]
fn going_back_to_what_holds_restores_nothing() {
    rotation().when_back_to(V2_ACTIVE).rejected("nothing_to_restore");
}

#[test]
fn going_back_to_before_the_first_key_would_leave_nobody_one() {
    given().handed_out(1).when_back_to(0).rejected("nothing_to_restore");
    given().handed_out(1).when_back_to(1).rejected("nothing_to_restore");
}

#[test]
fn a_rollback_can_itself_be_rolled_back() {
    let back = rotation().used(2).at(hour(1)).when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    back.when_back_to(6).then("back: v2 active, v1 retiring").stands("v1 retiring, v2 active");
}

#[test]
fn going_forward_again_lets_run_out_what_had_retired_by_then() {
    let story = rotation().used(2).ended(1, Cause::Superseded);
    let back = story.when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    back.when_back_to(7).then("back: v2 active, v1 retiring");
}

#[test]
fn after_going_back_a_rotation_supersedes_the_predecessor_again() {
    let back = rotation().when_back_to(V1_ALONE).then("back: v1 active, v2 retiring");
    let story = back.rotated(3).when(activate(3)).then("activate v3 over v1");
    story.stands("v1 retiring, v2 retiring, v3 active");
}

/// What does not come back and why, in words; beside it what is decided has to be what was planned.
fn lost(story: &Story, to: u64) -> String {
    let act = back_to(story, to, false);
    let Act::Rollback { to_seq, target, revoke_new, policy } = &act else { panic!("{act:?}") };
    let plan = Plan::of(&story.state, story.now, *to_seq, target, *revoke_new, policy);
    let words: Vec<_> = plan.lost.iter().map(|(version, why)| format!("{version} {}", why.code())).collect();
    match plan.refusal() {
        Some(why) => drop(story.clone().when(act).rejected(why.code())),
        None => {
            let after = story.clone().when(act).event();
            assert_eq!((after.restored, after.withdrawn), (plan.restored, plan.withdrawn));
        }
    }
    words.join(", ")
}

#[test]
fn a_plan_names_what_does_not_come_back() {
    assert_eq!(lost(&rotation(), V1_ALONE), "");
    assert_eq!(lost(&rotation().revoked(1), V1_ALONE), "v1 revoked");
    assert_eq!(lost(&rotation().ended(1, Cause::Expired), V1_ALONE), "v1 expired");
    let expiring = given().expiring(hour(9)).handed_out(1).used(1).expiring(hour(99)).rotated(2);
    assert_eq!(lost(&expiring.activated(2, &[1]).at(hour(9)), V1_ALONE), "v1 expired");
    let unseen = given().handed_out(1).rotated(2).activated(2, &[1]).ended(1, Cause::Requested);
    assert_eq!(lost(&unseen, 2), "v1 never_seen");
    assert_eq!(
        lost(&rotation().used(2).ended(1, Cause::Superseded).rotated(3), V2_ACTIVE),
        "v1 was_retiring"
    );
    let cancelled = given().handed_out(1).rotated(2).ended(2, Cause::Cancelled).rotated(3);
    assert_eq!(lost(&cancelled, 3), "v2 cancelled");
    assert_eq!(lost(&rotation().used(2).ended(2, Cause::Requested), V2_PENDING), "v2 was_pending");
}
