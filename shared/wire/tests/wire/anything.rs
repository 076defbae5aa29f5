//! Arbitrary domain values, as far as they can be written at all.

use keywheel_domain::event::{
    Activated, Barrier, CommandId, CoverBasis, Covered, Ended, EventId, Evidence, IssueReason, Issued,
    OverBasis, PassedOver, QuietProof, Restored, RotationId, Use, Used,
};
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::policy::{AutoRollback, Class, OnOverlapMax, Policy, PolicyPatch};
use keywheel_domain::{
    Actor, Address, At, Client, Digest, EdgeId, Event, Fact, KeySpec, KeyState, KeyringId, Kid, Span, Tenant,
    Version,
};
use keywheel_wire::event::Link;
use keywheel_wire::text::LAST_MOMENT;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::{BoxedStrategy, Just, Strategy, any, prop_oneof};

const NAME: &str = "[a-z0-9][a-z0-9_-]{0,62}";

pub fn moment() -> impl Strategy<Value = At> + Clone {
    prop_oneof![Just(At(0)), Just(LAST_MOMENT), (0..LAST_MOMENT.0).prop_map(At)]
}

pub fn span() -> impl Strategy<Value = Span> + Clone {
    prop_oneof![
        Just(Span(0)),
        Just(Span(u64::MAX)),
        (0..10_000_u64).prop_map(Span::secs),
        any::<u64>().prop_map(Span),
    ]
}

pub fn tenant() -> impl Strategy<Value = Tenant> {
    NAME.prop_map(|name| Tenant::parse(&name).unwrap())
}

pub fn keyring() -> impl Strategy<Value = KeyringId> {
    let client = NAME.prop_map(|name| Client::parse(&name).unwrap());
    (tenant(), client).prop_map(|(tenant, client)| KeyringId { tenant, client })
}

pub fn edge() -> impl Strategy<Value = EdgeId> {
    NAME.prop_map(|name| EdgeId::parse(&name).unwrap())
}

pub fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        keyring().prop_map(Address::Keyring),
        tenant().prop_map(Address::Tenant),
        Just(Address::Installation)
    ]
}

pub fn kid() -> impl Strategy<Value = Kid> {
    "[0-9A-Za-z]{10}".prop_map(|kid| Kid::parse(&kid).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    any::<u32>().prop_map(Version)
}

fn versions() -> impl Strategy<Value = Vec<Version>> {
    vec(version(), 0..4)
}

fn spec() -> BoxedStrategy<KeySpec> {
    let meta = btree_map(any::<String>(), any::<String>(), 0..3);
    (vec(any::<String>(), 0..3), vec(any::<String>(), 0..3), option::of(moment()), meta)
        .prop_map(|(scopes, cidrs, expires_at, meta)| KeySpec { scopes, cidrs, expires_at, meta })
        .boxed()
}

/// Of the optional fields none is set to nothing: no command can do that (it clears instead).
pub fn patch() -> BoxedStrategy<PolicyPatch> {
    let length = || option::of(span());
    let lengths = (length(), length(), length(), length(), length(), length(), length());
    let hold = option::of(prop_oneof![Just(OnOverlapMax::Hold), Just(OnOverlapMax::Retire)]);
    let class = option::of(prop_oneof![Just(Class::Available), Just(Class::Strict)]);
    let auto = (0..=1000_u32, any::<u64>(), span()).prop_map(|(refused_permille, min_refused, window)| {
        AutoRollback { refused_permille, min_refused, window }
    });
    (lengths, hold, class, option::of(any::<u32>()), option::of(any::<String>()), option::of(auto))
        .prop_map(|(lengths, on_overlap_max, class, max_active, recipient, auto)| PolicyPatch {
            overlap_min: lengths.0,
            overlap_max: lengths.1,
            on_overlap_max,
            quiet: lengths.2,
            class,
            stale_max: lengths.3,
            max_active,
            every: lengths.4.map(Some),
            jitter: lengths.5,
            recipient: recipient.map(Some),
            delivery_kept: lengths.6,
            auto_rollback: auto.map(Some),
        })
        .boxed()
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Superseded),
        Just(Cause::Requested),
        Just(Cause::Revoked),
        Just(Cause::Expired),
        Just(Cause::Cancelled),
        Just(Cause::RolledBack),
    ]
}

pub fn key_state() -> BoxedStrategy<KeyState> {
    let overlap = (moment(), moment(), moment(), any::<bool>(), span()).prop_map(
        |(since, not_before, deadline, retire_at_deadline, quiet)| Overlap {
            since,
            not_before,
            deadline,
            retire_at_deadline,
            quiet,
        },
    );
    prop_oneof![
        Just(KeyState::Issued),
        Just(KeyState::Active),
        overlap.prop_map(KeyState::Retiring),
        (moment(), cause()).prop_map(|(at, cause)| KeyState::Retired { at, cause }),
        (moment(), any::<String>()).prop_map(|(at, reason)| KeyState::Revoked { at, reason }),
    ]
    .boxed()
}

