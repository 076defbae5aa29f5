//! What is due next, recomputed from state whenever it is asked: timers are never stored.

use crate::command::{Act, Retirement};
use crate::event::Evidence;
use crate::key::{Key, KeyState, Overlap, Version};
use crate::state::State;
use crate::time::{At, Span};
use std::collections::BTreeSet;

/// How much older than its own quiet period a proof may be when it is used. It covers the clocks of
/// bus and retirer differing, and the way from the one to the other.
pub const PROOF_AGE_SLACK: Span = Span::secs(60);

/// What a superseded version still waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// It is not in an overlap, so nothing is due.
    NotRetiring,
    /// The overlap has not lasted `overlap_min` yet.
    OverlapMin {
        /// When it will have.
        until: At,
    },
    /// No newer accepted version was seen in use (SAFETY 5): retiring could leave its client without a key.
    Successor,
    /// No edge-complete proof that it was unused for the quiet period.
    Quiet {
        /// The newest use that the log knows of.
        last_use: Option<At>,
    },
}

/// Whether `version` may retire now, by the log alone: with which evidence, or what it waits for.
pub fn retirement(state: &State, version: Version, now: At) -> Result<Evidence, Waiting> {
    let key = state.keys.get(&version).ok_or(Waiting::NotRetiring)?;
    if let Some(expires_at) = key.spec.expires_at.filter(|_| key.state.is_accepted() && key.is_expired(now)) {
        return Ok(Evidence::Expired { expires_at });
    }
    let KeyState::Retiring(overlap) = &key.state else { return Err(Waiting::NotRetiring) };
    if overlap.retire_at_deadline && overlap.deadline <= now {
        return Ok(Evidence::Deadline { deadline: overlap.deadline });
    }
    if now < overlap.not_before {
        return Err(Waiting::OverlapMin { until: overlap.not_before });
    }
    let successor = successor_in_use(state, version, now).ok_or(Waiting::Successor)?;
    quiet_evidence(key, overlap, successor, now)
}

fn quiet_evidence(key: &Key, overlap: &Overlap, successor: Version, now: At) -> Result<Evidence, Waiting> {
    let last_use = key.seen.map(|seen| seen.last);
    let proof = key.quiet.ok_or(Waiting::Quiet { last_use })?;
    let long_enough = proof.through.since(proof.from) >= overlap.quiet;
    let unused = last_use.is_none_or(|last| last <= proof.from);
    let recent = now.since(proof.through) <= Span(overlap.quiet.0.saturating_add(PROOF_AGE_SLACK.0));
    if long_enough && unused && recent {
        Ok(Evidence::Quiet { from: proof.from, through: proof.through, successor })
    } else {
        Err(Waiting::Quiet { last_use })
    }
}

/// The newest version that took the place of `version`, that clients may rely on and that was seen in
/// use. An additional key's use does not count: it belongs to another holder. Nor does that of a newer
/// key that was superseded or rolled back before `version` was: its holder may have come back since.
pub fn successor_in_use(state: &State, version: Version, now: At) -> Option<Version> {
    let since = |key: &Key| match &key.state {
        KeyState::Retiring(overlap) => Some(overlap.since),
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => None,
    };
    let own_since = state.keys.get(&version).and_then(since);
    let outlasts = |key: &Key| key.state == KeyState::Active || since(key) > own_since;
    let heirs = heirs(state, version);
    let counts = |(v, key): &(Version, &Key)| heirs.contains(v) && key.seen.is_some() && outlasts(key);
    state.live(now).filter(counts).map(|(v, _)| v).last()
}

/// The higher versions that were made to take the place of `version`, or of one that was.
pub(crate) fn heirs(state: &State, version: Version) -> BTreeSet<Version> {
    let mut line = BTreeSet::from([version]);
    for (v, key) in state.keys.iter().filter(|(v, _)| **v > version) {
        let meant = |only: &[Version]| only.is_empty() || only.iter().any(|v| line.contains(v));
        if key.replaces.as_ref().is_some_and(|replaces| meant(&replaces.only)) {
            line.insert(*v);
        }
    }
    line.remove(&version);
    line
}

/// The act that the log alone says is due, if there is one.
pub fn next(state: &State, now: At) -> Option<Act> {
    let due = state.keys.keys().find(|version| retirement(state, **version, now).is_ok())?;
    Some(Act::Retire { version: *due, why: Retirement::Due })
}

/// The versions for which nothing but a quiet proof is missing. It is asked for only then, so that the
/// log grows with rotations, never with time.
pub fn wants_quiet_proof(state: &State, now: At) -> Vec<(Version, Span)> {
    let waiting = |version: &Version| matches!(retirement(state, *version, now), Err(Waiting::Quiet { .. }));
    let quiet = |(version, key): (&Version, &Key)| match &key.state {
        KeyState::Retiring(overlap) if waiting(version) => Some((*version, overlap.quiet)),
        KeyState::Retiring(_)
        | KeyState::Issued
        | KeyState::Active
        | KeyState::Retired { .. }
        | KeyState::Revoked { .. } => None,
    };
    state.keys.iter().filter_map(quiet).collect()
}
