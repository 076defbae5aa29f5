//! The bodies of events as they are stored: what is stored never changes with the code's own types.

use crate::Malformed;
use crate::policy::{WirePatch, whole};
use crate::text::{Hex32, Length, Moment};
use keywheel_domain::event::{
    Activated, Barrier, CoverBasis, Covered, Ended, Evidence, Fact, FactKind, IssueReason, Issued, OverBasis,
    PassedOver, QuietProof, Restored, Use, Used,
};
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::policy::PolicyPatch;
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

fn cause_in(word: &str) -> Result<Cause, Malformed> {
    const ALL: [Cause; 6] = [
        Cause::Superseded,
        Cause::Requested,
        Cause::Revoked,
        Cause::Expired,
        Cause::Cancelled,
        Cause::RolledBack,
    ];
    let known = ALL.into_iter().find(|cause| cause_word(*cause) == word);
    known.ok_or_else(|| Malformed::new("cause", format!("`{word}` is no cause")))
}

fn numbers(versions: &[Version]) -> Vec<u32> {
    versions.iter().map(|version| version.0).collect()
}

fn versions(numbers: Vec<u32>) -> Vec<Version> {
    numbers.into_iter().map(Version).collect()
}

impl From<&Issued> for KeyIssuedBody {
    fn from(issued: &Issued) -> Self {
        let (reason, supersedes) = match &issued.reason {
            IssueReason::Issue => (WireReason::Issue, Vec::new()),
            IssueReason::Rotate { supersedes } => (WireReason::Rotate, numbers(supersedes)),
        };
        Self {
            version: issued.version.0,
            kid: issued.kid.to_string(),
            digest: issued.digest.into(),
            scopes: issued.spec.scopes.clone(),
            cidrs: issued.spec.cidrs.clone(),
            expires_at: issued.spec.expires_at.map(Moment),
            meta: issued.spec.meta.clone(),
            origin: match issued.origin {
                Origin::Minted => WireOrigin::Minted,
                Origin::Imported => WireOrigin::Imported,
            },
            reason,
            policy: whole(&issued.policy),
            supersedes,
            cancels: numbers(&issued.cancels),
        }
    }
}

impl TryFrom<KeyIssuedBody> for Fact {
    type Error = Malformed;

    fn try_from(body: KeyIssuedBody) -> Result<Self, Malformed> {
        Ok(Fact::KeyIssued(Issued {
            version: Version(body.version),
            kid: Kid::parse(&body.kid)?,
            digest: Digest(body.digest.0),
            spec: KeySpec {
                scopes: body.scopes,
                cidrs: body.cidrs,
                expires_at: body.expires_at.map(|moment| moment.0),
                meta: body.meta,
            },
            origin: match body.origin {
                WireOrigin::Minted => Origin::Minted,
                WireOrigin::Imported => Origin::Imported,
            },
            reason: match body.reason {
                WireReason::Issue => IssueReason::Issue,
                WireReason::Rotate => IssueReason::Rotate { supersedes: versions(body.supersedes) },
            },
            policy: Policy::default().overlaid(&PolicyPatch::from(body.policy)),
            cancels: versions(body.cancels),
        }))
    }
}

impl From<&Activated> for KeyActivatedBody {
    fn from(activated: &Activated) -> Self {
        let passed_over = |over: &PassedOver| WirePassedOver {
            edge: over.edge.to_string(),
            basis: match over.basis {
                OverBasis::Silent => WireOverBasis::Silent,
                OverBasis::LeaseWaited => WireOverBasis::LeaseWaited,
            },
        };
        Self {
            version: activated.version.0,
            supersedes: numbers(&activated.supersedes),
            position: activated.barrier.position,
            edges: activated.barrier.edges.iter().map(ToString::to_string).collect(),
            passed_over: activated.barrier.passed_over.iter().map(passed_over).collect(),
            by_hand: activated.barrier.by_hand.clone(),
        }
    }
}

impl TryFrom<KeyActivatedBody> for Fact {
    type Error = Malformed;

