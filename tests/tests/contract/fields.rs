//! Lists of fields: one that the code has and the contract does not name, or the reverse, is found here.

use crate::documents::{golden, kinds};
use crate::schemas::{Schemas, wrong};
use jsonschema::Validator;
use keywheel_domain::event::FactKind;
use keywheel_wire::body::type_word;
use keywheel_wire::subject::Verb;
use keywheel_wire::{command, event, pulse, snapshot, usage};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What the code itself says that a command of this verb may have, in `policy` where that is given.
fn fields_of_code(verb: Verb, document: &Value) -> BTreeSet<String> {
    let error = command::read(verb, document.to_string().as_bytes()).unwrap_err().error.to_string();
    let expected = error.split_once("expected").unwrap_or_else(|| panic!("{}: {error}", verb.word())).1;
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn fields_of_schema(schema: &Value) -> BTreeSet<String> {
    schema["properties"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn commands_have_the_same_fields() {
    let schemas = Schemas::load();
    for verb in Verb::ALL {
        let name = format!("command-{}", verb.word());
        let mut document = golden(&name).swap_remove(0).1;
        document["unheard_of"] = json!(1);
        assert_eq!(fields_of_code(verb, &document), fields_of_schema(schemas.schema(&name)), "{name}");
        assert!(!schemas.of(&name).is_valid(&document), "{name}");
    }
    for verb in [Verb::Policy, Verb::Rotate] {
        let mut document = golden(&format!("command-{}", verb.word())).swap_remove(0).1;
        document["policy"]["unheard_of"] = json!(1);
        assert_eq!(fields_of_code(verb, &document), fields_of_schema(schemas.schema("policy-change")));
    }
}

#[test]
fn every_verb_and_type_has_its_schema_and_no_other_has() {
    let schemas = Schemas::load();
    let named = |lead: &str| -> BTreeSet<String> {
        schemas.named().filter_map(|(name, _)| Some(name.strip_prefix(lead)?.to_owned())).collect()
    };
    assert_eq!(named("command-"), Verb::ALL.iter().map(|verb| verb.word().to_owned()).collect());
    let types: BTreeSet<String> = FactKind::ALL.iter().map(|kind| type_word(*kind).to_owned()).collect();
    assert_eq!(named("body-"), types);
    let listed = &schemas.schema("types")["$defs"]["eventType"]["enum"];
    let listed: BTreeSet<String> = serde_json::from_value(listed.clone()).unwrap();
    assert_eq!(listed, types);
}

/// A field that is written and not named is found where objects are closed.
#[test]
fn what_is_written_is_named() {
    let closed = Schemas::load().closed();
    for kind in kinds() {
        let validator = closed.of(&kind.schema);
        for (name, sample) in &kind.samples {
            assert_eq!(wrong(&validator, sample), None, "{name}");
        }
    }
    let mut sample = golden("KeyIssued").swap_remove(0).1;
    sample["body"]["unheard_of"] = json!(1);
    assert!(wrong(&closed.of("event"), &sample).is_some(), "a closed schema can say no");
}

/// A field that is named and never written is found by forbidding it: some sample must object.
#[test]
fn what_is_named_is_written() {
    let schemas = Schemas::load();
    let samples: Vec<(String, Vec<Value>)> = kinds()
        .into_iter()
        .map(|kind| (kind.schema, kind.samples.into_iter().map(|(_, sample)| sample).collect()))
        .collect();
    let mut unused = Vec::new();
    for (name, place) in properties(&schemas) {
        let mut without = schemas.clone();
        let document = without.documents.get_mut(&format!("v1/{name}.schema.json")).unwrap();
        *document.pointer_mut(&place).unwrap() = json!(false);
        let missed = samples.iter().any(|(schema, samples)| {
            reaches(&schemas, schema, &name) && samples.iter().any(is_refused(without.of(schema)))
        });
        if !missed {
            unused.push(format!("{name}{place}"));
        }
    }
    assert!(unused.is_empty(), "in no sample:\n{}", unused.join("\n"));
}

fn is_refused(validator: Validator) -> impl Fn(&Value) -> bool {
    move |sample| !validator.is_valid(sample)
}

/// Every property of every schema that a golden sample belongs to, with its pointer.
fn properties(schemas: &Schemas) -> Vec<(String, String)> {
    let kinds: Vec<String> = kinds().into_iter().map(|kind| kind.schema).collect();
    let mut found = Vec::new();
    for (name, schema) in schemas.named() {
        if kinds.iter().any(|kind| reaches(schemas, kind, name)) {
            let places = crate::mutants::places(schema);
            let is_property = |place: &String| {
                let tokens: Vec<&str> = place.split('/').collect();
                let conditional = tokens.iter().any(|token| ["if", "then"].contains(token));
                tokens.len() > 2 && tokens[tokens.len() - 2] == "properties" && !conditional
            };
            // What only tells two forms apart stands in `oneOf` beside the properties proper.
            let whole = places.into_iter().filter(is_property).filter(|place| is_proper(schema, place));
            found.extend(whole.map(|place| (name.to_owned(), place)));
        }
    }
    assert!(found.len() > 150, "{}", found.len());
    found
}

fn is_proper(schema: &Value, place: &str) -> bool {
    let owner = place.rsplitn(3, '/').nth(2).unwrap_or_default();
    schema.pointer(owner).is_some_and(|owner| owner["type"] == "object")
}

/// Whether one schema refers to another, or is it.
fn reaches(schemas: &Schemas, from: &str, to: &str) -> bool {
    let text = |name: &str| schemas.schema(name).to_string();
    let mut names = vec![from.to_owned()];
    let mut at = 0;
    while let Some(name) = names.get(at).cloned() {
        let text = text(&name);
        let refers = |(other, _): &(&str, &Value)| text.contains(&format!("\"{other}.schema.json"));
        let more: Vec<String> = schemas.named().filter(refers).map(|(other, _)| other.to_owned()).collect();
        names.extend(more.into_iter().filter(|other| !names.contains(other)).collect::<Vec<_>>());
        at += 1;
    }
    names.iter().any(|name| name == to)
}

#[test]
fn documents_have_the_codes_largest_size() {
    let schemas = Schemas::load();
    let bounds = [
        ("event", event::EVENT_BYTES_MAX),
        ("pulse", pulse::PULSE_BYTES_MAX),
        ("report", usage::REPORT_BYTES_MAX),
        ("manifest", snapshot::MANIFEST_BYTES_MAX),
    ];
    let commands = Verb::ALL.map(|verb| format!("command-{}", verb.word()));
    let commands = commands.iter().map(|name| (name.as_str(), command::COMMAND_BYTES_MAX));
    for (name, bytes) in bounds.into_iter().chain(commands) {
        assert_eq!(schemas.schema(name)["documentBytesMax"], json!(bytes), "{name}");
    }
}
