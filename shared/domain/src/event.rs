//! What can have happened. An event is a fact that was decided once and holds for ever.

use crate::key::{Cause, Digest, KeySpec, KeyState, Kid, Origin, Version};
use crate::name::{Actor, Address, EdgeId};
use crate::policy::{Policy, PolicyPatch};
use crate::signer::{Introduced, Withdrawn};
use crate::time::At;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);
    };
}

id!(
    /// A command's id (a UUID), chosen by whoever publishes it.
    CommandId
);
id!(
    /// An event's id (a UUID).
    EventId
);
id!(
    /// Ties the events of one passage from version to version together (a UUID).
    RotationId
);

/// A decided fact with its circumstances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its own id.
    pub id: EventId,
    /// What it is about.
    pub address: Address,
    /// When it was decided, by the deciding service's clock.
    pub at: At,
    /// Who asked.
    pub actor: Actor,
    /// The command that led to it.
    pub command: CommandId,
    /// The rotation that it belongs to.
    pub rotation: Option<RotationId>,
    /// What happened.
    pub fact: Fact,
}

/// An event with its position in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Stream sequence, from 1.
    pub seq: u64,
    /// The event.
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// A key exists; its sealed secret was staged before.
    KeyIssued(Issued),
    /// The barrier was passed: the secret may be handed out.
    KeyActivated(Activated),
    /// What the edges' reports show of a version's use.
    KeySeen(Used),
    /// Versions ended.
    KeyRetired(Ended),
    /// An earlier state was restored, as far as it may be.
    RolledBack(Restored),
    /// How long things last changed; the whole patch of this address.
    PolicySet(PolicyPatch),
    /// An edge is on the roster.
    EdgeAdded(EdgeId),
    /// An edge is off the roster.
    EdgeRemoved(EdgeId),
    /// A signing key is believed from here on.
    SignerAdded(Introduced),
    /// A signing key is not believed any more from here on.
    SignerWithdrawn(Withdrawn),
}

/// The names of the facts, as they stand in headers and outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FactKind {
    /// See [`Fact::KeyIssued`].
    KeyIssued,
    /// See [`Fact::KeyActivated`].
    KeyActivated,
    /// See [`Fact::KeySeen`].
    KeySeen,
    /// See [`Fact::KeyRetired`].
    KeyRetired,
    /// See [`Fact::RolledBack`].
    RolledBack,
    /// See [`Fact::PolicySet`].
    PolicySet,
    /// See [`Fact::EdgeAdded`].
    EdgeAdded,
    /// See [`Fact::EdgeRemoved`].
    EdgeRemoved,
    /// See [`Fact::SignerAdded`].
    SignerAdded,
    /// See [`Fact::SignerWithdrawn`].
    SignerWithdrawn,
}

impl FactKind {
    /// Every kind.
    pub const ALL: [FactKind; 10] = [
        FactKind::KeyIssued,
        FactKind::KeyActivated,
        FactKind::KeySeen,
        FactKind::KeyRetired,
        FactKind::RolledBack,
        FactKind::PolicySet,
        FactKind::EdgeAdded,
        FactKind::EdgeRemoved,
        FactKind::SignerAdded,
        FactKind::SignerWithdrawn,
    ];
}

impl Fact {
    /// Which kind of fact this is.
    pub fn kind(&self) -> FactKind {
        match self {
            Fact::KeyIssued(_) => FactKind::KeyIssued,
            Fact::KeyActivated(_) => FactKind::KeyActivated,
            Fact::KeySeen(_) => FactKind::KeySeen,
            Fact::KeyRetired(_) => FactKind::KeyRetired,
            Fact::RolledBack(_) => FactKind::RolledBack,
            Fact::PolicySet(_) => FactKind::PolicySet,
            Fact::EdgeAdded(_) => FactKind::EdgeAdded,
            Fact::EdgeRemoved(_) => FactKind::EdgeRemoved,
            Fact::SignerAdded(_) => FactKind::SignerAdded,
            Fact::SignerWithdrawn(_) => FactKind::SignerWithdrawn,
        }
    }

    /// The kid of the key that comes to be by it.
    pub fn issues(&self) -> Option<Kid> {
        match self {
            Fact::KeyIssued(issued) => Some(issued.kid),
            Fact::KeyActivated(_)
            | Fact::KeySeen(_)
            | Fact::KeyRetired(_)
            | Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => None,
        }
    }

    /// The version that the fact is about first of all.
    pub fn version(&self) -> Option<Version> {
        match self {
            Fact::KeyIssued(issued) => Some(issued.version),
            Fact::KeyActivated(activated) => Some(activated.version),
            Fact::KeySeen(used) => Some(used.version),
            Fact::KeyRetired(ended) => Some(ended.version),
            Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => None,
        }
    }

