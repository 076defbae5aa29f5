//! Documents of a version that does not exist yet: what this one passes over, what it refuses by name, and what only
//! costs its own keyring.

use crate::documents::{golden, kinds, reads_event};
use crate::schemas::{Schemas, folder, read_json, wrong};
use keywheel_wire::{command, event, subject};
use serde_json::Value;

/// Every sample of that version with its name.
fn samples() -> Vec<(String, Value)> {
    let entries = std::fs::read_dir(folder().join("golden/v2-future")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = paths
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), read_json(&path)))
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

fn read(document: &Value) -> Result<event::Read, keywheel_wire::Malformed> {
    let stands =
        format!("kw.evt.{}.{}", document["tenant"].as_str().unwrap(), document["client"].as_str().unwrap());
    event::read(&stands, &rmp_serde::to_vec_named(document).unwrap())
}

/// With fields that nobody here has heard of a message is what it was without them.
#[test]
fn unknown_fields_are_survived_by_every_reader() {
    let (schemas, closed) = (Schemas::load(), Schemas::load().closed());
    let mut survived = 0;
    for (name, document) in samples() {
        let Some(kind) = kinds().into_iter().find(|kind| kind.samples.iter().any(|(own, _)| *own == name))
        else {
            assert!(name.starts_with("unread-"), "{name}");
            continue;
        };
        if kind.schema.starts_with("command-") {
            continue;
        }
        assert!((kind.reads)(&document), "{name} is not read");
        assert_eq!(wrong(&schemas.of(&kind.schema), &document), None, "{name}");
        assert!(wrong(&closed.of(&kind.schema), &document).is_some(), "{name} has nothing new");
        if kind.schema == "event" {
            let known = golden(&name).into_iter().find(|(own, _)| *own == name).unwrap().1;
            assert_eq!(read(&document), read(&known), "{name} says something else");
        }
        survived += 1;
    }
    assert_eq!(survived, 12);
}

/// Validly signed, such an event freezes its keyring: it is no forgery, and it is not understood.
#[test]
fn what_cannot_be_understood_is_refused_by_name() {
    let schemas = Schemas::load();
    let validator = schemas.of("event");
    for (name, field) in [
        ("unread-newer-envelope", "v"),
        ("unread-unknown-type", "type"),
        ("unread-unknown-cause", "body.cause"),
    ] {
        let document = samples().into_iter().find(|(own, _)| own == name).unwrap().1;
        assert!(!reads_event(&document) && wrong(&validator, &document).is_some(), "{name}");
        assert_eq!(read(&document).unwrap_err().field, field, "{name}");
    }
}

#[test]
fn a_command_of_a_later_version_is_refused_by_name() {
    let document = samples().into_iter().find(|(name, _)| name == "command-issue").unwrap().1;
    let refused = command::read(subject::Verb::Issue, document.to_string().as_bytes()).unwrap_err();
    assert_eq!((refused.error.field.as_str(), refused.id.is_some()), ("unheard_of", true));
    assert!(wrong(&Schemas::load().of("command-issue"), &document).is_some());
}
