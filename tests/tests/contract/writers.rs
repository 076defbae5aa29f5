//! Whatever the code can write is as the schemas say, field for field.

use crate::anything::{event, keyring, kid, link, moment, patch};
use crate::schemas::{Schemas, wrong};
use jsonschema::Validator;
use keywheel_domain::event::{EventId, FactKind, RotationId};
use keywheel_domain::policy::Policy;
use keywheel_domain::state::Done;
use keywheel_domain::{EdgeId, Version};
use keywheel_wire::notice::{Alarm, Notice, Receipt, SignedHead, Unreached};
use keywheel_wire::outcome::{Intent, Outcome};
use keywheel_wire::policy::{WirePatch, whole};
use keywheel_wire::pulse::{Agrees, Pulse};
use keywheel_wire::signers::Installation;
use keywheel_wire::snapshot::{Answer, Bound, ContentHash, Count, Manifest, Slot};
use keywheel_wire::text::{Hex32, Id, Moment};
use keywheel_wire::usage::{
    LastReport, RefusedSince, Report, Silent, Usage, UsageAt, VersionRefused, VersionUse,
};
use keywheel_wire::{body, delivery};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{BoxedStrategy, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use serde::Serialize;
use std::sync::LazyLock;

static CLOSED: LazyLock<Schemas> = LazyLock::new(|| Schemas::load().closed());

macro_rules! validator {
    ($name:literal) => {{
        static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| CLOSED.of($name));
        &*VALIDATOR
    }};
}

fn said(validator: &Validator, written: &impl Serialize) -> Option<String> {
    wrong(validator, &serde_json::to_value(written).unwrap())
}

fn id() -> impl Strategy<Value = Id> + Clone {
    any::<u128>().prop_map(Id)
}

fn when() -> impl Strategy<Value = Moment> + Clone {
    moment().prop_map(Moment)
}

fn hex() -> impl Strategy<Value = Hex32> + Clone {
    any::<[u8; 32]>().prop_map(Hex32)
}

fn edge() -> impl Strategy<Value = String> {
    crate::anything::edge().prop_map(|edge: EdgeId| edge.to_string())
}

fn outcome() -> BoxedStrategy<Outcome> {
    let kind = (0..FactKind::ALL.len()).prop_map(|at| FactKind::ALL[at]);
    let done = (
        any::<u128>(),
        kind,
        any::<u64>(),
        option::of(any::<u32>()),
        option::of(kid()),
        option::of(any::<u128>()),
    )
        .prop_map(|(event, kind, seq, version, kid, rotation)| Done {
            event: EventId(event),
            kind,
            seq,
            version: version.map(Version),
            kid,
            rotation: rotation.map(RotationId),
        });
    let accepted = (any::<u128>(), done).prop_map(|(id, done)| Outcome::accepted(id, &done));
    let rejected =
        (any::<u128>(), any::<String>()).prop_map(|(id, why)| Outcome::rejected(id, "last_active", &why));
    prop_oneof![accepted, rejected, any::<u128>().prop_map(Outcome::unchanged)].boxed()
}

fn pulse() -> BoxedStrategy<Pulse> {
    let numbers = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>());
    let agrees = option::of((any::<u64>(), hex()).prop_map(|(seq, chain)| Agrees { seq, chain }));
    (edge(), id(), numbers, hex(), hex(), when(), any::<String>(), agrees)
        .prop_map(|(id, boot, (number, watermark, keys, lease_ms), chain, digest, clock, version, agrees)| {
            Pulse { id, boot, number, watermark, chain, digest, clock, keys, version, lease_ms, agrees }
        })
        .boxed()
}

fn report() -> BoxedStrategy<Report> {
    let uses = (keyring(), any::<u32>(), any::<u64>()).prop_map(|(keyring, version, uses)| VersionUse {
        tenant: keyring.tenant.to_string(),
        client: keyring.client.to_string(),
        version,
        uses,
    });
    let last = (id(), any::<u64>()).prop_map(|(boot, number)| LastReport { boot, number });
    let refused =
        (keyring(), any::<u32>(), any::<u64>()).prop_map(|(keyring, version, refused)| VersionRefused {
            tenant: keyring.tenant.to_string(),
            client: keyring.client.to_string(),
            version,
            refused,
        });
    (edge(), id(), any::<u64>(), option::of(last), any::<bool>(), vec(uses, 0..4), vec(refused, 0..4))
        .prop_map(|(edge, boot, number, continues, goodbye, uses, refused)| Report {
            edge,
            boot,
            number,
            continues,
            goodbye,
            uses,
            refused,
        })
        .boxed()
}

fn usage() -> BoxedStrategy<Usage> {
    let at = (any::<u32>(), edge(), when(), any::<u64>())
        .prop_map(|(version, edge, last_use, uses)| UsageAt { version, edge, last_use, uses });
    let silent = (edge(), option::of(when())).prop_map(|(edge, through)| Silent { edge, through });
    let refused = (any::<u32>(), when(), any::<u64>(), any::<u64>())
        .prop_map(|(version, since, refused, accepted)| RefusedSince { version, since, refused, accepted });
    (vec(at, 0..3), vec(silent, 0..3), vec(refused, 0..3))
        .prop_map(|(versions, silent, refused)| Usage { versions, silent, refused })
        .boxed()
}

