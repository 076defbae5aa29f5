//! Going back to what held at an earlier position, as far as that may be (SAFETY 6).

use crate::decide::Decided;
use crate::event::{Fact, Restored, RotationId};
use crate::evolve::overlap;
use crate::key::{Cause, Key, KeyState, Version};
use crate::policy::Policy;
use crate::rejection::Rejection;
use crate::state::State;
use crate::time::At;
use std::fmt;

/// What a rollback does to a keyring, and what it cannot do. The event is a part of it, so that whoever
/// shows the plan shows what will be decided on the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The position whose state is restored.
    pub to_seq: u64,
    /// Versions that become active again.
    pub restored: Vec<Version>,
    /// Versions that are taken away, each with the state that it will have.
    pub withdrawn: Vec<(Version, KeyState)>,
    /// Versions that were accepted then, are not now, and do not come back.
    pub lost: Vec<(Version, Lost)>,
    rotation: Option<RotationId>,
    leaves_none: bool,
}

/// Why a version that was accepted then does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Revoked is for ever.
    Revoked,
    /// Its own end has passed.
    Expired,
    /// It was cancelled before anybody had it.
    Cancelled,
    /// It was not handed out yet then.
    Pending,
    /// It was superseded already then, and has retired since.
    RunningOut,
    /// It retired without ever having been seen in use, so perhaps nobody holds its secret.
    NeverSeen,
}

impl Lost {
    /// The code that programs match on.
    pub fn code(self) -> &'static str {
        match self {
            Lost::Revoked => "revoked",
            Lost::Expired => "expired",
            Lost::Cancelled => "cancelled",
            Lost::Pending => "was_pending",
            Lost::RunningOut => "was_retiring",
            Lost::NeverSeen => "never_seen",
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Revoked => "it was revoked, and a revoked key never comes back",
            Lost::Expired => "it has expired",
            Lost::Cancelled => "it was cancelled before anybody had it",
            Lost::Pending => "it was not handed out yet then",
            Lost::RunningOut => "it was superseded already then, and has retired since",
            Lost::NeverSeen => "it retired and was never seen in use, so nobody may hold its secret",
        })
    }
}

impl Plan {
    /// Compares `state` with `target`, the keyring at `to_seq`: what comes back, what goes, what is lost.
    /// `policy` is what holds for the overlaps that begin `at` this moment.
    pub fn of(state: &State, at: At, to_seq: u64, target: &State, revoke_new: bool, policy: &Policy) -> Self {
        let restored = restored(state, at, target);
        let withdrawn = withdrawn(state, at, target, revoke_new, policy);
        let rotation = withdrawn
            .last()
            .map(|(version, _)| version)
            .or(restored.last())
            .and_then(|version| state.keys.get(version))
            .map(|key| key.rotation);
        let remains = state.live(at).any(|(version, _)| was_active(target, version)) || !restored.is_empty();
        let is_live = |version: &Version| state.keys.get(version).is_some_and(|key| key.state.is_live());
        let takes_live = withdrawn.iter().any(|(version, _)| is_live(version));
        let lost = lost(state, at, target, &restored);
        Self { to_seq, restored, withdrawn, lost, rotation, leaves_none: takes_live && !remains }
    }

    /// Why it cannot be carried out, if it cannot.
    pub fn refusal(&self) -> Option<Rejection> {
        let is_empty = self.restored.is_empty() && self.withdrawn.is_empty();
        (is_empty || self.leaves_none).then_some(Rejection::NothingToRestore)
    }

    pub(crate) fn decided(self) -> Decided {
        match self.refusal() {
            Some(rejection) => Err(rejection),
            None => {
                let Plan { to_seq, restored, withdrawn, rotation, lost: _, leaves_none: _ } = self;
                Ok(Some((Fact::RolledBack(Restored { to_seq, restored, withdrawn }), rotation)))
            }
        }
    }
}

fn restored(state: &State, at: At, target: &State) -> Vec<Version> {
    let comes_back =
        |(version, key): &(&Version, &Key)| was_active(target, **version) && may_come_back(key, at);
    state.keys.iter().filter(comes_back).map(|(version, _)| *version).collect()
}

fn withdrawn(
    state: &State,
    at: At,
    target: &State,
    revoke_new: bool,
    policy: &Policy,
) -> Vec<(Version, KeyState)> {
    let pending_then_and_now = |version: &Version, key: &Key| {
        let then = target.keys.get(version);
        then.is_some_and(|then| then.state == KeyState::Issued && key.state == KeyState::Issued)
    };
    let goes = |(version, key): &(&Version, &Key)| {
        !was_active(target, **version) && !pending_then_and_now(version, key)
    };
    let to = |(version, key): (&Version, &Key)| {
        let is_new = was_unknown_or_pending(target, *version);
        Some((*version, withdrawal(key, at, revoke_new && is_new, policy)?))
    };
    state.keys.iter().filter(goes).filter_map(to).collect()
}

fn lost(state: &State, at: At, target: &State, restored: &[Version]) -> Vec<(Version, Lost)> {
    let accepted_then = target.keys.iter().filter(|(_, then)| then.state.is_accepted());
    let why = |(version, then): (&Version, &Key)| {
        let key = state.keys.get(version)?;
        let comes_back = restored.contains(version) || (key.state.is_accepted() && !key.is_expired(at));
        (!comes_back).then(|| (*version, why_lost(then, key, at)))
    };
    accepted_then.filter_map(why).collect()
}

fn why_lost(then: &Key, key: &Key, at: At) -> Lost {
    let cause = match &key.state {
        KeyState::Revoked { .. } => Some(Cause::Revoked),
        KeyState::Retired { cause, .. } => Some(*cause),
        KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => None,
    };
    if cause == Some(Cause::Revoked) {
        Lost::Revoked
    } else if cause == Some(Cause::Expired) || key.is_expired(at) {
        Lost::Expired
    } else if cause == Some(Cause::Cancelled) {
        Lost::Cancelled
    } else {
        match &then.state {
            KeyState::Issued => Lost::Pending,
            KeyState::Retiring(_) => Lost::RunningOut,
            KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => Lost::NeverSeen,
        }
    }
}

fn was_active(target: &State, version: Version) -> bool {
    target.keys.get(&version).is_some_and(|key| matches!(key.state, KeyState::Active))
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

/// What becomes of a version that was not active in `target`. One that was ever activated goes on being
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
