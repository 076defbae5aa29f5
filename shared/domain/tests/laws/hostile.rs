//! Any events in any order, as no service would ever decide them: the fold stays total and revoked final.

use crate::asking::{Ask, ask};
use crate::scene::{Story, acts, by_hand, given, versions};
use crate::trial;
use keywheel_domain::event::{Activated, Ended, Fact, IssueReason, Issued, Restored, Used};
use keywheel_domain::key::{Cause, Digest, KeySpec, Origin, Overlap};
use keywheel_domain::policy::{Class, PolicyPatch};
use keywheel_domain::verdict::{Found, Freshness, Needs, Verdict, judge};
use keywheel_domain::{At, KeyState, Policy, Span, Version, decide, evolve, next, wants_quiet_proof};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::BTreeSet;

fn moment() -> impl Strategy<Value = At> {
    prop_oneof![Just(At(0)), Just(At(u64::MAX)), (0..1_000_u64).prop_map(At), any::<u64>().prop_map(At)]
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

fn state() -> impl Strategy<Value = KeyState> {
    let overlap = (moment(), moment(), moment(), any::<bool>(), any::<u64>()).prop_map(
        |(since, not_before, deadline, retire_at_deadline, quiet)| Overlap {
            since,
            not_before,
            deadline,
            retire_at_deadline,
            quiet: Span(quiet),
        },
    );
    prop_oneof![
        Just(KeyState::Issued),
        Just(KeyState::Active),
        overlap.prop_map(KeyState::Retiring),
        (moment(), cause()).prop_map(|(at, cause)| KeyState::Retired { at, cause }),
        moment().prop_map(|at| KeyState::Revoked { at, reason: String::new() }),
    ]
}

fn number() -> impl Strategy<Value = u32> {
    0..5_u32
}

fn issued() -> impl Strategy<Value = Fact> {
    let numbers = (number(), number(), number(), vec(number(), 0..3));
    (numbers, option::of(vec(number(), 0..3)), option::of(moment())).prop_map(
        |((version, kid, digest, cancels), supersedes, expires_at)| {
            Fact::KeyIssued(Issued {
                version: Version(version),
                kid: acts::minted(kid).kid,
                digest: acts::minted(digest).digest,
                spec: KeySpec { expires_at, ..KeySpec::default() },
                origin: Origin::Minted,
                reason: supersedes
                    .map_or(IssueReason::Issue, |of| IssueReason::Rotate { supersedes: versions(&of) }),
                policy: Policy::default(),
                cancels: versions(&cancels),
            })
        },
    )
}

fn activated() -> impl Strategy<Value = Fact> {
    (number(), vec(number(), 0..4)).prop_map(|(version, supersedes)| {
        let supersedes = versions(&supersedes);
        Fact::KeyActivated(Activated { version: Version(version), supersedes, barrier: by_hand() })
    })
}

fn seen() -> impl Strategy<Value = Fact> {
    let quiet = option::of((moment(), moment()));
    (number(), option::of(moment()), option::of(moment()), quiet).prop_map(
        |(version, first_use, last_use, quiet)| {
            let mut seen =
                quiet.map_or_else(Default::default, |(from, through)| acts::quiet_between(from, through));
            (seen.first_use, seen.last_use) = (first_use, last_use);
            Fact::KeySeen(Used { version: Version(version), seen })
        },
    )
}

fn ended() -> impl Strategy<Value = Fact> {
    (number(), vec(number(), 0..3), cause()).prop_map(|(version, also, cause)| {
        let also = versions(&also);
        Fact::KeyRetired(Ended { version: Version(version), also, cause, reason: None, evidence: None })
    })
}

fn rolled_back() -> impl Strategy<Value = Fact> {
    let withdrawn = vec((number().prop_map(Version), state()), 0..3);
    (any::<u64>(), vec(number(), 0..3), withdrawn).prop_map(|(to_seq, restored, withdrawn)| {
        Fact::RolledBack(Restored { to_seq, restored: versions(&restored), withdrawn })
    })
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        3 => issued(),
        3 => activated(),
        2 => seen(),
        2 => ended(),
        2 => rolled_back(),
        1 => Just(Fact::PolicySet(PolicyPatch::default())),
    ]
}

fn happened(facts: Vec<(Fact, At)>) -> Vec<Story> {
    let mut story = given();
    let mut stories = vec![];
    for (fact, at) in facts {
        story = story.at(at).happened(fact);
        stories.push(story.clone());
    }
    stories
}

fn is_valid_anywhere(state: &KeyState) -> bool {
    let spec = KeySpec::default();
    let found = Found::Key {
        state,
        scopes: &spec.scopes,
        expires_at: spec.expires_at,
        class: Class::Available,
        stale_max: Span(u64::MAX),
    };
    let needs = Needs { scopes: &[], address_allowed: true };
    let edges = [Freshness::NotServing, Freshness::Fresh, Freshness::Stale { age: Span(0) }];
    edges.into_iter().any(|freshness| judge(&found, &needs, freshness, At(0)) == Verdict::Valid)
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn no_events_bring_a_revoked_key_back(facts in vec((fact(), moment()), 0..60)) {
        let mut revoked: BTreeSet<Digest> = BTreeSet::new();
        for story in happened(facts) {
            for key in story.state.keys.values() {
                prop_assert!(!(revoked.contains(&key.digest) && is_valid_anywhere(&key.state)));
                if matches!(key.state, KeyState::Revoked { .. }) {
                    revoked.insert(key.digest);
                }
            }
        }
    }

    #[test]
    fn a_version_is_one_key_for_ever(facts in vec((fact(), moment()), 0..60)) {
        let mut before = given();
        for story in happened(facts) {
            prop_assert_eq!(story.state.revision, before.state.revision + 1);
            for (version, old) in &before.state.keys {
                let key = &story.state.keys[version];
                prop_assert_eq!((key.kid, key.digest, &key.spec), (old.kid, old.digest, &old.spec));
            }
            before = story;
        }
    }

    #[test]
    fn whatever_happened_any_command_is_answered(
        facts in vec((fact(), moment()), 0..30),
        asks in vec((ask(), moment()), 1..20),
    ) {
        let Some(mut story) = happened(facts).pop() else { return Ok(()) };
        for (ask, at) in asks {
            story.now = at;
            prop_assert!(wants_quiet_proof(&story.state, at).len() <= story.state.keys.len());
            let act = ask.act(&story).or_else(|| next(&story.state, at));
            let Some(act) = act.or_else(|| Ask::RevokeAll.act(&story)) else { continue };
            if let Ok(Some(event)) = decide(&story.state, &story.command(act)) {
                story = story.append(event);
            }
        }
        let replayed = story.log.iter().fold(Default::default(), evolve);
        prop_assert_eq!(story.state, replayed);
    }
}
