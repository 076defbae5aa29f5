//! One version of a key and the states that it passes through.

use crate::event::RotationId;
use crate::rejection::InvalidText;
use crate::time::At;
use std::collections::BTreeMap;
use std::fmt;

/// Most scopes, address ranges or metadata entries that one key may carry.
pub const SPEC_ENTRIES_MAX: usize = 64;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// What each place of a kid is worth: 62^9 down to 1.
const WEIGHTS: [u64; 10] = {
    let mut weights = [1; 10];
    let mut place = 9;
    while place > 0 {
        weights[place - 1] = weights[place] * 62;
        place -= 1;
    }
    weights
};

/// A key's public lookup id: 10 base62 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid([u8; 10]);

impl Kid {
    /// Reads a kid.
    ///
    /// # Errors
    /// When it is not exactly 10 of `0-9A-Za-z`.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let read = <[u8; 10]>::try_from(text.as_bytes()).ok().and_then(Self::of);
        read.ok_or_else(|| InvalidText::new("kid", text, "use exactly 10 of 0-9, A-Z, a-z"))
    }

    /// The kid of these characters; nothing when one of them is none of `0-9A-Za-z`.
    pub fn of(characters: [u8; 10]) -> Option<Self> {
        let is_plain = characters.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
        is_plain.then_some(Self(characters))
    }

    /// The kid as a number below 62^10: its characters are the digits, in the order of their bytes, so
    /// that numbers are ordered as texts are.
    pub fn number(self) -> u64 {
        // Each digit by itself, not one after the other: this runs on every request.
        self.0.iter().zip(WEIGHTS).map(|(byte, weight)| u64::from(digit(*byte)) * weight).sum()
    }

    /// The kid of a [`Kid::number`]; of a larger one, that of its last ten digits.
    pub fn of_number(number: u64) -> Self {
        Self(WEIGHTS.map(|weight| ALPHABET[usize::try_from(number / weight % 62).unwrap_or_default()]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The value of one of `0-9A-Za-z`. Branch-free, since it is asked for every character that is shown.
fn digit(byte: u8) -> u8 {
    let is_letter = u8::from(byte >= b'A');
    let is_small = u8::from(byte >= b'a');
    byte.wrapping_sub(b'0' + 7 * is_letter + 6 * is_small)
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kid({self})")
    }
}

/// SHA-256 of a key's text as PROTOCOL section 3 defines it. Public: it opens nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// A key's place in its keyring, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// How a key came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Minted here; its sealed secret was staged before the event.
    Minted,
    /// Adopted by digest; its owner has it already.
    Imported,
}

/// What a key permits, as its owner asked for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySpec {
    /// Scopes that the key carries, sorted, none twice.
    pub scopes: Vec<String>,
    /// Address ranges (CIDR text) that it may be used from; none means any.
    pub cidrs: Vec<String>,
    /// The moment from which every edge refuses it by its own clock.
    pub expires_at: Option<At>,
    /// Free text of the platform's own, for people and reports.
    pub meta: BTreeMap<String, String>,
}

/// Why a key ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A newer version took over and this one was provably quiet, or its deadline came.
    Superseded,
    /// An operator asked for it.
    Requested,
    /// Compromised. Absorbing: nothing brings it back.
    Revoked,
    /// Its own `expires_at` passed.
    Expired,
    /// It was never activated.
    Cancelled,
    /// A rollback took it away.
    RolledBack,
}

/// The overlap of a superseded key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overlap {
    /// When it began.
    pub since: At,
    /// Before this moment nothing but a request retires the key.
    pub not_before: At,
    /// The hard end, with what happens there.
    pub deadline: At,
    /// Whether the key is retired at the deadline although it may still be in use.
    pub retire_at_deadline: bool,
    /// How long the key must be unseen before it may retire.
    pub quiet: crate::time::Span,
}

/// Where a key is in its life. Expiry is not among these: each reader decides it from `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// In the log, its secret not handed out yet (pre-activation).
    Issued,
    /// The barrier was passed; a primary key.
    Active,
    /// Superseded, still accepted.
    Retiring(Overlap),
    /// No longer accepted (deactivated); a rollback may revive it.
    Retired {
        /// Since when.
        at: At,
        /// Why.
        cause: Cause,
    },
    /// Compromised; absorbing.
    Revoked {
        /// Since when.
        at: At,
        /// In the words of whoever revoked it.
        reason: String,
    },
}

impl KeyState {
    /// Whether edges accept a key in this state. An issued one is accepted too: nobody can hold its
    /// secret before every edge knows it, so accepting early can refuse nobody late.
    pub fn is_accepted(&self) -> bool {
        match self {
            KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => true,
            KeyState::Retired { .. } | KeyState::Revoked { .. } => false,
        }
    }

    /// Whether the key was handed out and has not ended: what a client may rely on.
    pub fn is_live(&self) -> bool {
        match self {
            KeyState::Active | KeyState::Retiring(_) => true,
            KeyState::Issued | KeyState::Retired { .. } | KeyState::Revoked { .. } => false,
        }
    }

    /// The word for this state in tables, JSON and headers.
    pub fn word(&self) -> &'static str {
        match self {
            KeyState::Issued => "issued",
            KeyState::Active => "active",
            KeyState::Retiring(_) => "retiring",
            KeyState::Retired { .. } => "retired",
            KeyState::Revoked { .. } => "revoked",
        }
    }
}

/// When a version was seen in use, as far as the log says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// First use.
    pub first: At,
    /// Newest use that the log knows of.
    pub last: At,
    /// Uses counted until then.
    pub uses: u64,
}

/// That every edge covered a stretch of time in which the version was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// From here (exclusive)…
    pub from: At,
    /// …to here (inclusive) no edge accepted the version.
    pub through: At,
}

/// One version of a keyring's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Public lookup id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
    /// What it permits.
    pub spec: KeySpec,
    /// Minted or imported.
    pub origin: Origin,
    /// When it was issued.
    pub issued_at: At,
    /// Ties the events of one passage together.
    pub rotation: RotationId,
    /// Versions that its activation will supersede, when it was made by a rotation.
    pub replaces: Option<Replaces>,
    /// Where it is in its life.
    pub state: KeyState,
    /// Whether it was ever activated, so that somebody may hold its secret.
    pub was_activated: bool,
    /// Use that the log knows of.
    pub seen: Option<Seen>,
    /// The newest quiet proof, void as soon as a later use is known.
    pub quiet: Option<Quiet>,
}

/// What a rotation takes the place of, and how long the overlap with it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaces {
    /// The versions meant; empty means all lower ones that are active when the barrier is passed.
    pub only: Vec<Version>,
    /// How long things last in this rotation: frozen when it began, so that the audit can judge it.
    pub policy: crate::policy::Policy,
}
