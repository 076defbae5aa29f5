//! Instants and spans, in whole milliseconds. The clock is always somebody else's.

use crate::name::shown;
use std::fmt;

/// A moment: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub u64);

impl At {
    /// The moment `span` later; the end of time rather than an overflow.
    pub fn after(self, span: Span) -> At {
        At(self.0.saturating_add(span.0))
    }

    /// The moment `span` earlier; the beginning of time rather than an underflow.
    pub fn before(self, span: Span) -> At {
        At(self.0.saturating_sub(span.0))
    }

    /// How much later this moment is than `earlier`; nothing when it is not.
    pub fn since(self, earlier: At) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Span {
    /// A span of so many seconds.
    pub const fn secs(n: u64) -> Span {
        Span(n.saturating_mul(1000))
    }

    /// A span of so many hours.
    pub const fn hours(n: u64) -> Span {
        Span::secs(n.saturating_mul(3600))
    }

    /// A span of so many days.
    pub const fn days(n: u64) -> Span {
        Span::hours(n.saturating_mul(24))
    }

    /// Reads `250ms`, `30s`, `15m`, `24h`, `7d`, `2w`: one whole number and one unit.
    ///
    /// # Errors
    /// The sentence that tells a person what was expected.
    pub fn parse(text: &str) -> Result<Span, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        match (number.parse::<u64>(), factor) {
            (Ok(n), Some(factor)) => {
                n.checked_mul(factor).map(Span).ok_or_else(|| format!("{} is too long a time", shown(text)))
            }
            (_, _) => Err(format!("{} is no duration; write 250ms, 30s, 15m, 24h, 7d or 2w", shown(text))),
        }
    }
}

const UNITS: [(&str, u64); 6] = [
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// Writes the largest unit but weeks that holds the span exactly, so that [`Span::parse`] reads it back.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |factor: &u64| self.0 != 0 && self.0.is_multiple_of(*factor);
        match UNITS.iter().skip(1).find(|(_, factor)| exact(factor)) {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}ms", self.0),
        }
    }
}
