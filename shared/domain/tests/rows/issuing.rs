//! New keys: versions, limits, what a rotation takes over, and which commands concern which address.
#![allow(clippy::unwrap_used)]

use crate::scene::acts::{
    activate, cancel, import, issue, minted, record, retire, retire_due, revoke, revoke_all, rotate, used_at,
};
use crate::scene::{Story, given, hour, rotation};
use keywheel_domain::command::SpecAsked;
use keywheel_domain::key::{Cause, Origin, Version};
use keywheel_domain::policy::PolicyChange;
use keywheel_domain::{Act, Address, EdgeId, Policy, Rejection, Span, Tenant, decide};
use std::collections::BTreeMap;

fn issue_with(n: u32, spec: SpecAsked, policy: Policy) -> Act {
    Act::Issue { minted: minted(n), spec, policy }
}

fn rotate_with(n: u32, spec: SpecAsked) -> Act {
    Act::Rotate { minted: minted(n), spec, supersedes: vec![], policy: Policy::default() }
}

fn asked() -> SpecAsked {
    SpecAsked {
        scopes: Some(vec!["write".to_owned(), "read".to_owned(), "read".to_owned()]),
        cidrs: Some(vec!["10.0.0.0/8".to_owned()]),
        expires_in: Some(Span::hours(10)),
        meta: Some(BTreeMap::from([("team".to_owned(), "billing".to_owned())])),
    }
}

fn issued_as_asked() -> Story {
    let act = issue_with(1, asked(), Policy::default());
    given().when(act).then("issue v1").when(activate(1)).then("activate v1")
}

#[test]
fn versions_count_up_from_one() {
    given().when(issue(7)).then("issue v1").when(issue(8)).then("issue v2").stands("v1 issued, v2 issued");
}

#[test]
fn a_number_is_never_given_twice() {
    given().issued(1).ended(1, Cause::Cancelled).when(issue(2)).then("issue v2");
    given().handed_out(1).revoked(1).when(issue(2)).then("issue v2");
}

#[test]
fn scopes_are_kept_sorted_and_none_twice() {
    assert_eq!(issued_as_asked().key(1).spec.scopes, ["read", "write"]);
}

#[test]
fn a_lifetime_ends_so_long_after_the_decision() {
    assert_eq!(issued_as_asked().key(1).spec.expires_at, Some(hour(10)));
}

#[test]
fn a_rotation_inherits_what_the_newest_key_permits() {
    let story = issued_as_asked().when(rotate(2)).then("issue v2 for all");
    assert_eq!(story.key(2).spec, story.key(1).spec);
}

#[test]
fn a_rotation_inherits_the_length_of_a_life_and_not_its_end() {
    let story = issued_as_asked().at(hour(4)).when(rotate(2)).then("issue v2 for all");
    assert_eq!(story.key(2).spec.expires_at, Some(hour(14)));
}

#[test]
fn a_rotation_takes_what_it_is_told_instead() {
    let told = SpecAsked {
        scopes: Some(vec![]),
        cidrs: Some(vec![]),
        expires_in: Some(Span::hours(1)),
        meta: Some(BTreeMap::new()),
    };
    let story = issued_as_asked().when(rotate_with(2, told)).then("issue v2 for all");
    let spec = &story.key(2).spec;
    assert!(spec.scopes.is_empty() && spec.cidrs.is_empty() && spec.meta.is_empty());
    assert_eq!(spec.expires_at, Some(hour(1)));
}

#[test]
fn a_rotation_inherits_from_the_newest_key_that_is_active_or_pending() {
    let story = issued_as_asked().handed_out(2).ended(2, Cause::Requested);
    let story = story.when(rotate(3)).then("issue v3 for all");
    assert_eq!(story.key(3).spec.scopes, ["read", "write"]);
}

#[test]
fn an_additional_key_inherits_nothing() {
    let story = issued_as_asked().when(issue(2)).then("issue v2");
    assert!(story.key(2).spec.scopes.is_empty());
}

#[test]
fn an_import_is_adopted_as_it_is_and_activated_like_any_other() {
    let story = given().when(import(1)).then("import v1");
    assert_eq!(story.key(1).origin, Origin::Imported);
    story.when(activate(1)).then("activate v1").when(rotate(2)).then("issue v2 for all");
}

#[test]
fn rotating_needs_a_key_that_is_accepted_or_pending() {
    given().when(rotate(1)).rejected("no_key");
    given().issued(1).when(rotate(2)).then("issue v2 for all, cancel v1");
    given().handed_out(1).ended(1, Cause::Requested).when(rotate(2)).rejected("nothing_to_rotate");
    given().handed_out(1).revoked(1).when(rotate(2)).rejected("nothing_to_rotate");
}

