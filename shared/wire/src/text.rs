//! Instants, spans, ids and digests as text, the same in JSON and MessagePack.

use crate::Malformed;
use chrono::{DateTime, SecondsFormat, Utc};
use keywheel_domain::name::shown;
use keywheel_domain::{At, Digest, Span};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::fmt::Write;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// An instant as RFC 3339 with milliseconds, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub At);

/// A span such as `30s`, `15m`, `24h`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length(pub Span);

/// A UUID in its hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u128);

/// 32 bytes as 64 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hex32(pub [u8; 32]);

/// The last instant that RFC 3339 can write: 9999-12-31T23:59:59.999Z.
pub const LAST_MOMENT: At = At(253_402_300_799_999);

/// Writes an instant as RFC 3339 with milliseconds. One after [`LAST_MOMENT`] is written as that, so
/// that what was written can always be read.
pub fn moment(at: At) -> String {
    let time = i64::try_from(at.min(LAST_MOMENT).0).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
    time.unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads an RFC 3339 instant.
///
/// # Errors
/// Says what was expected.
pub fn parse_moment(text: &str) -> Result<At, String> {
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| format!("{} is no time; write it as 2026-01-31T12:00:00Z", shown(text)))?;
    let at = u64::try_from(time.timestamp_millis()).map(At);
    let at = at.map_err(|_| format!("{} lies before 1970", shown(text)))?;
    // An offset can lead past the last year that can be written.
    if at > LAST_MOMENT { Err(format!("{} lies after 9999", shown(text))) } else { Ok(at) }
}

/// Writes bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Reads 64 hexadecimal digits.
///
/// # Errors
/// Says what was expected.
pub fn parse_hex32(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "expected 64 hexadecimal digits".to_owned();
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; 32];
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or_else(wrong)?;
    }
    Ok(bytes)
}

/// Writes a UUID in its hyphenated form.
pub fn id(id: u128) -> String {
    Uuid::from_u128(id).hyphenated().to_string()
}

/// Reads a UUID in its hyphenated form: an outcome's subject has it so, and nobody would find it under another.
///
/// # Errors
/// Names `field`.
pub fn parse_id(field: &str, text: &str) -> Result<u128, Malformed> {
    let uuid = Uuid::try_parse(text).ok().filter(|_| text.len() == Hyphenated::LENGTH);
    let uuid = uuid.ok_or_else(|| Malformed::new(field, format!("`{field}` must be a UUID")))?;
    Ok(uuid.as_u128())
}

macro_rules! as_text {
    ($type:ident, $write:expr, $read:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&$write(*self))
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $read(&text).map_err(D::Error::custom)
            }
        }
    };
}

as_text!(Moment, |m: Moment| moment(m.0), |text: &str| parse_moment(text).map(Moment));
as_text!(Length, |l: Length| l.0.to_string(), |text: &str| Span::parse(text).map(Length));
as_text!(Id, |i: Id| id(i.0), |text: &str| { parse_id("id", text).map(Id).map_err(|_| "expected a UUID") });
as_text!(Hex32, |h: Hex32| hex(&h.0), |text: &str| parse_hex32(text).map(Hex32));

impl From<Digest> for Hex32 {
    fn from(digest: Digest) -> Self {
        Self(digest.0)
    }
}
