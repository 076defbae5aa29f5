//! How an event's fields stand on a line for people: whatever is in a value, the line stays one line, and
//! nothing in it reads as a field of its own.

use crate::plain;
use std::fmt::{self, Debug};
use tracing::field::{Field, Visit};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;

/// `message name=value name="a value with spaces"`.
pub(super) struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line { writer, is_begun: false, written: Ok(()) };
        fields.record(&mut line);
        line.written
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    is_begun: bool,
    written: fmt::Result,
}

impl Line<'_> {
    fn put(&mut self, name: &str, text: &str) {
        let gap = if self.is_begun { " " } else { "" };
        self.is_begun = true;
        let written = match name {
            "message" => write!(self.writer, "{gap}{}", Quoted(text, reads_as_message)),
            _ => write!(self.writer, "{gap}{name}={}", Quoted(text, reads_as_value)),
        };
        self.written = self.written.and(written);
    }
}

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }
}

/// Text as it is where `is_clear`, else quoted and escaped.
struct Quoted<'a>(&'a str, fn(&str) -> bool);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(text, is_clear) = self;
        if is_clear(text) { f.write_str(text) } else { write!(f, "{text:?}") }
    }
}

/// A sentence: spaces are expected, what could be a field after it is not.
fn reads_as_message(text: &str) -> bool {
    text.chars().all(|character| plain::prints(character) && !matches!(character, '=' | '"'))
}

fn reads_as_value(text: &str) -> bool {
    let is_clear = |character: char| {
        plain::prints(character) && !character.is_whitespace() && !matches!(character, '=' | '"')
    };
    !text.is_empty() && text.chars().all(is_clear)
}
