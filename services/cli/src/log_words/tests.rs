//! Every kind of event has its sentence.

use super::*;
use expect_test::expect;
use keywheel_domain::event::{
    Barrier, CommandId, EventId, OverBasis, PassedOver, QuietProof, RotationId, Use,
};
use keywheel_domain::key::Overlap;
use keywheel_domain::{
    Actor, Address, At, Digest, EdgeId, Event, KeySpec, Kid, KeyringId, Policy, Span,
};

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
    let overlap = Overlap {
        since: AT,
        not_before: AT,
        deadline: AT,
        retire_at_deadline: false,
        quiet: Span(0),
    };
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
    expect![[r#""#]].assert_eq(&told(facts));
}
