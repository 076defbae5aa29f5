//! From the domain's facts to the bodies that are stored.

use super::*;

fn numbers(versions: &[Version]) -> Vec<u32> {
    versions.iter().map(|version| version.0).collect()
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

impl From<&PolicyPatch> for PolicySetBody {
    fn from(patch: &PolicyPatch) -> Self {
        Self { policy: patch.into() }
    }
}

impl From<&EdgeId> for EdgeBody {
    fn from(edge: &EdgeId) -> Self {
        Self { edge: edge.to_string() }
    }
}

impl From<&Introduced> for SignerAddedBody {
    fn from(Introduced { key, role, warrant }: &Introduced) -> Self {
        let (by, signature) = (warrant.by.to_string(), warrant.signature.clone());
        Self { key: key.to_string(), role: role.name().to_owned(), by, signature }
    }
}

impl From<&Withdrawn> for SignerWithdrawnBody {
    fn from(Withdrawn { key, reason, warrant }: &Withdrawn) -> Self {
        let (by, signature) = (warrant.by.to_string(), warrant.signature.clone());
        Self { key: key.to_string(), reason: reason.clone(), by, signature }
    }
}
