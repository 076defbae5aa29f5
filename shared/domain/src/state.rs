//! What is true now of one address: a keyring, a tenant or the installation.

use crate::event::{CommandId, EventId, FactKind, RotationId};
use crate::key::{Key, Kid, Version};
use crate::name::EdgeId;
use crate::policy::{Policy, PolicyPatch};
use crate::signer::Learned;
use crate::time::{At, Span};
use std::collections::BTreeMap;

/// The fold of one address's events. Of the three kinds of address each uses its own part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// How many events it is the fold of.
    pub revision: u64,
    /// A keyring's key versions.
    pub keys: BTreeMap<Version, Key>,
    /// What a keyring or a tenant sets of the policy.
    pub policy: PolicyPatch,
    /// Every patch that was ever set, with its position: what an edge that missed the newest goes by.
    pub policies: Vec<(u64, PolicyPatch)>,
    /// The installation's roster: each edge with the position of its `EdgeAdded`.
    pub edges: BTreeMap<EdgeId, u64>,
    /// The installation's signers, as far as events said who they are.
    pub signers: Learned,
    /// The commands that had an effect, with the event that each made.
    pub done: BTreeMap<CommandId, Done>,
}

/// The effect that a command had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The event.
    pub event: EventId,
    /// Its kind.
    pub kind: FactKind,
    /// Its position.
    pub seq: u64,
    /// The version that it was about.
    pub version: Option<Version>,
    /// That version's kid.
    pub kid: Option<Kid>,
    /// The rotation that it belongs to.
    pub rotation: Option<RotationId>,
}

impl State {
    /// The policy of a keyring in this state whose tenant is in `tenant`.
    pub fn policy_within(&self, tenant: &State) -> Policy {
        Policy::default().overlaid(&tenant.policy).overlaid(&self.policy)
    }

    /// The longest horizon by which an edge that has applied everything up to `watermark` may serve
    /// this keyring: by the policy in force there, or the longest since (SAFETY 8).
    pub fn horizon_since(&self, tenant: &State, watermark: u64, lease: Span) -> Span {
        let mut longest = lease;
        for own in self.patches_since(watermark) {
            for tenants in tenant.patches_since(watermark) {
                let policy = Policy::default().overlaid(tenants).overlaid(own);
                longest = longest.max(policy.horizon(lease));
            }
        }
        longest
    }

    /// The patch in force at `watermark` and those set since; the empty one where none was.
    fn patches_since(&self, watermark: u64) -> Vec<&PolicyPatch> {
        const NONE: &PolicyPatch = &PolicyPatch::NONE;
        let then =
            self.policies.iter().rev().find(|(seq, _)| *seq <= watermark).map_or(NONE, |(_, patch)| patch);
        let since = self.policies.iter().filter(|(seq, _)| *seq > watermark).map(|(_, patch)| patch);
        std::iter::once(then).chain(since).collect()
    }

    /// The newest version, whatever its state.
    pub fn newest(&self) -> Option<(Version, &Key)> {
        self.keys.last_key_value().map(|(version, key)| (*version, key))
    }

    /// Versions that a client may rely on now: active or retiring, not expired.
    pub fn live(&self, now: At) -> impl Iterator<Item = (Version, &Key)> {
        self.keys.iter().map(|(version, key)| (*version, key)).filter(move |(_, key)| key.is_usable(now))
    }

    /// Whether something is pending for which a service has to act or wait: a key that is issued or
    /// in its overlap, or one whose end by time is still to come.
    pub fn is_open(&self) -> bool {
        self.keys.values().any(|key| match &key.state {
            crate::key::KeyState::Issued | crate::key::KeyState::Retiring(_) => true,
            crate::key::KeyState::Active => key.spec.expires_at.is_some(),
            crate::key::KeyState::Retired { .. } | crate::key::KeyState::Revoked { .. } => false,
        })
    }
}

impl Key {
    /// Whether its own end has passed.
    pub fn is_expired(&self, now: At) -> bool {
        self.spec.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether it was handed out, has not ended and has not expired.
    pub fn is_usable(&self, now: At) -> bool {
        self.state.is_live() && !self.is_expired(now)
    }
}
