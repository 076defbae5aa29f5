//! One version of a key and the states that it passes through.

use crate::event::RotationId;
use crate::rejection::InvalidText;
use crate::time::At;
use std::collections::BTreeMap;
use std::fmt;

/// Most scopes, address ranges or metadata entries that one key may carry.
pub const SPEC_ENTRIES_MAX: usize = 64;

/// A key's public lookup id: 10 base62 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kid([u8; 10]);

impl Kid {
    /// Reads a kid.
    ///
    /// # Errors
    /// When it is not exactly 10 of `0-9A-Za-z`.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        match <[u8; 10]>::try_from(text.as_bytes()) {
            Ok(bytes) if bytes.iter().all(u8::is_ascii_alphanumeric) => Ok(Self(bytes)),
            Ok(_) | Err(_) => Err(InvalidText::new("kid", text, "use exactly 10 of 0-9, A-Z, a-z")),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Debug, PartialEq, Eq)]
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
