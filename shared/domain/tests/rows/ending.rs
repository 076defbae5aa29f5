//! Endings that somebody asks for: retire, cancel, revoke (SAFETY 14), and that revoked is for ever.

use crate::scene::acts::{activate, cancel, retire, revoke, revoke_all};
use crate::scene::{given, hour, rotation};
use keywheel_domain::command::Which;
use keywheel_domain::key::Cause;
use keywheel_domain::{Act, KeyState, Version};

#[test]
fn the_last_accepted_version_is_not_retired() {
    given().handed_out(1).when(retire(1)).rejected("last_active");
    rotation().revoked(2).when(retire(1)).rejected("last_active");
    given().handed_out(1).issued(2).when(retire(1)).rejected("last_active");
}

#[test]
fn one_that_has_expired_does_not_count_as_the_other() {
    let story = given().expiring(hour(1)).handed_out(1).at(hour(1));
    let story = story.expiring(hour(9)).handed_out(2);
    story.clone().when(retire(2)).rejected("last_active");
    story.when(retire(1)).then("retire v1");
}

#[test]
fn it_is_revoked_all_the_same() {
    given().handed_out(1).when(revoke(1)).then("revoke v1").stands("v1 revoked");
}

#[test]
fn with_another_accepted_either_may_be_retired() {
    rotation().when(retire(1)).then("retire v1").stands("v1 retired (requested), v2 active");
    rotation().when(retire(2)).then("retire v2").stands("v1 retiring, v2 retired (requested)");
}

#[test]
fn retiring_a_pending_key_cancels_it() {
    given().issued(1).when(retire(1)).then("cancel v1").stands("v1 retired (cancelled)");
    given().issued(1).when(cancel(1)).then("cancel v1");
}

#[test]
fn an_activated_key_is_not_cancelled() {
    given().handed_out(1).when(cancel(1)).already_so().stands("v1 active");
}

#[test]
fn what_has_ended_is_not_ended_again() {
    given().issued(1).ended(1, Cause::Cancelled).when(retire(1)).already_so();
    given().handed_out(1).revoked(1).when(retire(1)).rejected("already_revoked");
    given().handed_out(1).revoked(1).when(revoke(1)).already_so();
}

#[test]
fn a_retired_or_pending_key_can_still_be_revoked() {
    given().issued(1).when(revoke(1)).then("revoke v1");
    given().handed_out(1).ended(1, Cause::Superseded).when(revoke(1)).then("revoke v1").stands("v1 revoked");
}

#[test]
fn revoking_all_names_every_version_that_is_not_revoked() {
    let story = rotation().issued(3).revoked(2);
    let story = story.when(revoke_all()).then("revoke v1, v3").stands("v1 revoked, v2 revoked, v3 revoked");
    story.when(revoke_all()).already_so();
}

#[test]
fn a_revocation_keeps_its_reason() {
    let reason = "found in a public repository".to_owned();
    let act = Act::Revoke { which: Which::All, reason: reason.clone() };
    let story = given().handed_out(1).when(act).then("revoke v1");
    assert_eq!(story.key(1).state, KeyState::Revoked { at: hour(0), reason });
}

#[test]
fn revoked_is_absorbing_whatever_an_event_says() {
    let revoked = given().handed_out(1).revoked(1);
    let story = revoked
        .ended(1, Cause::Superseded)
        .activated(1, &[])
        .rolled_back(&[1], vec![(Version(1), KeyState::Active)])
        .rotated(1)
        .used(1)
        .rotated(2)
        .activated(2, &[1]);
    assert_eq!(story.key(1).state.word(), "revoked");
    story.when(activate(1)).rejected("already_revoked");
}

#[test]
fn a_revoked_key_does_not_come_back_under_another_number() {
    let story = given().handed_out(1).revoked(1);
    let mut again = story.log[0].event.fact.clone();
    if let keywheel_domain::Fact::KeyIssued(issued) = &mut again {
        issued.version = Version(2);
    }
    story.happened(again).stands("v1 revoked");
}

#[test]
fn an_event_that_does_not_fit_changes_nothing_but_the_count() {
    let story = given().handed_out(1);
    let misfits =
        story.clone().activated(9, &[8]).used(9).ended(9, Cause::Revoked).activated(1, &[]).issued(1);
    assert_eq!(misfits.state.keys, story.state.keys);
    assert_eq!(misfits.state.revision, story.state.revision + 5);
}
