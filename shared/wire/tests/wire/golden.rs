//! Golden samples of events: bytes that were stored once are read for ever, and written the same.
//! `UPDATE_GOLDEN=1` writes them anew: for a new sample only, never to make an old one pass.

use crate::samples::{OURS, events};
use keywheel_wire::body::type_word;
use keywheel_wire::event::{self, ENVELOPE_V, Read};
use keywheel_wire::subject;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Where a sample of the current version lies.
pub fn path(file: &str) -> PathBuf {
    let folder = format!("{}/../../schemas/golden/v{ENVELOPE_V}", env!("CARGO_MANIFEST_DIR"));
    PathBuf::from(folder).join(file)
}

/// The stored sample; `now` is stored first when that is asked for.
pub fn stored(file: &str, now: &[u8]) -> Vec<u8> {
    let path = path(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, now).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A document as it is stored for people.
pub fn pretty(value: &impl serde::Serialize) -> String {
    format!("{}\n", serde_json::to_string_pretty(value).unwrap())
}

#[test]
fn stored_events_are_read_and_written_as_ever() {
    for (name, event, link) in events() {
        let written = event::write(&event, link, OURS).unwrap();
        let stored = stored(&format!("{name}.msgpack"), &written);
        let read = event::read(&subject::event(&event.address), &stored);
        assert_eq!(read, Ok(Read { event, link }), "{name}: what the stored bytes say");
        assert_eq!(stored, written, "{name}: the bytes that are written today");
    }
}

#[test]
fn stored_events_look_as_ever() {
    for (name, event, link) in events() {
        let json = event::to_json(&event::write(&event, link, OURS).unwrap()).unwrap();
        let now = pretty(&json);
        let stored = stored(&format!("{name}.json"), now.as_bytes());
        assert_eq!(String::from_utf8(stored).unwrap(), now, "{name}");
    }
}

#[test]
fn every_type_has_a_sample() {
    let kinds: BTreeSet<_> = events().iter().map(|(_, event, _)| event.fact.kind()).collect();
    assert!(keywheel_domain::event::FactKind::ALL.iter().all(|kind| kinds.contains(kind)));
    for (name, event, _) in events() {
        assert!(name.starts_with(type_word(event.fact.kind())), "{name}");
    }
}

/// A sample that no test reads any more would be a promise that nobody keeps.
#[test]
fn every_stored_event_is_tested() {
    let folder = std::fs::read_dir(path("")).unwrap();
    let files = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let events: BTreeSet<_> = events().iter().map(|(name, ..)| (*name).to_owned()).collect();
    let stray: Vec<_> = files
        .filter(|file| file.ends_with(".msgpack"))
        .filter(|file| !events.contains(file.trim_end_matches(".msgpack")))
        .collect();
    assert!(stray.is_empty(), "{stray:?}");
}
