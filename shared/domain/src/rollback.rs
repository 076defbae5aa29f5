//! Going back to what held at an earlier position, as far as that may be (SAFETY 6).

use crate::decide::Decided;
use crate::event::{Fact, Restored};
use crate::evolve::overlap;
use crate::key::{Cause, Key, KeyState, Version};
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::state::State;
use crate::time::At;

/// Compares `state` with `target`, the keyring at `to_seq`, and decides what comes back and what goes.
pub(crate) fn decide_rollback(
    state: &State,
    at: At,
    to_seq: u64,
    target: &State,
    revoke_new: bool,
    policy: &Policy,
) -> Decided {
    let was_active =
        |version: &Version| target.keys.get(version).is_some_and(|key| matches!(key.state, KeyState::Active));
    let restored: Vec<Version> = state
        .keys
        .iter()
        .filter(|(version, key)| was_active(version) && may_come_back(key, at))
        .map(|(version, _)| *version)
        .collect();
    let pending_then_and_now = |version: &Version, key: &Key| {
        target
            .keys
            .get(version)
            .is_some_and(|then| then.state == KeyState::Issued && key.state == KeyState::Issued)
    };
    let withdrawn: Vec<(Version, KeyState)> = state
        .keys
        .iter()
        .filter(|(version, key)| !was_live(target, **version) && !pending_then_and_now(version, key))
        .filter_map(|(version, key)| {
            let is_new = was_unknown_or_pending(target, *version);
            Some((*version, withdrawal(key, at, revoke_new && is_new, policy)?))
        })
        .collect();
    let remains = state.live(at).any(|(version, _)| was_active(&version)) || !restored.is_empty();
    let takes_live =
        withdrawn.iter().any(|(version, _)| state.keys.get(version).is_some_and(|key| key.state.is_live()));
    if (restored.is_empty() && withdrawn.is_empty()) || (takes_live && !remains) {
        return Err(Rejection::NothingToRestore);
    }
    let rotation = withdrawn
        .last()
        .map(|(version, _)| version)
        .or(restored.last())
        .and_then(|version| state.keys.get(version))
        .map(|key| key.rotation);
    Ok(Some((Fact::RolledBack(Restored { to_seq, restored, withdrawn }), rotation)))
}

fn was_live(target: &State, version: Version) -> bool {
    target.keys.get(&version).is_some_and(|key| key.state.is_live())
}

fn was_unknown_or_pending(target: &State, version: Version) -> bool {
    target.keys.get(&version).is_none_or(|key| key.state == KeyState::Issued)
}

/// An overlapping predecessor always may. A retired one only if it was ever seen: else nobody may
/// hold its secret. Revoked, cancelled and expired ones never.
fn may_come_back(key: &Key, at: At) -> bool {
    if key.is_expired(at) {
        return false;
    }
    match &key.state {
        KeyState::Retiring(_) => true,
        KeyState::Retired { cause: Cause::Superseded | Cause::Requested | Cause::RolledBack, .. } => {
            key.seen.is_some()
        }
        KeyState::Retired { cause: Cause::Revoked | Cause::Expired | Cause::Cancelled, .. }
        | KeyState::Issued
        | KeyState::Active
        | KeyState::Revoked { .. } => false,
    }
}

/// What becomes of a version that was not in use in `target`. One that was ever activated goes on being
/// accepted for an overlap, because clients may have moved to it.
fn withdrawal(key: &Key, at: At, revoke_new: bool, policy: &Policy) -> Option<KeyState> {
    let revoked = || KeyState::Revoked { at, reason: "rolled back".to_owned() };
    match &key.state {
        KeyState::Issued if revoke_new => Some(revoked()),
        KeyState::Issued => Some(KeyState::Retired { at, cause: Cause::Cancelled }),
        KeyState::Active if revoke_new => Some(revoked()),
        KeyState::Active => Some(KeyState::Retiring(overlap(at, policy, key.spec.expires_at))),
        KeyState::Retiring(_) | KeyState::Retired { .. } if revoke_new => Some(revoked()),
        KeyState::Retiring(_) | KeyState::Retired { .. } | KeyState::Revoked { .. } => None,
    }
}
