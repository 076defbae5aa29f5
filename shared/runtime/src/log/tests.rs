//! What is logged, and that no value gets out of its place.

use super::*;
use crate::plain;
use proptest::prelude::{any, proptest};
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use tracing_subscriber::registry;

#[test]
fn levels_and_targets_are_filters() {
    for good in ["info", "OFF", "warn,keywheel=debug", "keywheel_bus::lease=trace", "info,hyper=off"] {
        assert_eq!(Filter::parse(good), Ok(Filter(good.to_owned())));
    }
}

#[test]
fn a_mistyped_level_is_refused() {
    for (bad, part) in [("inof", "inof"), ("", ""), ("info,", ""), ("info,hyper=wran", "hyper=wran")] {
        assert_eq!(Filter::parse(bad), Err(format!("{part:?} is no level; {RULE}")));
    }
    assert!(Filter::parse("a=b=info").is_err());
}

#[test]
fn starting_twice_does_no_harm() {
    init(&LogConfig::default());
    init(&LogConfig { format: Format::Json, level: Filter::default() });
}

/// What is written, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The line that an event becomes, with `text` in its message and in fields of every kind.
fn logged(format: Format, text: &str) -> String {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = registry().with(lines(format, false, move || writer.clone()));
    tracing::subscriber::with_default(subscriber, || {
        let error = io::Error::other(text.to_owned());
        tracing::warn!(text, shown = %text, debugged = ?text, %error, seq = 5, "said: {text}");
    });
    let bytes = kept.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

/// The fields of a line for people, read as a program would that knows of quotes.
fn fields_of(line: &str) -> Vec<(String, String)> {
    let (mut fields, mut rest) = (Vec::new(), line);
    while let Some((before, after)) = rest.split_once('=') {
        let name = before.rsplit(' ').next().unwrap().to_owned();
        let length = match after.strip_prefix('"') {
            None => after.find(' ').unwrap_or(after.len()),
            Some(inside) => {
                let ends = |(at, c): &(usize, char)| {
                    let escapes = inside[..*at].bytes().rev().take_while(|byte| *byte == b'\\').count();
                    *c == '"' && escapes % 2 == 0
                };
                inside.char_indices().find(ends).unwrap().0 + 2
            }
        };
        fields.push((name, after[..length].to_owned()));
        rest = &after[length..];
    }
    fields
}

fn assert_one_line(text: &str) {
    for format in [Format::Text, Format::Json] {
        let written = logged(format, text);
        let line = written.strip_suffix('\n').unwrap();
        assert!(line.chars().all(plain::prints), "{format:?} {line:?}");
    }
    let line = logged(Format::Text, text);
    // A message that could be taken for fields is quoted, so it is passed over here.
    let (_, said) = line.split_once("log::tests: ").unwrap();
    let fields = match said.strip_prefix('"') {
        None => fields_of(said.trim_end()),
        Some(_) => fields_of(&format!("message={}", said.trim_end())).split_off(1),
    };
    let names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["text", "shown", "debugged", "error", "seq"], "{line}");
    assert_eq!(fields[4].1, "5", "{line}");
    let document: Value = serde_json::from_str(&logged(Format::Json, text)).unwrap();
    assert_eq!((&document["text"], &document["seq"]), (&Value::from(text), &Value::from(5)));
    assert_eq!(document["level"], "WARN");
}

#[test]
fn no_text_begins_a_line_or_forges_a_field() {
    for text in [
        "",
        "plain",
        "two words",
        "x\n2026-01-01T00:00:00Z  INFO keywheel: key accepted",
        "a\r\nb",
        "x seq=7 admin=true",
        "\" seq=7 x=\"",
        "\\\" seq=7",
        "\u{1b}[2K\u{1b}[1A",
        "\u{9b}2J",
        "\u{202e}nimda\u{2066}",
        "a\u{2028}b\u{85}c\u{0}d",
        "\u{1b}]8;;http://x\u{7}",
        "{\"level\":\"INFO\"}",
    ] {
        assert_one_line(text);
    }
}

#[test]
fn what_is_clear_is_not_quoted() {
    let line = logged(Format::Text, "e1");
    assert!(line.ends_with("said: e1 text=e1 shown=e1 debugged=\"\\\"e1\\\"\" error=e1 seq=5\n"), "{line}");
}

proptest! {
    #[test]
    fn any_text_stays_in_its_place(text in any::<String>()) {
        assert_one_line(&text);
    }

    #[test]
    fn any_trick_stays_in_its_place(text in "[ =\"\\\\a\n\r\u{1b}\u{9b}\u{202e}\u{2028}]{0,12}") {
        assert_one_line(&text);
    }
}
