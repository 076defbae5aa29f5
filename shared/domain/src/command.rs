//! What can be asked for. A command carries every fact that its decision needs.

use crate::event::{Barrier, CommandId, EventId, RotationId, Use};
use crate::key::{Digest, KeySpec, Kid, Version};
use crate::name::{Actor, Address, EdgeId};
use crate::policy::{Policy, PolicyChange};
use crate::signer::{Introduced, Listed, Withdrawn};
use crate::state::State;
use crate::time::{At, Span};
use std::collections::BTreeMap;

/// One request to make something true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Chosen by whoever asks; the same id never has a second effect.
    pub id: CommandId,
    /// What it is about.
    pub address: Address,
    /// Who asks.
    pub actor: Actor,
    /// The moment of the decision, by the deciding service's clock.
    pub at: At,
    /// The id that the event will have, should one be decided.
    pub event_id: EventId,
    /// What is asked.
    pub act: Act,
}

/// A key that was just minted (or is adopted): its public part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minted {
    /// Public lookup id.
    pub kid: Kid,
    /// Digest of its text.
    pub digest: Digest,
    /// The passage that it begins.
    pub rotation: RotationId,
}

/// What the new key is to permit, as asked: an absolute end is computed when it is decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpecAsked {
    /// Scopes; none said: on a rotation those of the newest version.
    pub scopes: Option<Vec<String>>,
    /// Address ranges; none said: on a rotation those of the newest version.
    pub cidrs: Option<Vec<String>>,
    /// Lifetime; none said: on a rotation that of the newest version.
    pub expires_in: Option<Span>,
    /// Metadata; none said: on a rotation that of the newest version.
    pub meta: Option<BTreeMap<String, String>>,
}

/// What a command asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// A first or an additional key.
    Issue {
        /// The key.
        minted: Minted,
        /// What it permits.
        spec: SpecAsked,
        /// What holds for this keyring now.
        policy: Policy,
    },
    /// The next version, which supersedes others when it is activated.
    Rotate {
        /// The key.
        minted: Minted,
        /// What it permits.
        spec: SpecAsked,
        /// Which versions it takes the place of; empty means all lower active ones.
        supersedes: Vec<Version>,
        /// What holds for this rotation.
        policy: Policy,
    },
    /// Adopt an existing key by its digest: accepted like any other, and its owner has it already.
    Import {
        /// The key.
        minted: Minted,
        /// What it permits.
        spec: KeySpec,
        /// What holds for this keyring now.
        policy: Policy,
    },
    /// The barrier was passed (or is passed by hand).
    Activate {
        /// Which version.
        version: Version,
        /// The evidence.
        barrier: Barrier,
    },
    /// What the edges' reports show of a version's use.
    RecordUse {
        /// Which version.
        version: Version,
        /// What was seen.
        seen: Use,
    },
    /// End a version without calling it compromised.
    Retire {
        /// Which version.
        version: Version,
        /// Why.
        why: Retirement,
    },
    /// Compromised.
    Revoke {
        /// Which versions.
        which: Which,
        /// Why, in a person's words.
        reason: String,
    },
    /// Go back to what held at an earlier position.
    Rollback {
        /// The position.
        to_seq: u64,
        /// The keyring at that position, found by replay.
        target: Box<State>,
        /// Revoke what is newer instead of letting it run out.
        revoke_new: bool,
        /// What holds for the overlap that this begins.
        policy: Policy,
    },
    /// Change how long things last.
    SetPolicy {
        /// The change.
        change: PolicyChange,
        /// What holds where this address sets nothing: the built-in policy, under a keyring its tenant's.
        beneath: Policy,
    },
    /// Put an edge on the roster.
    AddEdge {
        /// Which.
        edge: EdgeId,
    },
    /// Take an edge off the roster; its credential was withdrawn before.
    RemoveEdge {
        /// Which.
        edge: EdgeId,
    },
    /// Introduce a signing key, whose warrant's signature was found to be right.
    AddSigner {
        /// Which, as what, by whose word.
        asked: Introduced,
        /// What the deciding service's signers file says.
        listed: Listed,
    },
    /// Withdraw a signing key, whose warrant's signature was found to be right.
    WithdrawSigner {
        /// Which, why, by whose word.
        asked: Withdrawn,
        /// What the deciding service's signers file says.
        listed: Listed,
    },
}

/// Why a version is to be retired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// An operator wants it now.
    Requested,
    /// It was superseded and the log shows that its time has come ([`crate::due::retirement`]).
    Due,
    /// It was never activated, and cannot be.
    Cancelled(String),
}

/// Which versions a revocation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(Version),
    /// Every version of the keyring.
    All,
}
