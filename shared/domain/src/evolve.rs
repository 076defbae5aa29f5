//! What an event makes true. Total: an event that does not fit changes nothing but the count.

use crate::event::{Activated, Ended, Fact, IssueReason, Issued, Recorded, Restored, Use, Used};
use crate::key::{Cause, Key, KeyState, Overlap, Quiet, Replaces, Seen, Version};
use crate::policy::{OnOverlapMax, Policy};
use crate::state::{Done, State};
use crate::time::At;

/// The state after one more event.
#[must_use]
pub fn evolve(mut state: State, recorded: &Recorded) -> State {
    let event = &recorded.event;
    state.revision = state.revision.saturating_add(1);
    match &event.fact {
        Fact::KeyIssued(issued) => add_key(&mut state, recorded, issued),
        Fact::KeyActivated(activated) => activate(&mut state, event.at, activated),
        Fact::KeySeen(used) => see(&mut state, used),
        Fact::KeyRetired(ended) => end(&mut state, event.at, ended),
        Fact::RolledBack(restored) => restore(&mut state, restored),
        Fact::PolicySet(patch) => {
            state.policy = patch.clone();
            state.policies.push((recorded.seq, patch.clone()));
        }
        Fact::EdgeAdded(edge) => {
            state.edges.entry(edge.clone()).or_insert(recorded.seq);
        }
        Fact::EdgeRemoved(edge) => {
            state.edges.remove(edge);
        }
        Fact::SignerAdded(_) | Fact::SignerWithdrawn(_) => state.signers.take(recorded.seq, &event.fact),
    }
    let version = event.fact.version();
    let done = Done {
        event: event.id,
        kind: event.fact.kind(),
        seq: recorded.seq,
        version,
        kid: version.and_then(|version| state.keys.get(&version)).map(|key| key.kid),
        rotation: event.rotation,
    };
    state.done.entry(event.command).or_insert(done);
    state
}

/// The overlap of a version superseded at `since`: frozen, and never longer than the key's own life.
pub(crate) fn overlap(since: At, policy: &Policy, expires_at: Option<At>) -> Overlap {
    let deadline = since.after(policy.overlap_max);
    Overlap {
        since,
        not_before: since.after(policy.overlap_min),
        deadline: expires_at.map_or(deadline, |end| end.min(deadline)),
        retire_at_deadline: policy.on_overlap_max == OnOverlapMax::Retire,
        quiet: policy.quiet,
    }
}

fn add_key(state: &mut State, recorded: &Recorded, issued: &Issued) {
    let at = recorded.event.at;
    let taken = |key: &Key| key.kid == issued.kid || key.digest == issued.digest;
    if state.keys.contains_key(&issued.version) || state.keys.values().any(taken) {
        return;
    }
    for version in &issued.cancels {
        set_state(state, *version, KeyState::Retired { at, cause: Cause::Cancelled });
    }
    let replaces = match &issued.reason {
        IssueReason::Issue => None,
        IssueReason::Rotate { supersedes } => {
            Some(Replaces { only: supersedes.clone(), policy: issued.policy.clone() })
        }
    };
    let key = Key {
        kid: issued.kid,
        digest: issued.digest,
        spec: issued.spec.clone(),
        origin: issued.origin,
        issued_at: at,
        rotation: recorded.event.rotation.unwrap_or(crate::event::RotationId(recorded.event.id.0)),
        replaces,
        state: KeyState::Issued,
        was_activated: false,
        seen: None,
        quiet: None,
    };
    state.keys.insert(issued.version, key);
}

fn activate(state: &mut State, at: At, activated: &Activated) {
    let Some(key) = state.keys.get_mut(&activated.version) else { return };
    if key.state != KeyState::Issued {
        return;
    }
    key.state = KeyState::Active;
    key.was_activated = true;
    let policy = key.replaces.as_ref().map(|replaces| replaces.policy.clone()).unwrap_or_default();
    for version in &activated.supersedes {
        if let Some(old) = state.keys.get_mut(version).filter(|old| old.state == KeyState::Active) {
            old.state = KeyState::Retiring(overlap(at, &policy, old.spec.expires_at));
            old.quiet = None;
        }
    }
}

fn see(state: &mut State, used: &Used) {
    let Some(key) = state.keys.get_mut(&used.version) else { return };
    let Use { first_use, last_use, uses, quiet } = &used.seen;
    if let Some((first, last)) = first_use.zip(*last_use) {
        let known = key.seen.unwrap_or(Seen { first, last, uses: 0 });
        key.seen = Some(Seen {
            first: known.first.min(first),
            last: known.last.max(last),
            uses: known.uses.max(*uses),
        });
    }
    if let Some(proof) = quiet {
        key.quiet = Some(Quiet { from: proof.from, through: proof.complete_through });
    }
    let used_since = |quiet: &Quiet| key.seen.is_some_and(|seen| seen.last > quiet.from);
    if key.quiet.as_ref().is_some_and(used_since) {
        key.quiet = None;
    }
}

fn end(state: &mut State, at: At, ended: &Ended) {
    for version in ended.also.iter().chain([&ended.version]) {
        let to = match ended.cause {
            Cause::Revoked => KeyState::Revoked { at, reason: ended.reason.clone().unwrap_or_default() },
            Cause::Superseded | Cause::Requested | Cause::Expired | Cause::Cancelled | Cause::RolledBack => {
                KeyState::Retired { at, cause: ended.cause }
            }
        };
        set_state(state, *version, to);
    }
}

fn restore(state: &mut State, restored: &Restored) {
    for version in &restored.restored {
        set_state(state, *version, KeyState::Active);
    }
    for (version, to) in &restored.withdrawn {
        set_state(state, *version, to.clone());
    }
}

/// Revoked is absorbing, whatever an event says: here is the one place where a key's state changes
/// after it was activated.
fn set_state(state: &mut State, version: Version, to: KeyState) {
    if let Some(key) = state.keys.get_mut(&version)
        && !matches!(key.state, KeyState::Revoked { .. })
    {
        key.state = to;
        key.quiet = None;
    }
}
