//! The log as lines of JSON: what it is, each message byte by byte, and how far it went. Such a file is checked with
//! nothing but the public keys.
//!
//! ```text
//! {"keywheel_log":1,"installation":"…","tenant":null,"from":null,"to":null}
//! {"head":{"seq":9,"subject":"…","payload":"<base64>","signer":"U…","signature":"…"}}
//! {"seq":1,"time":"…","subject":"…","payload":"<base64>","headers":{"Kw-Signer":"U…","Kw-Signature":"…"}}
//! {"end":{"messages":1,"last":1,"chain":"<hex>"}}
//! ```

use crate::inspect::Scope;
use crate::proof::Evidence;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keywheel_table::{Message, Record};
use keywheel_wire::signature::Signed;
use keywheel_wire::subject::{HEADER_SIGNATURE, HEADER_SIGNER};
use keywheel_wire::text::{Hex32, Id, Moment};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of this format.
pub const FORMAT: u32 = 1;
/// Longest line that is read, in bytes: the largest event, and headers.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The first line: which part of which log follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// [`FORMAT`].
    pub keywheel_log: u32,
    /// Whose log it is.
    pub installation: Id,
    /// Only this tenant's keyrings.
    pub tenant: Option<String>,
    /// Only what was stored at or after this moment.
    pub from: Option<Moment>,
    /// Only what was stored before this moment.
    pub to: Option<Moment>,
    /// Of a part: the installation's messages, where they introduced or withdrew signers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signers: Vec<Evidence>,
    /// When the log was created, which tells it from others; older files do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_created: Option<Moment>,
}

impl Begin {
    /// What can be checked of the messages that follow.
    pub fn scope(&self) -> Scope {
        Scope { contiguous: self.tenant.is_none(), from_beginning: self.from.is_none() }
    }

    /// As it is written.
    pub fn write(&self) -> String {
        to_text(self)
    }

    /// Reads the first line.
    ///
    /// # Errors
    /// Says what was expected.
    pub fn read(line: &str) -> Result<Begin, String> {
        let begin: Begin = serde_json::from_str(line).map_err(|error| {
            format!("this is no exported log: {error}; `keywheel audit export --format jsonl` writes one")
        })?;
        if begin.keywheel_log == FORMAT {
            return Ok(begin);
        }
        Err(format!("keywheel_log: format {} is newer than this program ({FORMAT})", begin.keywheel_log))
    }
}

/// What the last line says of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// Messages in the file.
    pub messages: u64,
    /// The last sequence; 0 where there is none.
    pub last: u64,
    /// The running hash there, where the file holds the whole log up to it.
    pub chain: Option<Hex32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageLine {
    seq: u64,
    time: Moment,
    subject: String,
    payload: String,
    headers: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadLine {
    head: Evidence,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndLine {
    end: End,
}

/// A line after the first.
#[derive(Clone, Debug)]
pub enum Line {
    /// A message.
    Message(Record),
    /// A signed head of the log, as the propagator published it.
    Head(Evidence),
    /// The last line.
    End(End),
}

/// A message as it is written. Of a header that stands twice the first counts, as it does for every reader.
pub fn write(record: &Record) -> String {
    let mut headers = BTreeMap::new();
    for (name, value) in &record.headers {
        headers.entry(name.clone()).or_insert_with(|| value.clone());
    }
    let Message { seq, subject, payload, signed: _ } = &record.message;
    let payload = STANDARD.encode(payload);
    to_text(&MessageLine { seq: *seq, time: Moment(record.at), subject: subject.clone(), payload, headers })
}

impl End {
    /// As it is written.
    pub fn write(&self) -> String {
        to_text(&EndLine { end: self.clone() })
    }
}

/// A signed head as it is written: what the messages that follow it must lead to.
pub fn write_head(head: &Evidence) -> String {
    to_text(&HeadLine { head: head.clone() })
}

impl Line {
    /// Reads a line after the first.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(line: &str) -> Result<Line, String> {
        match serde_json::from_str::<MessageLine>(line) {
            Ok(message) => record(message).map(Line::Message),
            Err(error) => {
                let end = serde_json::from_str::<EndLine>(line).map(|line| Line::End(line.end));
                let head = || serde_json::from_str::<HeadLine>(line).map(|line| Line::Head(line.head));
                end.or_else(|_| head()).map_err(|_| format!("this line is no message: {error}"))
            }
        }
    }
}

fn record(line: MessageLine) -> Result<Record, String> {
    let MessageLine { seq, time, subject, payload, headers } = line;
    let payload = STANDARD.decode(&payload).map_err(|error| format!("payload: no base64: {error}"))?;
    let signed = headers.get(HEADER_SIGNER).zip(headers.get(HEADER_SIGNATURE));
    let signed = signed.map(|(by, signature)| Signed { by: by.clone(), signature: signature.clone() });
    let message = Message { seq, subject, payload, signed };
    Ok(Record { message, at: time.0, headers: headers.into_iter().collect() })
}

fn to_text(line: &impl Serialize) -> String {
    serde_json::to_string(line).expect("our own documents have text keys")
}
