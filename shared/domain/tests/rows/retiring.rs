//! Retirement by evidence (SAFETY 5): what a superseded version still waits for.

use crate::scene::acts::{quiet_between, record, retire_due, used_at};
use crate::scene::{Story, given, hour, rotation};
use keywheel_domain::due::{PROOF_AGE_SLACK, Waiting, retirement, wants_quiet_proof};
use keywheel_domain::key::{Cause, Version};
use keywheel_domain::policy::OnOverlapMax;
use keywheel_domain::{At, Policy, Span, next};

/// A rotation of which v2 is in use; it is hour 30, past `overlap_min`.
fn in_use() -> Story {
    rotation().at(hour(1)).used(2).at(hour(30))
}

fn waits(story: &Story, n: u32) -> Waiting {
    retirement(&story.state, Version(n), story.now).expect_err("it waits")
}

fn under_deadline(on_overlap_max: OnOverlapMax) -> Story {
    let policy = Policy { on_overlap_max, overlap_max: Span::hours(48), ..Policy::default() };
    given().under(policy).handed_out(1).used(1).rotated(2).activated(2, &[1])
}

#[test]
fn a_quiet_version_retires_when_its_successor_is_in_use() {
    let story = in_use().proven_quiet(1, 29, 30);
    assert!(next(&story.state, story.now).is_some());
    let after = story.when(retire_due(1)).then("retire v1: quiet, v2 in use");
    after.stands("v1 retired (superseded), v2 active");
}

#[test]
fn it_does_not_while_no_successor_was_seen() {
    let story = rotation().at(hour(30)).proven_quiet(1, 29, 30);
    assert_eq!(waits(&story, 1), Waiting::Successor);
    story.when(retire_due(1)).rejected("not_due");
}

#[test]
fn a_revoked_expired_or_pending_successor_does_not_count() {
    in_use().proven_quiet(1, 29, 30).revoked(2).when(retire_due(1)).rejected("not_due");
    let short = given().handed_out(1).used(1).expiring(hour(30)).rotated(2).activated(2, &[1]);
    let short = short.used(2).at(hour(30)).proven_quiet(1, 29, 30);
    assert_eq!(waits(&short, 1), Waiting::Successor);
    let pending = rotation().rotated(3).used(3).at(hour(30)).proven_quiet(1, 29, 30);
    assert_eq!(waits(&pending, 1), Waiting::Successor);
}

#[test]
fn a_lower_version_is_no_successor() {
    let rolled = rotation().used(2).at(hour(2)).when_back_to(3).then("back: v1 active, v2 retiring");
    let rolled = rolled.used(1).at(hour(30)).proven_quiet(2, 29, 30);
    assert_eq!(waits(&rolled, 2), Waiting::Successor);
}

#[test]
fn an_additional_key_of_another_holder_is_no_successor() {
    let two_holders = given().handed_out(1).handed_out(2).used(1).used(2);
    let story = two_holders.rotated_for(3, &[1]).activated(3, &[1]).at(hour(1)).used(2);
    let story = story.at(hour(30)).proven_quiet(1, 29, 30);
    assert_eq!(waits(&story, 1), Waiting::Successor);
    story.used(3).when(retire_due(1)).then("retire v1: quiet, v3 in use");
}

#[test]
fn a_key_that_was_rolled_back_before_is_no_successor() {
    let back_on_v1 = rotation().used(2).at(hour(2)).when_back_to(3).then("back: v1 active, v2 retiring");
    let story = back_on_v1.used(1).at(hour(3)).rotated(3).activated(3, &[1]);
    let story = story.at(hour(40)).proven_quiet(1, 39, 40);
    assert_eq!(waits(&story, 1), Waiting::Successor);
    story.used(3).when(retire_due(1)).then("retire v1: quiet, v3 in use");
}

#[test]
fn the_successor_of_a_successor_counts() {
    let chain = given().handed_out(1).rotated_for(2, &[1]).activated(2, &[1]);
    let chain = chain.rotated_for(3, &[2]).activated(3, &[2]).at(hour(1)).used(3);
    chain.at(hour(30)).proven_quiet(1, 29, 30).when(retire_due(1)).then("retire v1: quiet, v3 in use");
}

#[test]
fn a_successor_that_is_itself_superseded_counts_while_it_is_accepted() {
    let story = in_use().rotated(3).activated(3, &[2]).at(hour(31)).proven_quiet(1, 30, 31);
    story.when(retire_due(1)).then("retire v1: quiet, v2 in use");
}

#[test]
fn nothing_is_due_before_overlap_min() {
    let story = rotation().used(2).at(hour(23)).proven_quiet(1, 22, 23);
    assert_eq!(waits(&story, 1), Waiting::OverlapMin { until: hour(24) });
    story.when(retire_due(1)).rejected("not_due");
}

