//! How long things last: what is set, what it falls back to, what contradicts itself; and the roster.
#![allow(clippy::unwrap_used)]

use crate::scene::{given, keyring_address};
use keywheel_domain::event::{Event, Recorded};
use keywheel_domain::policy::{Change, Class, PolicyChange};
use keywheel_domain::{
    Act, Address, Command, EdgeId, Policy, PolicyPatch, Rejection, Span, State, Tenant, decide, evolve,
};

fn set(change: PolicyChange) -> Act {
    Act::SetPolicy { change, beneath: Policy::default() }
}

fn quiet(change: Change<Span>) -> PolicyChange {
    PolicyChange { quiet: change, ..PolicyChange::default() }
}

fn ask(state: &State, address: Address, act: Act) -> Result<Option<Event>, Rejection> {
    let mut command: Command = given().command(act);
    command.id.0 += u128::from(state.revision);
    command.address = address;
    decide(state, &command)
}

fn after(state: State, address: Address, act: Act) -> State {
    let event = ask(&state, address, act).unwrap().unwrap();
    let seq = state.revision + 1;
    evolve(state, &Recorded { seq, event })
}

#[test]
fn what_is_not_set_falls_back_to_the_tenant_and_then_to_the_built_in() {
    let tenant = PolicyPatch {
        quiet: Some(Span::hours(2)),
        stale_max: Some(Span::hours(3)),
        ..PolicyPatch::default()
    };
    let keyring = PolicyPatch { quiet: Some(Span::hours(9)), ..PolicyPatch::default() };
    let policy = Policy::default().overlaid(&tenant).overlaid(&keyring);
    assert_eq!(policy.quiet, Span::hours(9));
    assert_eq!(policy.stale_max, Span::hours(3));
    assert_eq!(policy.overlap_min, Policy::default().overlap_min);
}

#[test]
fn a_change_sets_keeps_and_clears() {
    let story = given().when(set(quiet(Change::Set(Span::hours(2))))).then("set policy");
    let both = PolicyChange { max_active: Change::Set(3), ..PolicyChange::default() };
    let story = story.when(set(both)).then("set policy");
    assert_eq!((story.state.policy.quiet, story.state.policy.max_active), (Some(Span::hours(2)), Some(3)));
    let story = story.when(set(quiet(Change::Clear))).then("set policy");
    assert_eq!((story.state.policy.quiet, story.state.policy.max_active), (None, Some(3)));
}

#[test]
fn a_change_that_changes_nothing_is_already_so() {
    given().when(set(PolicyChange::default())).already_so();
    given().when(set(quiet(Change::Clear))).already_so();
    let same = || set(quiet(Change::Set(Span::hours(2))));
    given().when(same()).then("set policy").when(same()).already_so();
}

#[test]
fn a_policy_that_contradicts_itself_is_refused() {
    let min_over_max = PolicyChange {
        overlap_min: Change::Set(Span::hours(2)),
        overlap_max: Change::Set(Span::hours(1)),
        ..PolicyChange::default()
    };
    given().when(set(min_over_max)).rejected("contradictory_policy");
    let none_active = PolicyChange { max_active: Change::Set(0), ..PolicyChange::default() };
    given().when(set(none_active)).rejected("contradictory_policy");
}

#[test]
fn a_schedule_that_cannot_work_is_refused_where_it_is_set() {
    let all = |every, jitter, overlap_min, quiet| PolicyChange {
        every: Change::Set(Some(every)),
        jitter: Change::Set(jitter),
        overlap_min: Change::Set(overlap_min),
        quiet: Change::Set(quiet),
        ..PolicyChange::default()
    };
    let (none, minute, hour) = (Span(0), Span::secs(60), Span::hours(1));
    let refused = |change: PolicyChange, field: &str| {
        let Err(rejection) = ask(&State::default(), keyring_address(), set(change)) else {
            panic!("{field}")
        };
        assert_eq!(rejection.code(), "contradictory_policy");
        assert!(rejection.to_string().starts_with(field), "{rejection}");
    };
    refused(all(Span(999), none, none, none), "every is shorter than 1s");
    refused(all(minute, minute, none, none), "jitter must be shorter than every");
    refused(all(minute, none, hour, none), "every is shorter than overlap_min");
    refused(all(minute, none, none, hour), "every is shorter than quiet");
    for fits in [all(minute, Span(59_999), minute, minute), all(Span::secs(1), none, none, none)] {
        given().when(set(fits)).then("set policy");
    }
    // Never is no schedule, whatever else is set.
    given().when(set(all(none, hour, hour, hour))).then("set policy");
}