fn manifest() -> BoxedStrategy<Manifest> {
    let count = || (0..=999_999_999_999_999_u64).prop_map(|number| Count::of(number).unwrap());
    let bound = (id(), when(), count(), [hex(), hex(), hex()], count(), count(), count()).prop_map(
        |(installation, log_created, watermark, [chain, chain_before, table_digest], format, first, last)| {
            Bound {
                installation,
                log_created,
                watermark,
                chain,
                chain_before,
                table_digest,
                format,
                first_chunk: first,
                last_chunk: last,
            }
        },
    );
    let slots: Vec<String> = Slot::all().map(Slot::name).collect();
    (0..slots.len(), any::<u64>(), any::<u64>(), when(), any::<[u8; 32]>(), bound)
        .prop_map(move |(slot, size, chunks, mtime, digest, metadata)| Manifest {
            name: slots[slot].clone(),
            bucket: "KW_SNAPSHOTS".to_owned(),
            nuid: slots[slot].clone(),
            size,
            chunks,
            mtime,
            digest: ContentHash(digest),
            metadata,
        })
        .boxed()
}

fn notice() -> BoxedStrategy<Notice> {
    let unreached = (edge(), when()).prop_map(|(edge, refuses_by)| Unreached { edge, refuses_by });
    let kind = (0..FactKind::ALL.len()).prop_map(|at| body::type_word(FactKind::ALL[at]).to_owned());
    let ids = (id(), id(), any::<u64>(), option::of(any::<u32>()));
    let receipt =
        (ids, kind, when(), any::<u64>(), any::<u64>(), vec(edge(), 0..3), vec(unreached, 0..3), when())
            .prop_map(
                |(
                    (event_id, command_id, seq, version),
                    event_type,
                    at,
                    after_ms,
                    edges,
                    applied_on,
                    unreached,
                    final_at,
                )| {
                    Notice::Receipt(Receipt {
                        event_id,
                        event_type,
                        seq,
                        command_id,
                        version,
                        at,
                        after_ms,
                        edges,
                        applied_on,
                        unreached,
                        final_at,
                    })
                },
            );
    let alarm = (any::<String>(), any::<String>(), when(), option::of(any::<u64>()))
        .prop_map(|(code, detail, at, seq)| Notice::Alarm(Alarm { code, detail, at, seq }));
    let head = (id(), when(), any::<u64>(), hex(), hex(), when()).prop_map(
        |(installation, log_created, seq, chain, digest, at)| {
            Notice::Head(SignedHead { installation, log_created, seq, chain, digest, at })
        },
    );
    prop_oneof![receipt, alarm, head].boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events(event in event(), link in link()) {
        let json = keywheel_wire::event::to_json(&keywheel_wire::event::write(&event, link, Installation(1)).unwrap()).unwrap();
        prop_assert_eq!(wrong(validator!("event"), &json), None);
    }

    #[test]
    fn policies(patch in patch()) {
        prop_assert_eq!(said(validator!("policy"), &WirePatch::from(&patch)), None);
        let policy = Policy::default().overlaid(&patch);
        prop_assert_eq!(said(validator!("policy"), &whole(&policy)), None);
    }

    #[test]
    fn results(outcome in outcome(), command_id in id(), intent in any::<u64>()) {
        prop_assert_eq!(said(validator!("outcome"), &outcome), None);
        prop_assert_eq!(said(validator!("result"), &outcome), None);
        prop_assert_eq!(said(validator!("intent"), &Intent { command_id, intent }), None);
    }

    #[test]
    fn pulses_and_reports(pulse in pulse(), report in report(), usage in usage()) {
        prop_assert_eq!(said(validator!("pulse"), &pulse), None);
        prop_assert_eq!(said(validator!("report"), &report), None);
        prop_assert_eq!(said(validator!("usage"), &usage), None);
    }

    #[test]
    fn notices(notice in notice()) {
        prop_assert_eq!(said(validator!("notice"), &notice), None);
    }

    #[test]
    fn snapshots(manifest in manifest(), why in any::<String>()) {
        prop_assert_eq!(said(validator!("manifest"), &manifest), None);
        for answer in [Answer { manifest: Some(manifest), error: None }, Answer { manifest: None, error: Some(why) }] {
            prop_assert_eq!(said(validator!("snapshot-answer"), &answer), None);
        }
    }

    #[test]
    fn sealed_secrets(kid in kid(), version in any::<u32>(), sealed in vec(any::<u8>(), 0..200)) {
        let sealed = delivery::Sealed::new(kid.as_str(), version, &sealed, crate::documents::RECIPIENT);
        prop_assert_eq!(said(validator!("sealed"), &sealed), None);
    }
}
