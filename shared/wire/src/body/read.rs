//! From stored bodies back to the domain's facts.

use super::*;

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

fn versions(numbers: Vec<u32>) -> Vec<Version> {
    numbers.into_iter().map(Version).collect()
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

impl TryFrom<RolledBackBody> for Fact {
    type Error = Malformed;

    fn try_from(body: RolledBackBody) -> Result<Self, Malformed> {
        let resulting = |entry: WireVersionState| -> Result<(Version, KeyState), Malformed> {
            Ok((Version(entry.version), KeyState::try_from(entry.state)?))
        };
        let restored = |entry| resulting(entry).map(|(version, _)| version);
        Ok(Fact::RolledBack(Restored {
            to_seq: body.to_seq,
            restored: body.restored.into_iter().map(restored).collect::<Result<_, _>>()?,
            withdrawn: body.withdrawn.into_iter().map(resulting).collect::<Result<_, _>>()?,
        }))
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

impl From<PolicySetBody> for Fact {
    fn from(body: PolicySetBody) -> Self {
        Fact::PolicySet(body.policy.into())
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

impl TryFrom<SignerAddedBody> for Fact {
    type Error = Malformed;

    fn try_from(SignerAddedBody { key, role, by, signature }: SignerAddedBody) -> Result<Self, Malformed> {
        warrant::introduced(&key, &role, &by, signature).map(Fact::SignerAdded)
    }
}

impl TryFrom<SignerWithdrawnBody> for Fact {
    type Error = Malformed;

    fn try_from(body: SignerWithdrawnBody) -> Result<Self, Malformed> {
        let SignerWithdrawnBody { key, reason, by, signature } = body;
        warrant::withdrawn(&key, &reason, &by, signature).map(Fact::SignerWithdrawn)
    }
}
