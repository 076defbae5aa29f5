//! What is said of what was seen: one row for each kind of finding. That real damage is seen is tests/doctor's to show.

use super::*;
use crate::doctor::facts::{Answer, BusFacts, EdgeFact, LogFacts};
use crate::doctor::finding::Level;
use keywheel_bus::survey::{Answering, Seen, StreamFound};
use keywheel_domain::{At, EdgeId};
use keywheel_wire::notice::SignedHead;
use keywheel_wire::pulse::{Agrees, Pulse};
use keywheel_wire::subject::{self, Service};
use keywheel_wire::text::{Hex32, Id, Moment};

const GIB: u64 = 1024 * MIB;
const NOW_MS: u64 = 1_800_000_000_000;
const NOW_SECS: i64 = 1_800_000_000;

fn id(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

fn pulse(name: &str) -> Pulse {
    Pulse {
        id: name.to_owned(),
        boot: Id(1),
        number: 1,
        watermark: 9,
        chain: Hex32([1; 32]),
        digest: Hex32([2; 32]),
        clock: Moment(At(0)),
        keys: 3,
        version: "1".to_owned(),
        lease_ms: 15_000,
        agrees: Some(Agrees { seq: 9, chain: Hex32([1; 32]) }),
    }
}

fn edge(name: &str) -> (EdgeId, EdgeFact) {
    let http = Some((format!("http://{name}"), Answer::Ready));
    let pulse = Some((pulse(name), 0));
    (id(name), EdgeFact { is_on_roster: Some(true), is_ours: true, pulse, http })
}

fn well() -> Facts {
    let found =
        StreamFound { first: 1, last: 9, messages: 9, replicas: 1, is_led: true, ..StreamFound::default() };
    let head = SignedHead {
        installation: Id(1),
        log_created: Moment(At(7)),
        seq: 9,
        chain: Hex32([1; 32]),
        digest: Hex32([2; 32]),
        at: Moment(At(0)),
    };
    let service = |service: Service| Answering {
        name: format!("keywheel-{}", service.name()),
        version: "1".to_owned(),
        metadata: [("instance".to_owned(), "1".to_owned())].into(),
    };
    let bus = BusFacts {
        server: "2.15.1".to_owned(),
        syncs: Some(true),
        clock_ahead_ms: Some(3),
        streams: [subject::EVENTS, subject::STAGE]
            .map(|name| (name.to_owned(), Seen::Found(found.clone())))
            .into(),
        durables: vec![("issuer".to_owned(), Seen::Found(0)), ("edge-e1".to_owned(), Seen::Found(0))],
        services: Service::ALL.map(service).into(),
        instances: 1,
        log: Some(LogFacts { created: 7, last: 9, checked: 9, unbelieved: Vec::new(), head: Some(head) }),
        admin: None,
    };
    let file = FileFact { path: "h/a.nk".into(), mode: Some(0o600), is_public: false, damage: None };
    Facts {
        now: NOW_MS,
        version: "1".to_owned(),
        home: "h".into(),
        is_named: true,
        up_runs: Some(true),
        files: vec![file],
        certificates: vec![("h/ca.pem".into(), Ok(NOW_SECS + 365 * 24 * 3600))],
        disks: vec![DiskFact { path: "h".into(), free: Some((9 * GIB, 10 * GIB)), refusal: None }],
        lease_ms: 15_000,
        bus: Some(Ok(bus)),
        url: "nats://x".to_owned(),
        edges: [edge("e1"), edge("e2")].into(),
        ..Facts::default()
    }
}

fn bus(facts: &mut Facts) -> &mut BusFacts {
    facts.bus.as_mut().unwrap().as_mut().unwrap()
}

fn log(facts: &mut Facts) -> &mut LogFacts {
    bus(facts).log.as_mut().unwrap()
}

fn stream(facts: &mut Facts) -> &mut StreamFound {
    match &mut bus(facts).streams[0].1 {
        Seen::Found(found) => found,
        Seen::Missing | Seen::Unseen(_) => unreachable!("it is there"),
    }
}

fn e1(facts: &mut Facts) -> &mut EdgeFact {
    facts.edges.get_mut(&id("e1")).unwrap()
}

fn e1_pulse(facts: &mut Facts) -> &mut Pulse {
    &mut e1(facts).pulse.as_mut().unwrap().0
}

/// Everything that is not well, each with a next step.
fn found(harm: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level)> {
    let mut facts = well();
    harm(&mut facts);
    let findings = diagnose(&facts).into_iter().filter(|finding| finding.level != Level::Ok);
    let seen = |finding: Finding| {
        assert!(finding.next.is_some_and(|next| !next.is_empty()), "{} has no next step", finding.code);
        (finding.code, finding.level)
    };
    findings.map(seen).collect()
}

/// What is found, and the harm that leads to it.
type Row = (&'static str, fn(&mut Facts));

#[test]
fn where_all_is_well_nothing_is_said_against_it() {
    let findings = diagnose(&well());
    assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:#?}");
    assert_eq!(findings.len(), 11);
}

#[test]
fn a_bus_that_cannot_be_reached_leaves_what_can_be_seen_without_it() {
    let harm = |facts: &mut Facts| {
        facts.bus = Some(Err("refused".to_owned()));
        facts.files[0].is_public = true;
        e1(facts).http = Some((String::new(), Answer::Unready("stale".to_owned())));
    };
    let wrong = |code| (code, Level::Wrong);
    assert_eq!(found(harm), ["bus_unreachable", "edge_unready", "credential_public"].map(wrong));
}

#[test]
fn each_thing_that_is_wrong_is_found_alone() {
    let rows: Vec<Row> = vec![
        ("server_old", |facts| bus(facts).server = "2.13.9".to_owned()),
        ("unsafe_sync", |facts| bus(facts).syncs = Some(false)),
        ("jetstream_off", |facts| {
            bus(facts).streams.iter_mut().for_each(|(_, seen)| *seen = Seen::Unseen("off".to_owned()));
        }),
        ("log_lost", |facts| {
            bus(facts).streams.iter_mut().for_each(|(_, seen)| *seen = Seen::Missing);
            bus(facts).log = None;
            bus(facts).durables.iter_mut().for_each(|(_, seen)| *seen = Seen::Missing);
        }),
        ("stream_missing", |facts| bus(facts).streams[1].1 = Seen::Missing),
        ("log_cut", |facts| (stream(facts).first, stream(facts).messages) = (3, 7)),
        ("log_holes", |facts| stream(facts).messages = 8),
        ("stream_unled", |facts| stream(facts).is_led = false),
        ("stream_differs", |facts| stream(facts).differences.push("max_age".to_owned())),
        ("another_log", |facts| log(facts).created = 8),
        ("durable_missing", |facts| bus(facts).durables[1].1 = Seen::Missing),
        ("service_silent", |facts| drop(bus(facts).services.pop())),
        ("edge_unreachable", |facts| e1(facts).http = Some((String::new(), Answer::Silent))),
        ("edge_unready", |facts| {
            e1(facts).http = Some((String::new(), Answer::Unready("not_synced".to_owned())))
        }),
        ("edge_off_roster", |facts| e1(facts).is_on_roster = Some(false)),
        ("edge_silent", |facts| e1(facts).pulse = None),
        ("edge_diverged", |facts| {
            facts.edges.retain(|name, _| *name == id("e1"));
            e1_pulse(facts).agrees = Some(Agrees { seq: 9, chain: Hex32([4; 32]) });
        }),
        ("lease_differs", |facts| e1_pulse(facts).lease_ms = 1),
        ("histories_differ", |facts| e1_pulse(facts).chain = Hex32([3; 32])),
        ("table_differs", |facts| e1_pulse(facts).digest = Hex32([3; 32])),
        ("credential_missing", |facts| facts.files[0].mode = None),
        ("credential_damaged", |facts| facts.files[0].damage = Some("no seed".to_owned())),
        ("credential_public", |facts| facts.files[0].is_public = true),
        ("signers_unusable", |facts| facts.signers = Some("gone".to_owned())),
        ("signers_lack", |facts| facts.unlisted.push((Service::Issuer, "UX".to_owned()))),
        ("certificate_damaged", |facts| facts.certificates[0].1 = Err("no PEM".to_owned())),
        ("certificate_ended", |facts| facts.certificates[0].1 = Ok(NOW_SECS)),
        ("not_writable", |facts| facts.disks[0].refusal = Some("read-only".to_owned())),
        ("disk_full", |facts| facts.disks[0].free = Some((FULL_BELOW - 1, GIB))),
    ];
    for (code, harm) in rows {
        assert_eq!(found(harm), [(code, Level::Wrong)]);
    }
}

#[test]
fn what_works_and_should_be_looked_at_is_a_warning() {
    let rows: Vec<Row> = vec![
        ("unknown_sync", |facts| bus(facts).syncs = None),
        ("bus_clock", |facts| bus(facts).clock_ahead_ms = Some(-2001)),
        ("admin_unseen", |facts| {
            bus(facts).admin = Some("elsewhere".to_owned());
            bus(facts).streams.iter_mut().for_each(|(_, seen)| *seen = Seen::Unseen("not ours".to_owned()));
        }),
        ("stream_unseen", |facts| bus(facts).streams[0].1 = Seen::Unseen("slow".to_owned())),
        ("stream_unseen", |facts| bus(facts).streams[1].1 = Seen::Unseen("slow".to_owned())),
        ("copy_behind", |facts| stream(facts).behind.push("n2".to_owned())),
        ("few_copies", |facts| facts.up_runs = None),
        ("unbelieved", |facts| log(facts).unbelieved.push((4, "forged".to_owned()))),
        ("no_head", |facts| log(facts).head = None),
        ("edge_clock", |facts| e1(facts).pulse.as_mut().unwrap().1 = 2001),
        ("edge_clock", |facts| e1(facts).pulse.as_mut().unwrap().1 = -2001),
        ("certificate_ends", |facts| facts.certificates[0].1 = Ok(NOW_SECS + 24 * 3600)),
        ("disk_low", |facts| facts.disks[0].free = Some((GIB - 1, 9 * GIB))),
    ];
    for (code, harm) in rows {
        assert_eq!(found(harm), [(code, Level::Warning)]);
    }
    let warning = |code| (code, Level::Warning);
    let behind = |facts: &mut Facts| (e1_pulse(facts).watermark, e1_pulse(facts).agrees) = (8, None);
    assert_eq!(found(behind), [warning("edge_behind")]);
    let other = |facts: &mut Facts| "2".clone_into(&mut facts.version);
    assert_eq!(found(other), ["version_differs"; 6].map(warning));
}

#[test]
fn what_is_as_it_should_be_is_no_finding() {
    assert_eq!(found(|facts| facts.lease_ms = 0), [], "no fleet of this home's");
    let unknown = |facts: &mut Facts| e1(facts).is_on_roster = None;
    assert_eq!(found(unknown), []);
    let empty = |facts: &mut Facts| {
        (log(facts).last, log(facts).head) = (0, None);
        facts.edges.values_mut().for_each(|edge| edge.pulse.as_mut().unwrap().0.watermark = 0);
    };
    assert_eq!(found(empty), [], "an empty log has no head");
    let elsewhere = DiskFact { path: "other".into(), free: Some((GIB - 1, 9 * GIB)), refusal: None };
    assert_eq!(found(|facts| facts.disks.push(elsewhere)), [], "only the home has to have so much");
    let older = |facts: &mut Facts| e1_pulse(facts).agrees = Some(Agrees { seq: 7, chain: Hex32([4; 32]) });
    assert_eq!(found(older), [], "it is no word about the newest head");
    let no_pulses = |facts: &mut Facts| {
        bus(facts).streams.push((subject::PULSE.to_owned(), Seen::Missing));
        facts.edges.values_mut().for_each(|edge| edge.pulse = None);
    };
    assert_eq!(found(no_pulses), [("stream_missing", Level::Wrong)], "the edges are not to blame");
}

#[test]
fn why_an_edge_is_not_ready_is_said_in_words() {
    for (reason, words) in [
        ("stale", "its lease has run out"),
        ("not_on_roster", "it serves nobody"),
        ("not_synced", "it has not come to the head of the log yet"),
        ("unheard_of", "unheard_of"),
    ] {
        let mut facts = well();
        e1(&mut facts).http = Some((String::new(), Answer::Unready(reason.to_owned())));
        let unready = diagnose(&facts).into_iter().find(|finding| finding.code == "edge_unready").unwrap();
        assert!(unready.what.contains(words), "{reason}: {}", unready.what);
    }
}

#[test]
fn each_instance_is_missed_but_of_the_tracker_one_is_enough() {
    let missed = ["service_silent"; 3].map(|code| (code, Level::Wrong));
    assert_eq!(found(|facts| bus(facts).instances = 2), missed);
}

#[test]
fn edges_that_stand_elsewhere_are_not_compared() {
    let elsewhere = |facts: &mut Facts| {
        (e1_pulse(facts).watermark, e1_pulse(facts).agrees) = (8, None);
        (e1_pulse(facts).chain, e1_pulse(facts).digest) = (Hex32([7; 32]), Hex32([7; 32]));
    };
    assert_eq!(found(elsewhere), [("edge_behind", Level::Warning)]);
}

#[test]
fn who_is_not_believed_is_not_said_to_be() {
    let mut facts = well();
    facts.unlisted.push((Service::Issuer, "UX".to_owned()));
    let of_signers = |findings: Vec<Finding>| findings.iter().filter(|it| it.about == "signers file").count();
    assert_eq!((of_signers(diagnose(&facts)), of_signers(diagnose(&well()))), (1, 1));
}

#[test]
fn the_next_step_is_one_that_can_be_taken() {
    let mut facts = well();
    assert_eq!(facts.log_of("issuer"), "tail -n 20 h/logs/issuer.log");
    assert_eq!(facts.start_again(), "stop `keywheel up` with Ctrl-C, then keywheel up --home h");
    facts.up_runs = Some(false);
    assert_eq!((facts.log_of("issuer"), facts.start_again()), (facts.stack("up"), facts.stack("up")));
    facts.up_runs = None;
    assert!(facts.log_of("issuer").starts_with("read the log of `keywheel run` of issuer"));
    assert_eq!(facts.start_again(), "keywheel up --nats-url nats://x --admin-credentials FILE");
    bus(&mut facts).durables[1].1 = Seen::Missing;
    let missing = diagnose(&facts).into_iter().find(|finding| finding.code == "durable_missing").unwrap();
    assert_eq!(missing.next.as_deref(), Some("keywheel edge add e1 --home h"));
}

#[test]
fn a_log_that_ends_before_what_is_known_is_lost() {
    let wrong = |code| (code, Level::Wrong);
    let shorter = |facts: &mut Facts| {
        (stream(facts).last, stream(facts).messages, log(facts).last) = (5, 5, 5);
        facts.edges.values_mut().for_each(|edge| edge.pulse.as_mut().unwrap().0.agrees = None);
    };
    assert_eq!(found(shorter), ["log_lost", "log_short"].map(wrong));
    let mut facts = well();
    (e1_pulse(&mut facts).watermark, e1_pulse(&mut facts).agrees) = (8, None);
    facts.edges.get_mut(&id("e2")).unwrap().pulse.as_mut().unwrap().0.watermark = 12;
    let lost = diagnose(&facts).into_iter().find(|finding| finding.code == "log_lost").unwrap();
    assert_eq!(lost.next.as_deref(), Some("keywheel restore --from-edge e2 --home h"), "who has most");
}

#[test]
fn commands_name_the_installation_where_it_was_named() {
    let mut facts = well();
    assert_eq!(facts.operator("audit verify"), "keywheel --context h/context.json audit verify");
    assert_eq!(facts.stack("up"), "keywheel up --home h");
    facts.context = Some("c.json".into());
    assert_eq!(facts.operator("edges"), "keywheel --context c.json edges");
    facts.context = None;
    facts.is_named = false;
    assert_eq!(facts.operator("audit verify"), "keywheel audit verify");
    assert_eq!(facts.stack("up"), "keywheel up");
}