    fn try_from(body: KeyActivatedBody) -> Result<Self, Malformed> {
        let passed_over = |over: WirePassedOver| -> Result<PassedOver, Malformed> {
            let basis = match over.basis {
                WireOverBasis::Silent => OverBasis::Silent,
                WireOverBasis::LeaseWaited => OverBasis::LeaseWaited,
            };
            Ok(PassedOver { edge: EdgeId::parse(&over.edge)?, basis })
        };
        let edges = body.edges.iter().map(|edge| EdgeId::parse(edge)).collect::<Result<_, _>>()?;
        Ok(Fact::KeyActivated(Activated {
            version: Version(body.version),
            supersedes: versions(body.supersedes),
            barrier: Barrier {
                position: body.position,
                edges,
                passed_over: body.passed_over.into_iter().map(passed_over).collect::<Result<_, _>>()?,
                by_hand: body.by_hand,
            },
        }))
    }
}

impl From<&Used> for KeySeenBody {
    fn from(used: &Used) -> Self {
        let covered = |covered: &Covered| WireCovered {
            edge: covered.edge.to_string(),
            from: Moment(covered.from),
            through: Moment(covered.through),
            basis: match covered.basis {
                CoverBasis::Reported => WireCoverBasis::Reported,
                CoverBasis::PastHorizon => WireCoverBasis::PastHorizon,
            },
        };
        let quiet = used.seen.quiet.as_ref();
        Self {
            version: used.version.0,
            first_use: used.seen.first_use.map(Moment),
            last_use: used.seen.last_use.map(Moment),
            uses: used.seen.uses,
            complete_through: quiet.map(|proof| Moment(proof.complete_through)),
            quiet_from: quiet.map(|proof| Moment(proof.from)),
            edges: quiet.map(|proof| proof.edges.iter().map(covered).collect()).unwrap_or_default(),
        }
    }
}

impl TryFrom<KeySeenBody> for Fact {
    type Error = Malformed;

    fn try_from(body: KeySeenBody) -> Result<Self, Malformed> {
        let covered = |covered: WireCovered| -> Result<Covered, Malformed> {
            let basis = match covered.basis {
                WireCoverBasis::Reported => CoverBasis::Reported,
                WireCoverBasis::PastHorizon => CoverBasis::PastHorizon,
            };
            let edge = EdgeId::parse(&covered.edge)?;
            Ok(Covered { edge, from: covered.from.0, through: covered.through.0, basis })
        };
        let edges = body.edges.into_iter().map(covered).collect::<Result<_, _>>()?;
        let window = body.quiet_from.zip(body.complete_through);
        let quiet =
            window.map(|(from, through)| QuietProof { from: from.0, complete_through: through.0, edges });
        Ok(Fact::KeySeen(Used {
            version: Version(body.version),
            seen: Use {
                first_use: body.first_use.map(|moment| moment.0),
                last_use: body.last_use.map(|moment| moment.0),
                uses: body.uses,
                quiet,
            },
        }))
    }
}

impl From<&Ended> for KeyRetiredBody {
    fn from(ended: &Ended) -> Self {
        Self {
            version: ended.version.0,
            also: numbers(&ended.also),
            cause: match ended.cause {
                Cause::Superseded => WireCause::Superseded,
                Cause::Requested => WireCause::Requested,
                Cause::Revoked => WireCause::Revoked,
                Cause::Expired => WireCause::Expired,
                Cause::Cancelled => WireCause::Cancelled,
                Cause::RolledBack => WireCause::RolledBack,
            },
            reason: ended.reason.clone(),
            evidence: ended.evidence.map(|evidence| match evidence {
                Evidence::Quiet { from, through, successor } => WireEvidence::Quiet {
                    from: Moment(from),
                    through: Moment(through),
                    successor: successor.0,
                },
                Evidence::Deadline { deadline } => WireEvidence::Deadline { deadline: Moment(deadline) },
                Evidence::Expired { expires_at } => WireEvidence::Expired { expires_at: Moment(expires_at) },
            }),
        }
    }
}

impl From<KeyRetiredBody> for Fact {
    fn from(body: KeyRetiredBody) -> Self {
        Fact::KeyRetired(Ended {
            version: Version(body.version),
            also: versions(body.also),
            cause: match body.cause {
                WireCause::Superseded => Cause::Superseded,
                WireCause::Requested => Cause::Requested,
                WireCause::Revoked => Cause::Revoked,
                WireCause::Expired => Cause::Expired,
                WireCause::Cancelled => Cause::Cancelled,
                WireCause::RolledBack => Cause::RolledBack,
            },
            reason: body.reason,
            evidence: body.evidence.map(|evidence| match evidence {
                WireEvidence::Quiet { from, through, successor } => {
                    Evidence::Quiet { from: from.0, through: through.0, successor: Version(successor) }
                }
                WireEvidence::Deadline { deadline } => Evidence::Deadline { deadline: deadline.0 },
                WireEvidence::Expired { expires_at } => Evidence::Expired { expires_at: expires_at.0 },
            }),
        })
    }
}

