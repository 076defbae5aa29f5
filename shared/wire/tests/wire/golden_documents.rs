//! Golden samples of the JSON documents: commands as others publish them, and what is answered.

use crate::golden::{path, pretty, stored};
use crate::samples::{NOON, RECIPIENT, added, edge, patch, undoing, withdrawn};
use keywheel_domain::command::{SpecAsked, Which};
use keywheel_domain::event::{CommandId, EventId, FactKind, RotationId};
use keywheel_domain::policy::{Change, Policy, PolicyChange};
use keywheel_domain::state::Done;
use keywheel_domain::{Actor, Digest, Kid, Span, Version};
use keywheel_wire::command::{self, Ask, Request, RollbackTo};
use keywheel_wire::delivery::{self, Sealed};
use keywheel_wire::notice::{self, Alarm, Notice, Receipt, SignedHead, Unreached};
use keywheel_wire::outcome::{self, Intent, Outcome};
use keywheel_wire::policy::whole;
use keywheel_wire::pulse::{self, Agrees, Pulse};
use keywheel_wire::snapshot::{self, Answer, Bound, ContentHash, Count, Manifest};
use keywheel_wire::subject::Verb;
use keywheel_wire::text::{Hex32, Id, Moment};
use keywheel_wire::usage::{
    self, LastReport, RefusedSince, Report, Silent, Usage, UsageAt, VersionRefused, VersionUse,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

const COMMAND: u128 = 0x2222_2222_2222_4222_8222_2222_2222_2200;
const ROTATION: u128 = 0x3333_3333_3333_4333_8333_3333_3333_3300;

fn spec() -> SpecAsked {
    SpecAsked {
        scopes: Some(vec!["invoices:read".into(), "invoices:write".into()]),
        cidrs: Some(vec!["10.0.0.0/8".into(), "2001:db8::1".into()]),
        expires_in: Some(Span::days(90)),
        meta: Some([("team".to_owned(), "payments".to_owned())].into()),
    }
}

fn change() -> PolicyChange {
    let set = patch();
    PolicyChange {
        overlap_min: set.overlap_min.map_or(Change::Keep, Change::Set),
        overlap_max: set.overlap_max.map_or(Change::Keep, Change::Set),
        on_overlap_max: set.on_overlap_max.map_or(Change::Keep, Change::Set),
        quiet: set.quiet.map_or(Change::Keep, Change::Set),
        class: set.class.map_or(Change::Keep, Change::Set),
        stale_max: set.stale_max.map_or(Change::Keep, Change::Set),
        max_active: set.max_active.map_or(Change::Keep, Change::Set),
        every: set.every.map_or(Change::Keep, Change::Set),
        jitter: set.jitter.map_or(Change::Keep, Change::Set),
        recipient: set.recipient.map_or(Change::Keep, Change::Set),
        delivery_kept: Change::Clear,
        auto_rollback: Change::Keep,
    }
}

/// Every verb with every field, in the words of the file of that name.
fn commands() -> Vec<(&'static str, Verb, Ask)> {
    let recipient = || Some(RECIPIENT.to_owned());
    let supersedes = vec![Version(1), Version(2)];
    let reason = || "found in a public repository".to_owned();
    let rollback = |to| Ask::Rollback { to, revoke_new: true };
    let import = Ask::Import {
        digest: Digest([0x5a; 32]),
        spec: spec(),
        expires_at: None,
        label: Some("legacy key".into()),
    };
    let until = Ask::Import {
        digest: Digest([0x5a; 32]),
        spec: SpecAsked::default(),
        expires_at: Some(NOON),
        label: None,
    };
    let rotate = Ask::Rotate { recipient: recipient(), spec: spec(), supersedes, policy: change() };
    let undo = PolicyChange {
        auto_rollback: undoing().auto_rollback.map_or(Change::Keep, Change::Set),
        ..PolicyChange::default()
    };
    let fewest = Ask::Issue { recipient: None, spec: SpecAsked::default() };
    vec![
        ("issue", Verb::Issue, Ask::Issue { recipient: recipient(), spec: spec() }),
        ("issue-fewest", Verb::Issue, fewest),
        ("rotate", Verb::Rotate, rotate),
        ("activate", Verb::Activate, Ask::Activate { version: Version(3), reason: "edge-b is gone".into() }),
        ("retire", Verb::Retire, Ask::Retire { version: Version(3) }),
        ("revoke", Verb::Revoke, Ask::Revoke { which: Which::One(Version(3)), reason: reason() }),
        ("revoke-all", Verb::Revoke, Ask::Revoke { which: Which::All, reason: reason() }),
        ("rollback", Verb::Rollback, rollback(RollbackTo::Rotation(RotationId(ROTATION)))),
        ("rollback-to_seq", Verb::Rollback, rollback(RollbackTo::Seq(4000))),
        ("rollback-to_time", Verb::Rollback, rollback(RollbackTo::Time(NOON))),
        ("policy", Verb::Policy, Ask::Policy(change())),
        ("policy-auto_rollback", Verb::Policy, Ask::Policy(undo)),
        ("import", Verb::Import, import),
        ("import-expires_at", Verb::Import, until),
        ("edge-add", Verb::EdgeAdd, Ask::EdgeAdd(edge("edge-a"))),
        ("edge-remove", Verb::EdgeRemove, Ask::EdgeRemove(edge("edge-a"))),
        ("signer-add", Verb::SignerAdd, Ask::SignerAdd(added())),
        ("signer-withdraw", Verb::SignerWithdraw, Ask::SignerWithdraw(withdrawn())),
    ]
}

#[test]
fn commands_are_read_as_ever() {
    for (name, verb, ask) in commands() {
        let payload = std::fs::read(path(&format!("command-{name}.json"))).expect(name);
        let actor = Actor::parse("Dana Ops <dana@example.com>").unwrap();
        let expected = Request { id: CommandId(COMMAND), actor, ask };
        assert_eq!(command::read(verb, &payload), Ok(expected), "{name}");
    }
    let stray = std::fs::read_dir(path("")).unwrap().map(|entry| entry.unwrap().file_name());
    let stored = stray.filter(|name| name.to_string_lossy().starts_with("command-")).count();
    assert_eq!(stored, commands().len(), "each stored command is read by this test");
}

/// The stored text is what is written today, and reads as `value`.
fn check<T: Serialize + PartialEq + std::fmt::Debug>(
    name: &str,
    value: &T,
    read: impl FnOnce(&[u8]) -> Result<T, keywheel_wire::Malformed>,
) {
    let now = pretty(value);
    let stored = stored(&format!("{name}.json"), now.as_bytes());
    assert_eq!(read(&stored).as_ref(), Ok(value), "{name}");
    assert_eq!(String::from_utf8(stored).unwrap(), now, "{name}");
}

fn plain<T: DeserializeOwned>(payload: &[u8]) -> Result<T, keywheel_wire::Malformed> {
    serde_json::from_slice(payload).map_err(|error| keywheel_wire::Malformed::new("", error))
}

#[test]
fn outcomes_are_as_ever() {
    let done = Done {
        event: EventId(0x1111_1111_1111_4111_8111_1111_1111_1100),
        kind: FactKind::KeyIssued,
        seq: 4711,
        version: Some(Version(3)),
        kid: Some(Kid::parse("0aZ9kidkid").unwrap()),
        rotation: Some(RotationId(ROTATION)),
    };
    let rejected = Outcome::rejected(COMMAND, "last_active", "v1 is the last accepted version");
    for (name, outcome) in [
        ("outcome-accepted", Outcome::accepted(COMMAND, &done)),
        ("outcome-unchanged", Outcome::unchanged(COMMAND)),
        ("outcome-rejected", rejected),
    ] {
        check(name, &outcome::Result::Final(outcome), outcome::read);
    }
    let intent = Intent { command_id: Id(COMMAND), intent: 4710 };
    check("outcome-intent", &outcome::Result::Intent(intent), outcome::read);
}

#[test]
fn signs_of_life_are_as_ever() {
    let pulse = Pulse {
        id: "edge-a".into(),
        boot: Id(7),
        number: 41,
        watermark: 4711,
        chain: Hex32([0xc4; 32]),
        digest: Hex32([0xd1; 32]),
        clock: Moment(NOON),
        keys: 1000,
        version: "0.1.0".into(),
        lease_ms: 15_000,
        agrees: None,
    };
    check("pulse", &pulse, pulse::read);
    let agrees = Some(Agrees { seq: 4700, chain: Hex32([0xc3; 32]) });
    check("pulse-witness", &Pulse { agrees, ..pulse }, pulse::read);
}

#[test]
fn reports_are_as_ever() {
    let uses = vec![VersionUse { tenant: "acme".into(), client: "billing".into(), version: 3, uses: 12 }];
    let report = Report {
        edge: "edge-a".into(),
        boot: Id(7),
        number: 0,
        continues: Some(LastReport { boot: Id(6), number: 99 }),
        goodbye: true,
        uses,
        refused: vec![],
    };
    check("report", &report, |payload| usage::read(&edge("edge-a"), payload));
    let refused = VersionRefused { tenant: "acme".into(), client: "billing".into(), version: 2, refused: 5 };
    let report = Report { number: 1, continues: None, refused: vec![refused], ..report };
    check("report-refused", &report, |payload| usage::read(&edge("edge-a"), payload));
    let at = UsageAt { version: 3, edge: "edge-a".into(), last_use: Moment(NOON), uses: 12 };
    let silent = vec![
        Silent { edge: "edge-b".into(), through: Some(Moment(NOON)) },
        Silent { edge: "edge-c".into(), through: None },
    ];
    let usage = Usage { versions: vec![at], silent, refused: vec![] };
    check("usage", &usage, plain);
    let refused = vec![RefusedSince { version: 2, since: Moment(NOON), refused: 5, accepted: 12 }];
    check("usage-refused", &Usage { refused, ..usage }, plain);
}

#[test]
fn notices_are_as_ever() {
    let receipt = Receipt {
        event_id: Id(0x1111_1111_1111_4111_8111_1111_1111_1100),
        event_type: "KeyRetired".into(),
        seq: 4711,
        command_id: Id(COMMAND),
        version: Some(3),
        at: Moment(NOON),
        after_ms: 87,
        edges: 2,
        applied_on: vec!["edge-a".into()],
        unreached: vec![Unreached { edge: "edge-b".into(), refuses_by: Moment(NOON.after(Span::secs(15))) }],
        final_at: Moment(NOON.after(Span::secs(16))),
    };
    check("notice-receipt", &Notice::Receipt(receipt), notice::read);
    let detail = "edge-b differs from its peers at 4711".to_owned();
    let alarm = Alarm { code: "digest_differs".into(), detail, at: Moment(NOON), seq: Some(4711) };
    check("notice-alarm", &Notice::Alarm(alarm), notice::read);
    let head = SignedHead {
        installation: Id(0x0b5e_55ed_0000_4000_8000_0000_0000_0001),
        log_created: Moment(NOON),
        seq: 4711,
        chain: Hex32([0xc4; 32]),
        digest: Hex32([0xd1; 32]),
        at: Moment(NOON),
    };
    check("notice-head", &Notice::Head(head), notice::read);
}

#[test]
fn snapshots_are_as_ever() {
    let count = |number| Count::of(number).unwrap();
    let metadata = Bound {
        installation: Id(0x0b5e_55ed_0000_4000_8000_0000_0000_0001),
        log_created: Moment(NOON),
        watermark: count(4711),
        chain: Hex32([0xc4; 32]),
        chain_before: Hex32([0xc3; 32]),
        table_digest: Hex32([0xd1; 32]),
        format: count(1),
        first_chunk: count(17),
        last_chunk: count(18),
    };
    let manifest = Manifest {
        name: "slot-2".into(),
        bucket: "KW_SNAPSHOTS".into(),
        nuid: "slot-2".into(),
        size: 700_000,
        chunks: 2,
        mtime: Moment(NOON),
        digest: ContentHash([0x5a; 32]),
        metadata,
    };
    check("manifest", &manifest, |payload| snapshot::read(payload).map(|(_, manifest)| manifest));
    let answer = Answer { manifest: Some(manifest), error: None };
    check("snapshot-answer", &answer, plain);
    let none = Answer { manifest: None, error: Some("the log has nothing yet".into()) };
    check("snapshot-answer-none", &none, plain);
    let (slot, _) = snapshot::read(&std::fs::read(path("manifest.json")).unwrap()).unwrap();
    assert_eq!(keywheel_wire::subject::manifest(slot), "$O.KW_SNAPSHOTS.M.c2xvdC0y");
    assert_eq!(keywheel_wire::subject::chunks(slot), "$O.KW_SNAPSHOTS.C.slot-2");
}

#[test]
fn deliveries_are_as_ever() {
    let sealed = Sealed::new("0aZ9kidkid", 3, b"xkv1 and a box", RECIPIENT);
    check("delivery", &sealed, delivery::read);
    assert_eq!(sealed.bytes().unwrap(), b"xkv1 and a box");
}

#[test]
fn policies_are_as_ever() {
    let policy = Policy::default().overlaid(&patch());
    let auto = Policy::default().overlaid(&undoing());
    let named =
        [("policy-default", Policy::default()), ("policy-whole", policy), ("policy-auto_rollback", auto)];
    for (name, policy) in named {
        let now = pretty(&whole(&policy));
        assert_eq!(String::from_utf8(stored(&format!("{name}.json"), now.as_bytes())).unwrap(), now);
    }
}
