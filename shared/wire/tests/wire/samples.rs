//! The events that are kept as golden samples: one or more of each type, every field set somewhere.

use keywheel_domain::event::{
    Activated, Barrier, CommandId, CoverBasis, Covered, Ended, EventId, Evidence, IssueReason, Issued,
    OverBasis, PassedOver, QuietProof, Restored, RotationId, Use, Used,
};
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::policy::{AutoRollback, Class, OnOverlapMax, Policy, PolicyPatch};
use keywheel_domain::signer::{Introduced, Withdrawn};
use keywheel_domain::{
    Actor, Address, At, Digest, EdgeId, Event, Fact, KeySpec, KeyState, KeyringId, Kid, Service, SignerKey,
    Span, Tenant, Version,
};
use keywheel_wire::event::Link;
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::Installation;
use keywheel_wire::warrant;
use nkeys::{KeyPair, KeyPairType};

/// 2026-01-31T12:00:00.123Z.
pub const NOON: At = At(1_769_860_800_123);
pub const RECIPIENT: &str = "XBL5WSZVT4R24XQUNZHCKEQFM4CHEJIGGSGBKDAUOU6QZEZ5ATKCD722";

fn later(hours: u64) -> At {
    NOON.after(Span::hours(hours))
}

pub fn edge(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

fn keyring() -> Address {
    Address::Keyring(KeyringId::parse("acme/billing").unwrap())
}

fn event(n: u128, address: Address, fact: Fact) -> Event {
    Event {
        id: EventId(0x1111_1111_1111_4111_8111_1111_1111_1100 + n),
        address,
        at: NOON,
        actor: Actor::parse("Dana Ops <dana@example.com>").unwrap(),
        command: CommandId(0x2222_2222_2222_4222_8222_2222_2222_2200 + n),
        rotation: Some(RotationId(0x3333_3333_3333_4333_8333_3333_3333_3300)),
        fact,
    }
}

/// The installation of the samples.
pub const OURS: Installation = Installation(0x0b5e_55ed_0000_4000_8000_0000_0000_0001);

/// Every sample with its name and its place in its keyring.
pub fn events() -> Vec<(&'static str, Event, Link)> {
    let roster = |n, fact| Event { rotation: None, ..event(n, Address::Installation, fact) };
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    let first = Link { revision: 1, prev: None };
    let next = |revision| Link { revision, prev: Some([0xab; 32]) };
    vec![
        ("KeyIssued", event(1, keyring(), rotated()), next(7)),
        ("KeyIssued-imported", Event { rotation: None, ..event(2, keyring(), imported()) }, first),
        ("KeyActivated", event(3, keyring(), activated(None)), next(8)),
        ("KeyActivated-by_hand", event(4, keyring(), activated(Some("edge-b is gone"))), next(8)),
        ("KeySeen", event(5, keyring(), seen(None)), next(9)),
        ("KeySeen-quiet", event(6, keyring(), seen(Some(quiet_proof()))), next(10)),
        ("KeyRetired", event(7, keyring(), quiet()), next(11)),
        ("KeyRetired-deadline", event(8, keyring(), at_deadline()), next(11)),
        ("KeyRetired-expired", event(9, keyring(), expired()), next(11)),
        ("KeyRetired-revoked", event(10, keyring(), revoked()), next(12)),
        ("RolledBack", event(11, keyring(), rolled_back()), next(13)),
        (
            "PolicySet",
            Event { rotation: None, ..event(12, tenant.clone(), Fact::PolicySet(patch())) },
            next(2),
        ),
        (
            "PolicySet-auto_rollback",
            Event { rotation: None, ..event(15, tenant, Fact::PolicySet(undoing())) },
            next(3),
        ),
        ("EdgeAdded", roster(13, Fact::EdgeAdded(edge("edge-a"))), first),
        ("EdgeRemoved", roster(14, Fact::EdgeRemoved(edge("edge-a"))), next(2)),
        ("SignerAdded", roster(16, Fact::SignerAdded(added())), next(3)),
        ("SignerWithdrawn", roster(17, Fact::SignerWithdrawn(withdrawn())), next(4)),
    ]
}

/// A signing key that is the same each time.
pub fn key(n: u8) -> Signer {
    let pair = KeyPair::new_from_raw(KeyPairType::User, [n; 32]).unwrap();
    Signer::from_seed(&pair.seed().unwrap()).unwrap()
}

pub fn public(n: u8) -> SignerKey {
    SignerKey::parse(key(n).public()).unwrap()
}

/// The number of the samples' root.
pub const ROOT: u8 = 99;

pub fn added() -> Introduced {
    warrant::add(&key(ROOT), OURS, &public(5), Service::Issuer).unwrap()
}

pub fn withdrawn() -> Withdrawn {
    warrant::withdraw(&key(ROOT), OURS, &public(1), "its seed was in a backup that left the house").unwrap()
}

fn rotated() -> Fact {
    let policy = Policy::default().overlaid(&patch());
    Fact::KeyIssued(Issued {
        version: Version(3),
        kid: Kid::parse("0aZ9kidkid").unwrap(),
        digest: Digest([0x5a; 32]),
        spec: KeySpec {
            scopes: vec!["invoices:read".into(), "invoices:write".into()],
            cidrs: vec!["10.0.0.0/8".into(), "2001:db8::/32".into()],
            expires_at: Some(later(24 * 90)),
            meta: [("team".to_owned(), "payments ⚙".to_owned())].into(),
        },
        origin: Origin::Minted,
        reason: IssueReason::Rotate { supersedes: vec![Version(1)] },
        policy,
        cancels: vec![Version(2)],
    })
}

fn imported() -> Fact {
    Fact::KeyIssued(Issued {
        version: Version(1),
        kid: Kid::parse("imported01").unwrap(),
        digest: Digest([0; 32]),
        spec: KeySpec::default(),
        origin: Origin::Imported,
        reason: IssueReason::Issue,
        policy: Policy::default(),
        cancels: vec![],
    })
}

fn activated(by_hand: Option<&str>) -> Fact {
    Fact::KeyActivated(Activated {
        version: Version(3),
        supersedes: vec![Version(1)],
        barrier: Barrier {
            position: 4711,
            edges: vec![edge("edge-a")],
            passed_over: vec![
                PassedOver { edge: edge("edge-b"), basis: OverBasis::Silent },
                PassedOver { edge: edge("edge-c"), basis: OverBasis::LeaseWaited },
            ],
            by_hand: by_hand.map(str::to_owned),
        },
    })
}

fn seen(quiet: Option<QuietProof>) -> Fact {
    let seen = Use { first_use: Some(NOON), last_use: Some(later(2)), uses: 12_345, quiet };
    Fact::KeySeen(Used { version: Version(1), seen })
}

fn quiet_proof() -> QuietProof {
    let covered = |name, basis| Covered { edge: edge(name), from: later(3), through: later(4), basis };
    QuietProof {
        from: later(3),
        complete_through: later(4),
        edges: vec![covered("edge-a", CoverBasis::Reported), covered("edge-b", CoverBasis::PastHorizon)],
    }
}

fn ended(cause: Cause, reason: Option<&str>, evidence: Option<Evidence>) -> Fact {
    let also = vec![Version(2)];
    Fact::KeyRetired(Ended { version: Version(3), also, cause, reason: reason.map(str::to_owned), evidence })
}

fn quiet() -> Fact {
    let evidence = Evidence::Quiet { from: later(3), through: later(4), successor: Version(4) };
    ended(Cause::Superseded, None, Some(evidence))
}

fn at_deadline() -> Fact {
    ended(Cause::Superseded, None, Some(Evidence::Deadline { deadline: later(720) }))
}

fn expired() -> Fact {
    ended(Cause::Expired, None, Some(Evidence::Expired { expires_at: later(24) }))
}

fn revoked() -> Fact {
    ended(Cause::Revoked, Some("found in a public repository"), None)
}

fn rolled_back() -> Fact {
    let overlap = Overlap {
        since: NOON,
        not_before: later(24),
        deadline: later(720),
        retire_at_deadline: true,
        quiet: Span::hours(1),
    };
    Fact::RolledBack(Restored {
        to_seq: 4000,
        restored: vec![Version(1)],
        withdrawn: vec![
            (Version(2), KeyState::Retired { at: NOON, cause: Cause::Cancelled }),
            (Version(3), KeyState::Retiring(overlap)),
            (Version(4), KeyState::Revoked { at: NOON, reason: "rolled back".into() }),
        ],
    })
}

/// Every field is set that there was at first, none to its default.
pub fn patch() -> PolicyPatch {
    PolicyPatch {
        overlap_min: Some(Span::secs(90)),
        overlap_max: Some(Span::days(7)),
        on_overlap_max: Some(OnOverlapMax::Retire),
        quiet: Some(Span::secs(1800)),
        class: Some(Class::Strict),
        stale_max: Some(Span::hours(2)),
        max_active: Some(3),
        every: Some(Some(Span::days(30))),
        jitter: Some(Span(250)),
        recipient: Some(Some(RECIPIENT.to_owned())),
        delivery_kept: Some(Span::days(1)),
        auto_rollback: None,
    }
}

/// A patch under which rotations are undone by themselves.
pub fn undoing() -> PolicyPatch {
    let auto = AutoRollback { refused_permille: 50, min_refused: 10, window: Span::hours(2) };
    PolicyPatch { auto_rollback: Some(Some(auto)), ..PolicyPatch::NONE }
}