#[test]
fn without_a_proof_it_waits_for_one() {
    let story = in_use();
    assert_eq!(waits(&story, 1), Waiting::Quiet { last_use: Some(hour(0)) });
    assert_eq!(wants_quiet_proof(&story.state, story.now), [(Version(1), Span::hours(1))]);
}

#[test]
fn no_proof_is_asked_for_while_something_else_is_missing() {
    let unseen = rotation().at(hour(30));
    assert_eq!(wants_quiet_proof(&unseen.state, unseen.now), []);
    let proven = in_use().proven_quiet(1, 29, 30);
    assert_eq!(wants_quiet_proof(&proven.state, proven.now), []);
}

#[test]
fn a_proof_must_cover_the_quiet_period() {
    let short = quiet_between(hour(29), At(hour(30).0 - 1));
    in_use().when(record(1, short)).then("v1 was quiet").when(retire_due(1)).rejected("not_due");
}

#[test]
fn a_proof_is_good_for_one_quiet_period_and_the_slack() {
    let proven = in_use().proven_quiet(1, 29, 30);
    let last = hour(31).after(PROOF_AGE_SLACK);
    proven.clone().at(last).when(retire_due(1)).then("retire v1: quiet, v2 in use");
    proven.at(last.after(Span(1))).when(retire_due(1)).rejected("not_due");
}

#[test]
fn a_later_use_voids_a_proof() {
    let used = in_use().proven_quiet(1, 29, 30).when(record(1, used_at(hour(30)))).then("v1 was used");
    assert_eq!(waits(&used, 1), Waiting::Quiet { last_use: Some(hour(30)) });
    used.proven_quiet(1, 30, 31).at(hour(31)).when(retire_due(1)).then("retire v1: quiet, v2 in use");
}

#[test]
fn a_proof_that_begins_before_a_known_use_is_void() {
    in_use()
        .at(hour(29))
        .used(1)
        .at(hour(30))
        .proven_quiet(1, 28, 30)
        .when(retire_due(1))
        .rejected("not_due");
}

#[test]
fn a_proof_from_before_the_overlap_is_forgotten() {
    let story = given().handed_out(1).proven_quiet(1, 0, 1).at(hour(1)).rotated(2).activated(2, &[1]);
    assert_eq!(story.key(1).quiet, None);
}

#[test]
fn at_the_deadline_an_unsuperseded_or_busy_version_is_held() {
    let held = under_deadline(OnOverlapMax::Hold).at(hour(49)).proven_quiet(1, 48, 49);
    assert_eq!(waits(&held, 1), Waiting::Successor);
    let busy = under_deadline(OnOverlapMax::Hold).used(2).at(hour(49)).used(1);
    assert_eq!(waits(&busy, 1), Waiting::Quiet { last_use: Some(hour(49)) });
    assert_eq!(next(&busy.state, busy.now), None);
}

#[test]
fn on_overlap_max_retire_is_the_one_exception() {
    let busy = under_deadline(OnOverlapMax::Retire).at(hour(47)).used(1);
    busy.clone().when(retire_due(1)).rejected("not_due");
    busy.at(hour(48))
        .when(retire_due(1))
        .then("retire v1: deadline")
        .stands("v1 retired (superseded), v2 active");
}

#[test]
fn a_key_past_its_own_end_is_due_active_or_not() {
    let sole = given().expiring(hour(5)).handed_out(1);
    sole.clone().when(retire_due(1)).rejected("not_due");
    sole.at(hour(5)).when(retire_due(1)).then("retire v1: expired").stands("v1 retired (expired)");
    let story = given().expiring(hour(5)).handed_out(1).rotated(2).activated(2, &[1]).at(hour(5));
    story.when(retire_due(1)).then("retire v1: expired");
}

#[test]
fn nothing_is_due_of_what_is_not_superseded_or_has_ended() {
    let story = in_use().proven_quiet(2, 29, 30);
    assert_eq!(waits(&story, 2), Waiting::NotRetiring);
    assert_eq!(waits(&story, 9), Waiting::NotRetiring);
    let ended = in_use().proven_quiet(1, 29, 30).ended(1, Cause::Requested);
    assert_eq!(waits(&ended, 1), Waiting::NotRetiring);
    assert_eq!(next(&ended.state, ended.now), None);
}

#[test]
fn the_log_does_not_grow_with_uses_that_it_knows() {
    given().handed_out(1).used(1).when(record(1, used_at(hour(0)))).already_so();
    given().handed_out(1).when(record(1, keywheel_domain::event::Use::default())).already_so();
    let later = given().handed_out(1).used(1).when(record(1, used_at(hour(2)))).then("v1 was used");
    let seen = later.key(1).seen.expect("it was seen");
    assert_eq!((seen.first, seen.last), (hour(0), hour(2)));
}
