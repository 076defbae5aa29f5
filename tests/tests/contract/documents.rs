//! What a schema permits is what the code reads, and what it refuses the code refuses: every golden sample, changed in
//! every place by every bound.

use crate::mutants::{self, Palette};
use crate::schemas::{Schemas, folder, read_json, wrong};
use keywheel_domain::EdgeId;
use keywheel_wire::policy::WirePatch;
use keywheel_wire::subject::Verb;
use keywheel_wire::{command, delivery, event, notice, outcome, pulse, snapshot, usage};
use serde_json::{Value, json};

pub const RECIPIENT: &str = "XBL5WSZVT4R24XQUNZHCKEQFM4CHEJIGGSGBKDAUOU6QZEZ5ATKCD722";

/// A kind of document.
pub struct Kind {
    pub schema: String,
    /// Its golden samples, with their names.
    pub samples: Vec<(String, Value)>,
    /// Whether the code reads it.
    pub reads: Box<dyn Fn(&Value) -> bool>,
    /// Fields that we write more narrowly than we read: their readers compare and show them, no more.
    pub read_loosely: &'static [&'static str],
}

/// Golden samples whose file name begins so, and goes on with a variant at most.
pub fn golden(lead: &str) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder().join("golden/v1")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let belongs = name.strip_prefix(lead).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        if belongs && path.extension().is_some_and(|kind| kind == "json") {
            found.push((name, read_json(&path)));
        }
    }
    assert!(!found.is_empty(), "no golden sample of {lead}");
    found
}

fn kind(schema: &str, lead: &str, reads: impl Fn(&Value) -> bool + 'static) -> Kind {
    Kind { schema: schema.to_owned(), samples: golden(lead), reads: Box::new(reads), read_loosely: &[] }
}

fn bytes(document: &Value) -> Vec<u8> {
    serde_json::to_vec(document).unwrap()
}

/// An event stands at the subject of the address that it names.
pub fn reads_event(document: &Value) -> bool {
    let token = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let subject = format!("kw.evt.{}.{}", token("tenant"), token("client"));
    event::read(&subject, &rmp_serde::to_vec_named(document).unwrap()).is_ok()
}

fn reads_report(document: &Value) -> bool {
    let edge = document.get("edge").and_then(Value::as_str).unwrap_or_default();
    let Ok(edge) = EdgeId::parse(edge) else { return false };
    let report = usage::read(&edge, &bytes(document));
    report.is_ok_and(|report| {
        report.uses.iter().all(|uses| uses.of().is_ok()) && report.refused.iter().all(|one| one.of().is_ok())
    })
}

/// Every kind of document that crosses the bus.
pub fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        kind("result", "outcome", |d| outcome::read(&bytes(d)).is_ok()),
        kind("sealed", "delivery", |d| delivery::read(&bytes(d)).is_ok_and(|sealed| sealed.bytes().is_ok())),
        kind("pulse", "pulse", |d| pulse::read(&bytes(d)).is_ok()),
        kind("report", "report", reads_report),
        kind("usage", "usage", |d| serde_json::from_value::<usage::Usage>(d.clone()).is_ok()),
        kind("notice", "notice", |d| notice::read(&bytes(d)).is_ok()),
        kind("manifest", "manifest", |d| snapshot::read(&bytes(d)).is_ok()),
        kind("snapshot-answer", "snapshot-answer", |d| {
            serde_json::from_value::<snapshot::Answer>(d.clone()).is_ok_and(|answer| {
                answer.manifest.is_none_or(|it| snapshot::read(&serde_json::to_vec(&it).unwrap()).is_ok())
            })
        }),
        kind("policy", "policy", |d| serde_json::from_value::<WirePatch>(d.clone()).is_ok()),
    ];
    for (name, loosely) in [
        ("result", &["kid", "code", "type"][..]),
        ("sealed", &["kid", "sender", "sealed"]),
        ("pulse", &["id"]),
        ("usage", &["edge"]),
        ("notice", &["edge", "applied_on", "event_type"]),
    ] {
        kinds.iter_mut().filter(|kind| kind.schema == name).for_each(|kind| kind.read_loosely = loosely);
    }
    for verb in Verb::ALL {
        let name = format!("command-{}", verb.word());
        kinds.push(kind(&name, &name, move |d| command::read(verb, &bytes(d)).is_ok()));
    }
    for fact in keywheel_domain::event::FactKind::ALL {
        kinds.push(kind("event", keywheel_wire::body::type_word(fact), reads_event));
    }
    // No golden sample leaves a version issued, and the code can write it.
    let mut pending = golden("RolledBack").swap_remove(0).1;
    pending["body"]["withdrawn"] = json!([{ "version": 5, "state": "issued" }]);
    let rolled_back = kinds.iter_mut().find(|kind| kind.samples[0].0.starts_with("RolledBack"));
    rolled_back.unwrap().samples.push(("RolledBack-pending".to_owned(), pending));
    kinds
}

#[test]
fn golden_samples_are_as_the_schemas_say() {
    let schemas = Schemas::load();
    for kind in kinds() {
        let validator = schemas.of(&kind.schema);
        for (name, sample) in &kind.samples {
            assert_eq!(wrong(&validator, sample), None, "{name} is no {}", kind.schema);
            assert!((kind.reads)(sample), "{name} is not read");
        }
    }
}

#[test]
fn what_a_schema_permits_is_what_the_code_reads() {
    let schemas = Schemas::load();
    let palette = Palette::of(&schemas);
    let (mut permitted, mut refused, mut differ) = (0, 0, Vec::new());
    for kind in kinds() {
        let validator = schemas.of(&kind.schema);
        let others: Vec<Value> = kind.samples.iter().map(|(_, sample)| sample.clone()).collect();
        for (name, sample) in &kind.samples {
            for (what, mutant) in mutants::of(sample, &others, &palette) {
                let (schema, code) = (validator.is_valid(&mutant), (kind.reads)(&mutant));
                if schema {
                    permitted += 1
                } else {
                    refused += 1
                }
                let place = what.split(' ').next().unwrap_or_default();
                let loosely =
                    kind.read_loosely.iter().any(|field| place.split('/').any(|token| token == *field));
                let loosely = loosely || kind.schema == "event" && is_positional(&what);
                if schema != code && !(code && loosely) {
                    differ.push(format!("{name} {what}: schema {schema}, code {code}"));
                }
            }
        }
    }
    println!("{permitted} permitted and read, {refused} refused by both");
    assert!(permitted > 10_000 && refused > 10_000, "{permitted} {refused}");
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ[..differ.len().min(60)].join("\n"));
}

/// The reader of MessagePack takes a word's place in its list for the word, and a list for a map of as many fields;
/// nobody writes them so.
fn is_positional(what: &str) -> bool {
    ["= 0", "= 1", "= 2", "/body = [\"a\"]"].iter().any(|end| what.ends_with(end))
}