impl From<&Restored> for RolledBackBody {
    fn from(restored: &Restored) -> Self {
        let active = |version: &Version| WireVersionState { version: version.0, state: WireKeyState::Active };
        let withdrawn = |(version, state): &(Version, KeyState)| WireVersionState {
            version: version.0,
            state: WireKeyState::from(state),
        };
        let deadline = |(version, state): &(Version, KeyState)| match state {
            KeyState::Retiring(overlap) => Some((version.0.to_string(), Moment(overlap.deadline))),
            KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => None,
        };
        Self {
            to_seq: restored.to_seq,
            restored: restored.restored.iter().map(active).collect(),
            withdrawn: restored.withdrawn.iter().map(withdrawn).collect(),
            deadlines: restored.withdrawn.iter().filter_map(deadline).collect(),
        }
    }
}

impl TryFrom<RolledBackBody> for Fact {
    type Error = Malformed;

    fn try_from(body: RolledBackBody) -> Result<Self, Malformed> {
        let withdrawn = |entry: WireVersionState| -> Result<(Version, KeyState), Malformed> {
            Ok((Version(entry.version), KeyState::try_from(entry.state)?))
        };
        Ok(Fact::RolledBack(Restored {
            to_seq: body.to_seq,
            restored: body.restored.into_iter().map(|entry| Version(entry.version)).collect(),
            withdrawn: body.withdrawn.into_iter().map(withdrawn).collect::<Result<_, _>>()?,
        }))
    }
}

impl From<&KeyState> for WireKeyState {
    fn from(state: &KeyState) -> Self {
        match state {
            KeyState::Issued => WireKeyState::Issued,
            KeyState::Active => WireKeyState::Active,
            KeyState::Retiring(overlap) => WireKeyState::Retiring {
                since: Moment(overlap.since),
                not_before: Moment(overlap.not_before),
                deadline: Moment(overlap.deadline),
                retire_at_deadline: overlap.retire_at_deadline,
                quiet: Length(overlap.quiet),
            },
            KeyState::Retired { at, cause } => {
                WireKeyState::Retired { at: Moment(*at), cause: cause_word(*cause).to_owned() }
            }
            KeyState::Revoked { at, reason } => {
                WireKeyState::Revoked { at: Moment(*at), reason: reason.clone() }
            }
        }
    }
}

impl TryFrom<WireKeyState> for KeyState {
    type Error = Malformed;

    fn try_from(state: WireKeyState) -> Result<Self, Malformed> {
        Ok(match state {
            WireKeyState::Issued => KeyState::Issued,
            WireKeyState::Active => KeyState::Active,
            WireKeyState::Retiring { since, not_before, deadline, retire_at_deadline, quiet } => {
                KeyState::Retiring(Overlap {
                    since: since.0,
                    not_before: not_before.0,
                    deadline: deadline.0,
                    retire_at_deadline,
                    quiet: quiet.0,
                })
            }
            WireKeyState::Retired { at, cause } => KeyState::Retired { at: at.0, cause: cause_in(&cause)? },
            WireKeyState::Revoked { at, reason } => KeyState::Revoked { at: at.0, reason },
        })
    }
}

impl From<&PolicyPatch> for PolicySetBody {
    fn from(patch: &PolicyPatch) -> Self {
        Self { policy: patch.into() }
    }
}

impl From<PolicySetBody> for Fact {
    fn from(body: PolicySetBody) -> Self {
        Fact::PolicySet(body.policy.into())
    }
}

impl From<&EdgeId> for EdgeBody {
    fn from(edge: &EdgeId) -> Self {
        Self { edge: edge.to_string() }
    }
}

impl EdgeBody {
    /// The edge, by `fact` into an event.
    ///
    /// # Errors
    /// When its name is none.
    pub fn into_fact(self, fact: fn(EdgeId) -> Fact) -> Result<Fact, Malformed> {
        Ok(fact(EdgeId::parse(&self.edge)?))
    }
}