#[test]
fn a_schedule_is_judged_with_what_holds_beneath_it() {
    let every = |days| PolicyChange { every: Change::Set(Some(Span::days(days))), ..PolicyChange::default() };
    let under = |beneath: &Policy, change| Act::SetPolicy { change, beneath: beneath.clone() };
    let slow = Policy { overlap_min: Span::days(40), ..Policy::default() };
    given().when(under(&slow, every(30))).rejected("contradictory_policy");
    given().when(under(&Policy::default(), every(30))).then("set policy");
    // What is wrong beneath does not stand in the way of other changes.
    let monthly = Policy { every: Some(Span::days(30)), ..slow };
    given().when(under(&monthly, quiet(Change::Set(Span::hours(2))))).rejected("contradictory_policy");
    let strict = PolicyChange { class: Change::Set(Class::Strict), ..PolicyChange::default() };
    given().when(under(&monthly, strict)).then("set policy");
}

#[test]
fn a_tenant_has_a_policy_too_and_the_installation_has_none() {
    let change = || set(quiet(Change::Set(Span::hours(2))));
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    let state = after(State::default(), tenant, change());
    assert_eq!(state.policy.quiet, Some(Span::hours(2)));
    let refused = ask(&State::default(), Address::Installation, change());
    assert_eq!(refused, Err(Rejection::WrongAddress));
}

#[test]
fn a_key_keeps_the_policy_that_it_was_rotated_under() {
    let soon = Policy { overlap_min: Span::hours(1), ..Policy::default() };
    let story = given().handed_out(1).under(soon).rotated(2).under(Policy::default());
    let replaces = story.key(2).replaces.clone().unwrap();
    assert_eq!(replaces.policy.overlap_min, Span::hours(1));
}

#[test]
fn an_edge_without_contact_may_serve_until_the_horizon() {
    let lease = Span::secs(15);
    let of = |class, stale_max| Policy { class, stale_max, ..Policy::default() }.horizon(lease);
    assert_eq!(of(Class::Strict, Span::hours(24)), lease);
    assert_eq!(of(Class::Available, Span::hours(24)), Span::hours(24));
    assert_eq!(of(Class::Available, Span::secs(1)), lease, "it serves for the lease in any case");
}

/// SAFETY 8: an edge that missed a stricter policy still serves by the older one.
#[test]
fn an_edge_that_missed_a_change_goes_by_the_longest_horizon_since() {
    let stale_max = |hours| PolicyChange { stale_max: Change::Set(Span::hours(hours)), ..Default::default() };
    let strict = PolicyChange { class: Change::Set(Class::Strict), ..Default::default() };
    let story = given().when(set(stale_max(3))).then("set policy").when(set(stale_max(5))).then("set policy");
    let story = story.when(set(strict)).then("set policy");
    let (lease, tenant) = (Span::secs(15), State::default());
    let horizons = [0, 1, 2, 3].map(|watermark| story.state.horizon_since(&tenant, watermark, lease));
    assert_eq!(horizons, [Span::hours(24), Span::hours(5), Span::hours(5), lease]);
}

#[test]
fn a_tenants_change_moves_the_horizon_too_where_the_keyring_sets_nothing() {
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    let longer = PolicyChange { stale_max: Change::Set(Span::hours(48)), ..Default::default() };
    let tenant = after(State::default(), tenant, set(longer));
    let horizon = |keyring: &State| keyring.horizon_since(&tenant, 0, Span::secs(15));
    assert_eq!(horizon(&State::default()), Span::hours(48));
    let own = PolicyChange { stale_max: Change::Set(Span::hours(1)), ..Default::default() };
    let keyring = given().when(set(own)).then("set policy").state;
    assert_eq!(horizon(&keyring), Span::hours(48), "at position 0 it had none of its own");
}

#[test]
fn the_roster_takes_an_edge_once_and_lets_it_go_once() {
    let edge = EdgeId::parse("edge-a").unwrap();
    let add = || Act::AddEdge { edge: edge.clone() };
    let remove = || Act::RemoveEdge { edge: edge.clone() };
    let empty = State::default();
    assert_eq!(ask(&empty, Address::Installation, remove()), Err(Rejection::UnknownEdge(edge.clone())));
    let listed = after(empty, Address::Installation, add());
    assert_eq!(listed.edges.get(&edge), Some(&1), "the position of its event");
    assert_eq!(ask(&listed, Address::Installation, add()), Ok(None));
    assert!(after(listed, Address::Installation, remove()).edges.is_empty());
}

#[test]
fn a_roster_is_no_keyrings_business() {
    let edge = EdgeId::parse("edge-a").unwrap();
    let refused = ask(&State::default(), keyring_address(), Act::AddEdge { edge });
    assert_eq!(refused, Err(Rejection::WrongAddress));
}
