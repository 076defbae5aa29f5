//! Every kind of event has its sentence.

use super::*;
use expect_test::expect;
use keywheel_domain::event::{
    Barrier, CommandId, EventId, OverBasis, PassedOver, QuietProof, RotationId, Use,
};
use keywheel_domain::key::Overlap;
use keywheel_domain::{Actor, Address, At, Digest, EdgeId, Event, KeySpec, KeyringId, Kid, Policy, Span};

const AT: At = At(1_800_000_000_000);

fn edge(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

fn told(facts: Vec<Fact>) -> String {
    let recorded = |(seq, fact): (u64, Fact)| Recorded {
        seq,
        event: Event {
            id: EventId(1),
            address: Address::Keyring(KeyringId::parse("acme/app").unwrap()),
            at: AT,
            actor: Actor::parse("alice").unwrap(),
            command: CommandId(1),
            rotation: Some(RotationId(1)),
            fact,
        },
    };
    (1..).zip(facts).map(|entry| line(&recorded(entry))).collect::<Vec<_>>().join("\n")
}

fn issued(reason: IssueReason) -> Fact {
    Fact::KeyIssued(Issued {
        version: Version(2),
        kid: Kid::parse("0123456789").unwrap(),
        digest: Digest([0; 32]),
        spec: KeySpec { scopes: vec!["a".to_owned(), "b".to_owned()], ..KeySpec::default() },
        origin: Origin::Minted,
        reason,
        policy: Policy::default(),
        cancels: vec![Version(1)],
    })
}

fn ended(cause: Cause, reason: Option<&str>, evidence: Option<Evidence>) -> Fact {
    let reason = reason.map(str::to_owned);
    Fact::KeyRetired(Ended { version: Version(2), also: vec![Version(1)], cause, reason, evidence })
}

fn seen() -> Fact {
    let covered = |name, basis| Covered { edge: edge(name), from: AT, through: AT, basis };
    let edges = vec![covered("edge-a", CoverBasis::Reported), covered("edge-b", CoverBasis::PastHorizon)];
    let quiet = QuietProof { from: AT, complete_through: AT.after(Span::hours(1)), edges };
    let seen = Use { first_use: Some(AT), last_use: Some(AT), uses: 3, quiet: Some(quiet) };
    Fact::KeySeen(Used { version: Version(1), seen })
}

fn activated() -> Fact {
    let barrier = Barrier {
        position: 41,
        edges: vec![edge("edge-a")],
        passed_over: vec![PassedOver { edge: edge("edge-b"), basis: OverBasis::Silent }],
        by_hand: None,
    };
    Fact::KeyActivated(Activated { version: Version(2), supersedes: vec![Version(1)], barrier })
}

fn rolled_back() -> Fact {
    let overlap =
        Overlap { since: AT, not_before: AT, deadline: AT, retire_at_deadline: false, quiet: Span(0) };
    let withdrawn = vec![(Version(2), KeyState::Retiring(overlap)), (Version(3), KeyState::Issued)];
    Fact::RolledBack(Restored { to_seq: 12, restored: vec![Version(1)], withdrawn })
}

#[test]
fn every_kind_of_event_is_told() {
    let quiet = Evidence::Quiet { from: AT, through: AT.after(Span::hours(1)), successor: Version(3) };
    let patch = PolicyPatch { quiet: Some(Span::hours(1)), max_active: Some(2), ..PolicyPatch::NONE };
    let facts = vec![
        issued(IssueReason::Rotate { supersedes: vec![Version(1)] }),
        activated(),
        seen(),
        ended(Cause::Superseded, None, Some(quiet)),
        ended(Cause::Superseded, None, Some(Evidence::Deadline { deadline: AT })),
        ended(Cause::Revoked, Some("leaked"), None),
        rolled_back(),
        Fact::PolicySet(patch),
        Fact::EdgeAdded(edge("edge-a")),
        Fact::EdgeRemoved(edge("edge-a")),
    ];
    expect![[r#"
        2027-01-15T08:00:00Z       1  acme/app  KeyIssued  v2 issued by a rotation, to supersede v1, kid 0123456789, scopes a b; cancels v1 (by alice)
        2027-01-15T08:00:00Z       2  acme/app  KeyActivated  v2 activated, position 41: applied on 1 edge (edge-a); edge-b was passed over: silent for a whole lease; supersedes v1 (by alice)
        2027-01-15T08:00:00Z       3  acme/app  KeySeen  v1 seen in use: 3 times, first 2027-01-15T08:00:00Z, last 2027-01-15T08:00:00Z; unused after 2027-01-15T08:00:00Z until 2027-01-15T09:00:00Z on every edge: edge-a reported and edge-b past its horizon (by alice)
        2027-01-15T08:00:00Z       4  acme/app  KeyRetired  v1 and v2 retired (superseded): unused after 2027-01-15T08:00:00Z until 2027-01-15T09:00:00Z on every edge, v3 in use (by alice)
        2027-01-15T08:00:00Z       5  acme/app  KeyRetired  v1 and v2 retired (superseded): its overlap_max ended 2027-01-15T08:00:00Z (by alice)
        2027-01-15T08:00:00Z       6  acme/app  KeyRetired  v1 and v2 revoked: leaked (by alice)
        2027-01-15T08:00:00Z       7  acme/app  RolledBack  rolled back to position 12: v1 active again, v2 retiring, until 2027-01-15T08:00:00Z at most, v3 issued (by alice)
        2027-01-15T08:00:00Z       8  acme/app  PolicySet  policy: max_active 2, quiet 1h (by alice)
        2027-01-15T08:00:00Z       9  acme/app  EdgeAdded  edge-a is on the roster (by alice)
        2027-01-15T08:00:00Z      10  acme/app  EdgeRemoved  edge-a is off the roster (by alice)"#]].assert_eq(&told(facts));
}
