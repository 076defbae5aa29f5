//! Each state that a version can be in, with the keyring around it. In each, position 2 is the moment
//! at which v1 was active alone, where there was one. It is hour 91.

use crate::scene::{Story, given, hour};
use keywheel_domain::key::Cause;
use keywheel_domain::policy::OnOverlapMax;
use keywheel_domain::{KeyState, Policy, Span, Version};

pub struct Situation {
    pub name: &'static str,
    pub version: u32,
    pub story: Story,
}

pub fn situations() -> Vec<Situation> {
    let all = [pending(), active(), retiring(), retired(), ended_otherwise()];
    all.into_iter().flatten().map(|(name, version, story)| Situation { name, version, story }).collect()
}

type Row = (&'static str, u32, Story);

fn now(story: Story) -> Story {
    story.at(hour(91))
}

/// v1 in use, then v2 in its place.
fn rotated() -> Story {
    given().handed_out(1).used(1).rotated(2).activated(2, &[1])
}

fn both_used() -> Story {
    rotated().at(hour(1)).used(2)
}

fn with_deadline(on_overlap_max: OnOverlapMax) -> Story {
    let policy = Policy { overlap_max: Span::hours(72), on_overlap_max, ..Policy::default() };
    let story = given().under(policy).handed_out(1).used(1).rotated(2).activated(2, &[1]).used(2);
    story.at(hour(91)).used(1)
}

fn rolled_back() -> Story {
    let overlap = match rotated().key(1).state {
        KeyState::Retiring(overlap) => overlap,
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => {
            unreachable!("v1 was superseded")
        }
    };
    both_used().rolled_back(&[1], vec![(Version(2), KeyState::Retiring(overlap))])
}

fn pending() -> Vec<Row> {
    vec![
        ("unknown, no key at all", 1, now(given())),
        ("unknown, beside an active one", 9, now(given().handed_out(1))),
        ("issued, the first", 1, now(given().issued(1))),
        ("issued, to supersede v1", 2, now(given().handed_out(1).used(1).rotated(2))),
        ("issued, additional", 2, now(given().handed_out(1).used(1).issued(2))),
        ("issued, past its end", 1, now(given().expiring(hour(9)).issued(1))),
    ]
}

fn active() -> Vec<Row> {
    vec![
        ("active, the only one", 1, now(given().handed_out(1).used(1))),
        ("active, never seen", 1, now(given().handed_out(1))),
        ("active, beside another", 1, now(given().handed_out(1).handed_out(2))),
        ("active, a newer one pending", 1, now(given().handed_out(1).used(1).rotated(2))),
        ("active, an older one retiring", 2, now(both_used())),
        ("active, past its end", 1, now(given().expiring(hour(9)).handed_out(1))),
        ("active, back by a rollback", 1, now(rolled_back())),
    ]
}

fn retiring() -> Vec<Row> {
    let expired = given().expiring(hour(9)).handed_out(1).used(1).expiring(hour(999)).rotated(2);
    vec![
        ("retiring, before overlap_min", 1, both_used().at(hour(23))),
        ("retiring, successor not seen", 1, now(rotated())),
        ("retiring, not proven quiet", 1, now(both_used())),
        ("retiring, proven quiet", 1, now(both_used()).proven_quiet(1, 90, 91)),
        ("retiring, late, hold", 1, with_deadline(OnOverlapMax::Hold)),
        ("retiring, late, retire", 1, with_deadline(OnOverlapMax::Retire)),
        ("retiring, past its end", 1, now(expired.activated(2, &[1]))),
        ("retiring, by a rollback", 2, now(rolled_back())),
    ]
}

fn retired() -> Vec<Row> {
    let by = |cause| now(both_used().ended(1, cause));
    vec![
        ("retired, superseded", 1, by(Cause::Superseded)),
        ("retired, requested", 1, by(Cause::Requested)),
        (
            "retired, requested, never seen",
            1,
            now(given().handed_out(1).handed_out(2).ended(1, Cause::Requested)),
        ),
        ("retired, expired", 1, by(Cause::Expired)),
        ("retired, cancelled", 2, now(given().handed_out(1).rotated(2).ended(2, Cause::Cancelled))),
        ("retired, rolled back", 2, now(both_used().rolled_back(&[1], vec![]).ended(2, Cause::RolledBack))),
        ("retired, the newer one", 2, now(both_used().ended(2, Cause::Requested))),
    ]
}

fn ended_otherwise() -> Vec<Row> {
    vec![
        ("revoked, the only one", 1, now(given().handed_out(1).revoked(1))),
        ("revoked, the older one", 1, now(both_used().revoked(1))),
        ("revoked, the newer one", 2, now(both_used().revoked(2))),
    ]
}
