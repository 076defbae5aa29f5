//! When a rotation is undone by itself: clients are refused with the version that it retired.
//!
//! Whoever shows the retired key decides with that whether it comes back, so this is for those who say so in
//! their policy, and reaches only what the quiet proof or the deadline retired. What was revoked, what a person
//! retired and what has expired stays ended, whoever shows it.

use crate::due::heirs;
use crate::event::RotationId;
use crate::key::{Cause, KeyState, Version};
use crate::policy::Policy;
use crate::state::State;
use crate::time::At;

/// What the edges' reports show of a retired version, counted from its first refusal on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusals {
    /// When the first came.
    pub since: At,
    /// How often the version's own key was shown and refused as retired.
    pub refused: u64,
    /// How often other keys of the keyring were accepted meanwhile.
    pub accepted: u64,
}

/// What is to be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The rotation before which the version was in use.
    pub rotation: RotationId,
    /// When the version retired: each retirement is undone by itself once at most.
    pub retired_at: At,
}

/// Whether the refusals with `version` are to be answered by a rollback.
pub fn undo(state: &State, version: Version, refusals: &Refusals, policy: &Policy, now: At) -> Option<Undo> {
    let key = state.keys.get(&version)?;
    let wanted = policy.auto_rollback.filter(|wanted| wanted.refused_permille > 0)?;
    let KeyState::Retired { at, cause: Cause::Superseded } = key.state else { return None };
    if key.is_expired(now) || key.seen.is_none() || now > at.after(wanted.window) || refusals.since < at {
        return None;
    }
    let all = u128::from(refusals.refused) + u128::from(refusals.accepted);
    let is_much = u128::from(refusals.refused) * 1000 >= all * u128::from(wanted.refused_permille);
    if refusals.refused < wanted.min_refused.max(1) || !is_much {
        return None;
    }
    let heir = heirs(state, version).into_iter().next()?;
    let rotation = state.keys.get(&heir)?.rotation;
    Some(Undo { rotation, retired_at: at })
}
