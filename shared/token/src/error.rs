//! What can be wrong with a key, a seed or a sealed secret. No message repeats a secret.

use keywheel_domain::rejection::InvalidText;
use std::fmt;

/// Why a shown text is no key. For logs and tests; outsiders are told `malformed` and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It has our brand, but is cut short there or names another environment.
    Environment,
    /// Ours: not as long as a key is. Foreign: not 8 to 512 bytes.
    Length,
    /// Ours: a character other than `0-9A-Za-z`, or a separator out of place.
    Alphabet,
    /// Ours: the checksum at its end does not fit.
    Checksum,
    /// Foreign: a byte that is not printable ASCII.
    Unprintable,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Environment => "it belongs to another environment",
            Malformed::Length => "it has the wrong length",
            Malformed::Alphabet => "it has a character that keys do not have",
            Malformed::Checksum => "its checksum does not fit; it was mistyped or cut",
            Malformed::Unprintable => "it has a byte that is not printable ASCII",
        })
    }
}

/// What this crate's functions refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A public text (a brand, a digest, a public key) is not what it should be.
    #[error(transparent)]
    Text(#[from] InvalidText),
    /// A seed cannot be read. The seed itself is not repeated.
    #[error("the {kind} seed is not valid; it is one line of 58 characters that begins with {prefix}")]
    Seed {
        /// What it is for.
        kind: &'static str,
        /// How such seeds begin.
        prefix: &'static str,
    },
    /// A sealed secret was damaged, or was sealed for somebody else or by somebody else.
    #[error("the sealed secret does not open with this seed and sender")]
    Unopened,
}