fn issued() -> BoxedStrategy<Issued> {
    let reason = prop_oneof![
        Just(IssueReason::Issue),
        versions().prop_map(|supersedes| IssueReason::Rotate { supersedes })
    ];
    let origin = prop_oneof![Just(Origin::Minted), Just(Origin::Imported)];
    let policy = patch().prop_map(|patch| Policy::default().overlaid(&patch));
    (version(), kid(), any::<[u8; 32]>(), spec(), origin, reason, policy, versions())
        .prop_map(|(version, kid, digest, spec, origin, reason, policy, cancels)| Issued {
            version,
            kid,
            digest: Digest(digest),
            spec,
            origin,
            reason,
            policy,
            cancels,
        })
        .boxed()
}

fn activated() -> BoxedStrategy<Activated> {
    let basis = prop_oneof![Just(OverBasis::Silent), Just(OverBasis::LeaseWaited)];
    let passed_over = (edge(), basis).prop_map(|(edge, basis)| PassedOver { edge, basis });
    let barrier =
        (any::<u64>(), vec(edge(), 0..4), vec(passed_over, 0..3), option::of(any::<String>())).prop_map(
            |(position, edges, passed_over, by_hand)| Barrier { position, edges, passed_over, by_hand },
        );
    (version(), versions(), barrier)
        .prop_map(|(version, supersedes, barrier)| Activated { version, supersedes, barrier })
        .boxed()
}

fn used() -> BoxedStrategy<Used> {
    let basis = prop_oneof![Just(CoverBasis::Reported), Just(CoverBasis::PastHorizon)];
    let covered = (edge(), moment(), moment(), basis).prop_map(|(edge, from, through, basis)| Covered {
        edge,
        from,
        through,
        basis,
    });
    let quiet = (moment(), moment(), vec(covered, 0..4))
        .prop_map(|(from, complete_through, edges)| QuietProof { from, complete_through, edges });
    (version(), option::of(moment()), option::of(moment()), any::<u64>(), option::of(quiet))
        .prop_map(|(version, first_use, last_use, uses, quiet)| Used {
            version,
            seen: Use { first_use, last_use, uses, quiet },
        })
        .boxed()
}

fn ended() -> BoxedStrategy<Ended> {
    let quiet = (moment(), moment(), version()).prop_map(|(from, through, successor)| Evidence::Quiet {
        from,
        through,
        successor,
    });
    let evidence = prop_oneof![
        quiet,
        moment().prop_map(|deadline| Evidence::Deadline { deadline }),
        moment().prop_map(|expires_at| Evidence::Expired { expires_at }),
    ];
    (version(), versions(), cause(), option::of(any::<String>()), option::of(evidence))
        .prop_map(|(version, also, cause, reason, evidence)| Ended { version, also, cause, reason, evidence })
        .boxed()
}

fn restored() -> BoxedStrategy<Restored> {
    (any::<u64>(), versions(), vec((version(), key_state()), 0..4))
        .prop_map(|(to_seq, restored, withdrawn)| Restored { to_seq, restored, withdrawn })
        .boxed()
}

fn fact() -> BoxedStrategy<Fact> {
    prop_oneof![
        issued().prop_map(Fact::KeyIssued),
        activated().prop_map(Fact::KeyActivated),
        used().prop_map(Fact::KeySeen),
        ended().prop_map(Fact::KeyRetired),
        restored().prop_map(Fact::RolledBack),
        patch().prop_map(Fact::PolicySet),
        edge().prop_map(Fact::EdgeAdded),
        edge().prop_map(Fact::EdgeRemoved),
    ]
    .boxed()
}

pub fn event() -> BoxedStrategy<Event> {
    let actor = "[^\\p{C}\\p{Zl}\\p{Zp}]{1,40}".prop_map(|text| Actor::parse(&text).unwrap());
    let ids = (any::<u128>(), any::<u128>(), option::of(any::<u128>()));
    (ids, address(), moment(), actor, fact())
        .prop_map(|((id, command, rotation), address, at, actor, fact)| Event {
            id: EventId(id),
            address,
            at,
            actor,
            command: CommandId(command),
            rotation: rotation.map(RotationId),
            fact,
        })
        .boxed()
}

pub fn link() -> impl Strategy<Value = Link> {
    (any::<u64>(), option::of(any::<[u8; 32]>())).prop_map(|(revision, prev)| Link { revision, prev })
}
