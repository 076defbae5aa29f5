//! Whatever comes from outside: an answer or an error, never a panic.

use crate::anything::{event, link};
use crate::samples::OURS;
use keywheel_domain::EdgeId;
use keywheel_wire::subject::{self, Verb};
use keywheel_wire::{command, delivery, event, notice, outcome, pulse, usage};
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, proptest};
use proptest::sample::{Index, select};

/// Every reader of this crate, on the same bytes.
fn read_all(payload: &[u8]) {
    let edge = EdgeId::parse("edge-a").unwrap();
    for verb in Verb::ALL {
        let _ = command::read(verb, payload).map_err(|bad| bad.error.to_string());
    }
    let _ = event::read("kw.evt.acme.billing", payload).map_err(|error| error.to_string());
    let _ = event::to_json(payload);
    let _ = pulse::read(payload).map_err(|error| error.to_string());
    let _ = usage::read(&edge, payload).map_err(|error| error.to_string());
    let _ = outcome::read(payload);
    let _ = notice::read(payload);
    let _ = delivery::read(payload).map(|sealed| sealed.bytes());
}

/// Text that is nearly JSON, with our own words in it.
fn nearly_json() -> impl Strategy<Value = String> {
    const WORDS: [&str; 25] = [
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "null",
        "true",
        "1",
        "-1",
        "1e400",
        "\"\"",
        "\"id\"",
        "\"actor\"",
        "\"version\"",
        "\"policy\"",
        "\"quiet\"",
        "\"1h\"",
        "\"meta\"",
        "\"all\"",
        "\"kind\"",
        "\"alarm\"",
        "\"\\ud800\"",
        "\"00000000-0000-4000-8000-000000000000\"",
        " ",
    ];
    vec(select(&WORDS[..]), 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_bytes(payload in vec(any::<u8>(), 0..600)) {
        read_all(&payload);
    }

    #[test]
    fn nearly_documents(text in nearly_json()) {
        read_all(text.as_bytes());
    }

    #[test]
    fn events_with_a_changed_byte(event in event(), link in link(), at in any::<Index>(), byte in any::<u8>()) {
        let mut payload = event::write(&event, link, OURS).unwrap();
        let at = at.index(payload.len());
        payload[at] = byte;
        let _ = event::read(&subject::event(&event.address), &payload);
        read_all(&payload);
    }

    #[test]
    fn cut_events(event in event(), link in link(), at in any::<Index>()) {
        let payload = event::write(&event, link, OURS).unwrap();
        let cut = &payload[..at.index(payload.len())];
        assert!(event::read(&subject::event(&event.address), cut).is_err());
    }

    #[test]
    fn anything_as_an_edge_name_in_a_report(name in any::<String>()) {
        let edge = EdgeId::parse("edge-a").unwrap();
        let report = usage::Report {
            edge: name.clone(),
            boot: keywheel_wire::text::Id(1),
            number: 0,
            continues: None,
            goodbye: false,
            uses: vec![usage::VersionUse { tenant: name.clone(), client: name.clone(), version: 1, uses: 1 }],
            refused: vec![],
        };
        let read = usage::read(&edge, &serde_json::to_vec(&report).unwrap());
        assert_eq!(read.is_ok(), name == "edge-a");
        let _ = report.uses[0].of();
    }
}

/// Nesting must not exhaust the stack of a small thread.
#[test]
fn deep_nesting() {
    let deep = || {
        for depth in [100, 1000, 10_000, 200_000] {
            read_all(&[vec![0x91; depth], vec![0xc0]].concat());
            read_all(&[[0x81, 0xa1, b'k'].repeat(depth), vec![0xc0]].concat());
            let in_a_field = |lead: &[u8]| [lead, &vec![0x91; depth][..], &[0xc0]].concat();
            read_all(&in_a_field(&[0x82, 0xa4, b'b', b'o', b'd', b'y']));
            read_all(&in_a_field(&[0x82, 0xa5, b't', b'r', b'a', b'c', b'e']));
            read_all("[".repeat(depth).as_bytes());
            read_all("{\"a\":".repeat(depth).as_bytes());
            read_all(format!("{{\"policy\":{}", "{\"a\":".repeat(depth)).as_bytes());
        }
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(deep).unwrap().join().unwrap();
}

#[test]
fn announced_lengths_are_not_believed() {
    for head in [
        vec![0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0xdf, 0xff, 0xff, 0xff, 0xff],
        vec![0xdb, 0xff, 0xff, 0xff, 0xff],
        vec![0x81, 0xa4, b'b', b'o', b'd', b'y', 0xdd, 0xff, 0xff, 0xff, 0xff],
        vec![0x81, 0xa4, b'b', b'o', b'd', b'y', 0xc6, 0xff, 0xff, 0xff, 0xff],
    ] {
        read_all(&head);
    }
}