#[test]
fn a_key_whose_successor_was_revoked_can_be_rotated_again() {
    let story = rotation().revoked(2).when(rotate(3)).then("issue v3 for all").activated(3, &[]).used(3);
    story.at(hour(30)).proven_quiet(1, 29, 30).when(retire_due(1)).then("retire v1: quiet, v3 in use");
    let over = given().expiring(hour(1)).handed_out(1).rotated(2).activated(2, &[1]).revoked(2);
    over.at(hour(1)).when(rotate(3)).rejected("nothing_to_rotate");
}

#[test]
fn a_rotation_does_not_take_after_a_key_that_was_rolled_back() {
    let story =
        issued_as_asked().when(rotate_with(2, SpecAsked { scopes: Some(vec![]), ..SpecAsked::default() }));
    let story = story.then("issue v2 for all").activated(2, &[1]);
    let story = story.when_back_to(2).then("back: v1 active, v2 retiring").when(rotate(3));
    assert_eq!(story.then("issue v3 for all").key(3).spec.scopes, ["read", "write"]);
}

#[test]
fn a_kid_or_digest_is_in_a_keyring_once_even_after_its_end() {
    for act in [issue(1), rotate(1), import(1)] {
        given().handed_out(2).handed_out(1).when(act.clone()).rejected("kid_taken");
        given().handed_out(2).handed_out(1).revoked(1).when(act).rejected("kid_taken");
    }
    let mut same_digest = minted(2);
    same_digest.digest = minted(1).digest;
    let act = Act::Issue { minted: same_digest, spec: SpecAsked::default(), policy: Policy::default() };
    given().handed_out(1).revoked(1).when(act).rejected("digest_taken");
}

#[test]
fn max_active_counts_active_and_pending_keys() {
    let two = Policy { max_active: 2, ..Policy::default() };
    let asked = || issue_with(3, SpecAsked::default(), two.clone());
    given().handed_out(1).issued(2).when(asked()).rejected("too_many_active");
    given().handed_out(1).handed_out(2).revoked(2).when(asked()).then("issue v3");
    rotation().when(asked()).then("issue v3");
}

#[test]
fn max_active_does_not_stop_a_rotation() {
    let one = Policy { max_active: 1, ..Policy::default() };
    let act = Act::Rotate { minted: minted(2), spec: SpecAsked::default(), supersedes: vec![], policy: one };
    given().handed_out(1).when(act).then("issue v2 for all");
}

#[test]
fn edges_accept_at_most_64_versions_of_a_keyring() {
    let full = (1..=64).fold(given(), Story::handed_out);
    full.clone().when(rotate(65)).rejected("too_many_accepted");
    full.clone().when(import(65)).rejected("too_many_accepted");
    full.revoked(1).when(rotate(65)).then("issue v65 for all");
}

#[test]
fn a_command_has_no_second_effect() {
    let before = given().handed_out(1);
    let mut command = before.command(rotate(2));
    let after = before.when(rotate(2)).then("issue v2 for all");
    assert_eq!(decide(&after.state, &command), Ok(None));
    command.act = revoke(1);
    assert_eq!(decide(&after.state, &command), Ok(None), "the id alone tells");
}

#[test]
fn a_command_that_took_effect_is_known_with_what_it_made() {
    let before = given();
    let id = before.command(issue(1)).id;
    let done = before.when(issue(1)).then("issue v1").state.done.remove(&id).unwrap();
    assert_eq!((done.seq, done.version, done.kid), (1, Some(Version(1)), Some(minted(1).kid)));
}

#[test]
fn a_version_that_is_not_there_is_unknown_to_every_command() {
    for act in [activate(9), record(9, used_at(hour(0))), retire(9), cancel(9), revoke(9)] {
        given().handed_out(1).when(act).rejected("unknown_version");
    }
    given().when(revoke_all()).rejected("no_key");
}

#[test]
fn a_command_at_an_address_of_another_kind_is_refused() {
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    let story = given().handed_out(1);
    let refused = |address: &Address, act: Act| {
        let mut command = story.command(act);
        command.address = address.clone();
        assert_eq!(decide(&story.state, &command), Err(Rejection::WrongAddress), "{address}");
    };
    for act in [issue(2), rotate(2), import(2), activate(1), retire(1), revoke_all()] {
        refused(&tenant, act.clone());
        refused(&Address::Installation, act);
    }
    refused(
        &Address::Installation,
        Act::SetPolicy { change: PolicyChange::default(), beneath: Policy::default() },
    );
    let edge = EdgeId::parse("edge-a").unwrap();
    refused(&tenant, Act::AddEdge { edge: edge.clone() });
    refused(&tenant, Act::RemoveEdge { edge });
}
