//! What an edge answers when it is shown a key. Pure: the edge looks the key up and passes its
//! freshness and its clock in.

use crate::key::{KeyState, SPEC_ENTRIES_MAX};
use crate::policy::Class;
use crate::time::{At, Span};

/// How far an edge may trust its own table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It serves nobody: not on the roster, or never in contact with the log.
    NotServing,
    /// Its lease holds: what it does not know does not exist.
    Fresh,
    /// Its lease has run out.
    Stale {
        /// Since its last proof of freshness.
        age: Span,
    },
}

/// What the table knows of the key that was shown.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The text is no key of ours: length, alphabet, brand or checksum.
    Malformed,
    /// No key has this id.
    Nothing,
    /// A key has this id, and its digest is another: definitely not that key, whatever the log brings.
    WrongSecret,
    /// The key.
    Key {
        /// Its state.
        state: &'a KeyState,
        /// Scopes that it carries.
        scopes: &'a [String],
        /// The moment from which it is refused.
        expires_at: Option<At>,
        /// What a stale edge does with this keyring.
        class: Class,
        /// How long a stale edge serves it when it is available.
        stale_max: Span,
    },
}

/// Whether the caller's needs are met; decided by the edge, which knows addresses.
#[derive(Clone, Copy, Debug)]
pub struct Needs<'a> {
    /// Scopes that the caller requires.
    pub scopes: &'a [&'a str],
    /// Whether the client's address is in the key's ranges (true where there are none).
    pub address_allowed: bool,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Accepted.
    Valid,
    /// Refused or not answerable.
    Refused(Refusal),
}

/// Why a key is not accepted. Codes are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The text is no key.
    Malformed,
    /// No such key.
    Unknown,
    /// Retired.
    Retired,
    /// Revoked.
    Revoked,
    /// Its own end has passed.
    Expired,
    /// It lacks a required scope.
    InsufficientScope,
    /// Used from an address that it may not be used from.
    ForbiddenAddress,
    /// This edge cannot say now; ask another or try again.
    Stale,
    /// This edge serves nobody yet.
    NotReady,
}

impl Refusal {
    /// All of them, each at its own place.
    pub const ALL: [Refusal; 9] = [
        Refusal::Malformed,
        Refusal::Unknown,
        Refusal::Retired,
        Refusal::Revoked,
        Refusal::Expired,
        Refusal::InsufficientScope,
        Refusal::ForbiddenAddress,
        Refusal::Stale,
        Refusal::NotReady,
    ];

    /// The code that programs match on.
    pub fn code(self) -> &'static str {
        match self {
            Refusal::Malformed => "malformed",
            Refusal::Unknown => "unknown",
            Refusal::Retired => "retired",
            Refusal::Revoked => "revoked",
            Refusal::Expired => "expired",
            Refusal::InsufficientScope => "insufficient_scope",
            Refusal::ForbiddenAddress => "forbidden_address",
            Refusal::Stale => "stale",
            Refusal::NotReady => "not_ready",
        }
    }

    /// Whether this is a definite no, as opposed to "cannot say now".
    pub fn is_definite(self) -> bool {
        match self {
            Refusal::Malformed
            | Refusal::Unknown
            | Refusal::Retired
            | Refusal::Revoked
            | Refusal::Expired
            | Refusal::InsufficientScope
            | Refusal::ForbiddenAddress => true,
            Refusal::Stale | Refusal::NotReady => false,
        }
    }
}

/// Decides what to answer. `now` never goes back between calls: the edge sees to it.
pub fn judge(found: &Found<'_>, needs: &Needs<'_>, freshness: Freshness, now: At) -> Verdict {
    if freshness == Freshness::NotServing {
        return Verdict::Refused(Refusal::NotReady);
    }
    let fresh = freshness == Freshness::Fresh;
    let unless_stale = |refusal| Verdict::Refused(if fresh { refusal } else { Refusal::Stale });
    match found {
        Found::Malformed => Verdict::Refused(Refusal::Malformed),
        Found::Nothing => unless_stale(Refusal::Unknown),
        Found::WrongSecret => Verdict::Refused(Refusal::Unknown),
        Found::Key { state: KeyState::Revoked { .. }, .. } => Verdict::Refused(Refusal::Revoked),
        Found::Key { expires_at: Some(end), .. } if *end <= now => Verdict::Refused(Refusal::Expired),
        // A stale edge cannot know whether a rollback revived it (SAFETY 15).
        Found::Key { state: KeyState::Retired { .. }, .. } => unless_stale(Refusal::Retired),
        Found::Key {
            state: KeyState::Issued | KeyState::Active | KeyState::Retiring(_),
            scopes,
            expires_at: _,
            class,
            stale_max,
        } => {
            if !may_serve(*class, *stale_max, freshness) {
                return Verdict::Refused(Refusal::Stale);
            }
            permitted(scopes, needs)
        }
    }
}

fn may_serve(class: Class, stale_max: Span, freshness: Freshness) -> bool {
    match freshness {
        Freshness::NotServing => false,
        Freshness::Fresh => true,
        Freshness::Stale { age } => class == Class::Available && age <= stale_max,
    }
}

fn permitted(scopes: &[String], needs: &Needs<'_>) -> Verdict {
    // More than any key has; comparing them all would cost whoever is asked, not who asks.
    let too_many = needs.scopes.len() > SPEC_ENTRIES_MAX;
    let has = |scope: &&str| scopes.iter().any(|own| own == scope);
    if !needs.address_allowed {
        Verdict::Refused(Refusal::ForbiddenAddress)
    } else if too_many || !needs.scopes.iter().all(has) {
        Verdict::Refused(Refusal::InsufficientScope)
    } else {
        Verdict::Valid
    }
}
