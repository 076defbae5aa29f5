//! The bodies of events as they are stored: what is stored never changes with the code's own types.

mod read;
mod write;

use crate::Malformed;
use crate::policy::{WirePatch, whole};
use crate::text::{Hex32, Length, Moment};
use crate::warrant;
use keywheel_domain::event::{
    Activated, Barrier, CoverBasis, Covered, Ended, Evidence, Fact, FactKind, IssueReason, Issued, OverBasis,
    PassedOver, QuietProof, Restored, Use, Used,
};
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::policy::PolicyPatch;
use keywheel_domain::signer::{Introduced, Withdrawn};
use keywheel_domain::{Digest, EdgeId, KeySpec, KeyState, Kid, Policy, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Body of `KeyIssued`.
#[derive(Serialize, Deserialize)]
pub struct KeyIssuedBody {
    version: u32,
    kid: String,
    digest: Hex32,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    cidrs: Vec<String>,
    expires_at: Option<Moment>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
    origin: WireOrigin,
    reason: WireReason,
    policy: WirePatch,
    #[serde(default)]
    supersedes: Vec<u32>,
    #[serde(default)]
    cancels: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireOrigin {
    Minted,
    Imported,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireReason {
    Issue,
    Rotate,
}

/// Body of `KeyActivated`.
#[derive(Serialize, Deserialize)]
pub struct KeyActivatedBody {
    version: u32,
    supersedes: Vec<u32>,
    position: u64,
    edges: Vec<String>,
    passed_over: Vec<WirePassedOver>,
    by_hand: Option<String>,
}

/// An edge that the barrier did not wait for.
#[derive(Serialize, Deserialize)]
pub struct WirePassedOver {
    edge: String,
    basis: WireOverBasis,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireOverBasis {
    Silent,
    LeaseWaited,
}

/// Body of `KeySeen`; `complete_through`, `quiet_from` and `edges` where it is a quiet proof.
#[derive(Serialize, Deserialize)]
pub struct KeySeenBody {
    version: u32,
    first_use: Option<Moment>,
    last_use: Option<Moment>,
    uses: u64,
    complete_through: Option<Moment>,
    quiet_from: Option<Moment>,
    #[serde(default)]
    edges: Vec<WireCovered>,
}

/// One edge's share of a quiet proof.
#[derive(Serialize, Deserialize)]
pub struct WireCovered {
    edge: String,
    from: Moment,
    through: Moment,
    basis: WireCoverBasis,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum WireCoverBasis {
    Reported,
    PastHorizon,
}

/// Body of `KeyRetired`.
#[derive(Serialize, Deserialize)]
pub struct KeyRetiredBody {
    version: u32,
    #[serde(default)]
    also: Vec<u32>,
    cause: WireCause,
    reason: Option<String>,
    evidence: Option<WireEvidence>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum WireCause {
    Superseded,
    Requested,
    Revoked,
    Expired,
    Cancelled,
    RolledBack,
}

/// What shows that a version's time had come.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WireEvidence {
    /// Unused in `(from, through]`, with a newer version in use.
    Quiet {
        /// Begin of the window.
        from: Moment,
        /// Its end.
        through: Moment,
        /// The newer version.
        successor: u32,
    },
    /// `overlap_max` came.
    Deadline {
        /// When.
        deadline: Moment,
    },
    /// The key's own end came.
    Expired {
        /// When.
        expires_at: Moment,
    },
}

/// Body of `RolledBack`: each version's resulting state.
#[derive(Serialize, Deserialize)]
pub struct RolledBackBody {
    to_seq: u64,
    restored: Vec<WireVersionState>,
    withdrawn: Vec<WireVersionState>,
    /// The hard end of each withdrawn version that is accepted for an overlap.
    deadlines: BTreeMap<String, Moment>,
}

/// A version with its resulting state.
#[derive(Serialize, Deserialize)]
pub struct WireVersionState {
    version: u32,
    #[serde(flatten)]
    state: WireKeyState,
}

/// A key's state as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum WireKeyState {
    /// Not handed out.
    Issued,
    /// Primary.
    Active,
    /// In its overlap.
    Retiring {
        /// Begin of the overlap.
        since: Moment,
        /// Earliest retirement.
        not_before: Moment,
        /// Hard end.
        deadline: Moment,
        /// Whether it retires there in any case.
        retire_at_deadline: bool,
        /// Quiet period.
        quiet: Length,
    },
    /// Ended.
    Retired {
        /// Since when.
        at: Moment,
        /// Why.
        cause: String,
    },
    /// Compromised.
    Revoked {
        /// Since when.
        at: Moment,
        /// Why.
        reason: String,
    },
}

/// Body of `PolicySet`.
#[derive(Serialize, Deserialize)]
pub struct PolicySetBody {
    policy: WirePatch,
}

/// Body of `EdgeAdded` and `EdgeRemoved`.
#[derive(Serialize, Deserialize)]
pub struct EdgeBody {
    edge: String,
}

/// Body of `SignerAdded`.
#[derive(Serialize, Deserialize)]
pub struct SignerAddedBody {
    key: String,
    role: String,
    by: String,
    signature: String,
}

/// Body of `SignerWithdrawn`.
#[derive(Serialize, Deserialize)]
pub struct SignerWithdrawnBody {
    key: String,
    reason: String,
    by: String,
    signature: String,
}

/// The words of event types on the wire.
pub fn type_word(kind: FactKind) -> &'static str {
    match kind {
        FactKind::KeyIssued => "KeyIssued",
        FactKind::KeyActivated => "KeyActivated",
        FactKind::KeySeen => "KeySeen",
        FactKind::KeyRetired => "KeyRetired",
        FactKind::RolledBack => "RolledBack",
        FactKind::PolicySet => "PolicySet",
        FactKind::EdgeAdded => "EdgeAdded",
        FactKind::EdgeRemoved => "EdgeRemoved",
        FactKind::SignerAdded => "SignerAdded",
        FactKind::SignerWithdrawn => "SignerWithdrawn",
    }
}

/// The words of retirement causes on the wire.
pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Superseded => "superseded",
        Cause::Requested => "requested",
        Cause::Revoked => "revoked",
        Cause::Expired => "expired",
        Cause::Cancelled => "cancelled",
        Cause::RolledBack => "rolled_back",
    }
}
