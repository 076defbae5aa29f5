//! Activation and what it takes the place of (SAFETY 13).

use crate::scene::acts::{activate, issue, rotate, rotate_for};
use crate::scene::{given, hour, rotation};
use keywheel_domain::KeyState;
use keywheel_domain::key::Cause;

#[test]
fn a_first_key_supersedes_nothing() {
    given().when(issue(1)).then("issue v1").when(activate(1)).then("activate v1").stands("v1 active");
}

#[test]
fn a_rotated_key_supersedes_every_lower_active_one() {
    given()
        .handed_out(1)
        .handed_out(2)
        .rotated(3)
        .when(activate(3))
        .then("activate v3 over v1, v2")
        .stands("v1 retiring, v2 retiring, v3 active");
}

#[test]
fn an_additional_key_supersedes_nothing() {
    given().handed_out(1).issued(2).when(activate(2)).then("activate v2").stands("v1 active, v2 active");
}

#[test]
fn an_older_key_that_is_activated_late_does_not_supersede_a_newer_one() {
    given()
        .handed_out(1)
        .rotated(2)
        .handed_out(3)
        .when(activate(2))
        .then("activate v2 over v1")
        .stands("v1 retiring, v2 active, v3 active");
}

#[test]
fn a_rotation_cancels_one_that_is_still_pending() {
    given()
        .handed_out(1)
        .rotated(2)
        .when(rotate(3))
        .then("issue v3 for all, cancel v2")
        .stands("v1 active, v2 retired (cancelled), v3 issued")
        .when(activate(2))
        .rejected("already_retired");
}

#[test]
fn an_additional_key_cancels_nothing() {
    given().handed_out(1).rotated(2).when(issue(3)).then("issue v3");
}

#[test]
fn a_rotation_for_a_named_version_leaves_the_others_active() {
    given()
        .handed_out(1)
        .handed_out(2)
        .when(rotate_for(3, &[1]))
        .then("issue v3 for v1")
        .when(activate(3))
        .then("activate v3 over v1")
        .stands("v1 retiring, v2 active, v3 active");
}

#[test]
fn only_an_active_version_can_be_named() {
    given().handed_out(1).when(rotate_for(2, &[9])).rejected("unknown_version");
    rotation().when(rotate_for(3, &[1])).rejected("not_active");
    given().handed_out(1).issued(2).when(rotate_for(3, &[2])).rejected("not_active");
}

#[test]
fn a_named_version_that_ended_meanwhile_is_left_alone() {
    given()
        .handed_out(1)
        .handed_out(2)
        .rotated_for(3, &[1])
        .revoked(1)
        .when(activate(3))
        .then("activate v3")
        .stands("v1 revoked, v2 active, v3 active");
}

#[test]
fn activating_again_changes_nothing() {
    given().handed_out(1).when(activate(1)).already_so();
    rotation().when(activate(1)).already_so();
}

#[test]
fn what_has_ended_is_not_activated() {
    given().issued(1).ended(1, Cause::Cancelled).when(activate(1)).rejected("already_retired");
    given().issued(1).revoked(1).when(activate(1)).rejected("already_revoked");
    given().expiring(hour(1)).issued(1).at(hour(1)).when(activate(1)).rejected("already_expired");
}

#[test]
fn an_overlap_lasts_as_long_as_the_rotation_was_promised() {
    let story = rotation();
    let KeyState::Retiring(overlap) = story.key(1).state else { panic!("v1 is in no overlap") };
    assert_eq!(overlap.since, hour(0));
    assert_eq!(overlap.not_before, hour(24));
    assert_eq!(overlap.deadline, hour(30 * 24));
    assert!(!overlap.retire_at_deadline);
}

#[test]
fn an_overlap_never_outlasts_the_keys_own_end() {
    let story = given().expiring(hour(100)).handed_out(1).rotated(2).activated(2, &[1]);
    let KeyState::Retiring(overlap) = story.key(1).state else { panic!("v1 is in no overlap") };
    assert_eq!(overlap.deadline, hour(100));
}