    /// Every version whose state it may change.
    pub fn changes(&self) -> Vec<Version> {
        match self {
            Fact::KeyIssued(issued) => issued.cancels.iter().copied().chain([issued.version]).collect(),
            Fact::KeyActivated(activated) => {
                activated.supersedes.iter().copied().chain([activated.version]).collect()
            }
            Fact::KeyRetired(ended) => ended.also.iter().copied().chain([ended.version]).collect(),
            Fact::RolledBack(restored) => {
                let withdrawn = restored.withdrawn.iter().map(|(version, _)| *version);
                restored.restored.iter().copied().chain(withdrawn).collect()
            }
            Fact::KeySeen(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => Vec::new(),
        }
    }
}

/// Body of `KeyIssued`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// Its place in the keyring.
    pub version: Version,
    /// Public lookup id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
    /// What it permits.
    pub spec: KeySpec,
    /// Minted or imported.
    pub origin: Origin,
    /// Whether it begins a rotation.
    pub reason: IssueReason,
    /// How long things last for this key: frozen now.
    pub policy: Policy,
    /// Pending versions that this one takes the place of.
    pub cancels: Vec<Version>,
}

/// Why a key was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssueReason {
    /// A first or an additional key.
    Issue,
    /// The next version.
    Rotate {
        /// The versions that it is to supersede; empty means all lower active ones.
        supersedes: Vec<Version>,
    },
}

/// How the barrier was passed: the activation proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barrier {
    /// Position of the `KeyIssued` that every edge has applied or is stale.
    pub position: u64,
    /// Edges that showed a watermark at or past it.
    pub edges: Vec<EdgeId>,
    /// Edges that did not, and how it is known that they are stale or have applied it.
    pub passed_over: Vec<PassedOver>,
    /// Set when a person passed the barrier by hand, with the reason given.
    pub by_hand: Option<String>,
}

/// An edge whose acknowledgement the barrier did not wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Which.
    pub edge: EdgeId,
    /// Why it cannot refuse the new key.
    pub basis: OverBasis,
}

/// Why an edge that did not acknowledge cannot give a definite no (SAFETY 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBasis {
    /// Its stored pulse did not change for a whole lease.
    Silent,
    /// A whole lease passed since the event was seen in the log.
    LeaseWaited,
}

/// Body of `KeyActivated`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// The version that may now be handed out.
    pub version: Version,
    /// The versions whose overlap begins; all lower ones.
    pub supersedes: Vec<Version>,
    /// The proof.
    pub barrier: Barrier,
}

/// What the edges' reports show of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// First use, if there was one.
    pub first_use: Option<At>,
    /// Newest use, if there was one.
    pub last_use: Option<At>,
    /// Uses counted.
    pub uses: u64,
    /// The quiet proof, when this is one.
    pub quiet: Option<QuietProof>,
}

/// That no edge accepted the version in `(from, complete_through]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuietProof {
    /// Where the window begins.
    pub from: At,
    /// The coverage time: every edge's use up to here is counted.
    pub complete_through: At,
    /// What is known of each edge on the roster.
    pub edges: Vec<Covered>,
}

/// How one edge's silence about a version is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// Which.
    pub edge: EdgeId,
    /// The stretch of time.
    pub from: At,
    /// Its end.
    pub through: At,
    /// The kind of evidence.
    pub basis: CoverBasis,
}

/// How an edge's share of a quiet proof is known (SAFETY 3, 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverBasis {
    /// Its own numbered reports cover the stretch.
    Reported,
    /// Its last contact plus its serving horizon lies before the stretch: it cannot have served.
    PastHorizon,
}

/// Body of `KeySeen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// Which version.
    pub version: Version,
    /// What was seen.
    pub seen: Use,
}

/// Body of `KeyRetired`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Which version (of several, the newest).
    pub version: Version,
    /// Other versions that ended by the same decision.
    pub also: Vec<Version>,
    /// Why.
    pub cause: Cause,
    /// In a person's words, where there are any.
    pub reason: Option<String>,
    /// What shows that the time had come.
    pub evidence: Option<Evidence>,
}

/// What shows that a superseded version's time had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// No edge accepted it in `(from, through]`, and a newer version was in use.
    Quiet {
        /// Where the quiet window begins.
        from: At,
        /// Its end.
        through: At,
        /// The newer version that was seen in use.
        successor: Version,
    },
    /// `overlap_max` came, with `on_overlap_max: retire`.
    Deadline {
        /// When it was.
        deadline: At,
    },
    /// Its own `expires_at` passed.
    Expired {
        /// When it was.
        expires_at: At,
    },
}

/// Body of `RolledBack`: the resulting state of every version that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The position whose state was restored.
    pub to_seq: u64,
    /// Versions that are active again.
    pub restored: Vec<Version>,
    /// Versions that are taken away, each with the state that it has from now on.
    pub withdrawn: Vec<(Version, KeyState)>,
}
