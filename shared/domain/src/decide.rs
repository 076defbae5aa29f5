//! Whether a command may take effect, and as which event.

use crate::command::{Act, Command, Minted, Retirement, SpecAsked, Which};
use crate::due::retirement;
use crate::event::{
    Activated, Barrier, Ended, Event, Evidence, Fact, IssueReason, Issued, RotationId, Use, Used,
};
use crate::key::{Cause, Key, KeySpec, KeyState, Origin, Version};
use crate::name::Address;
use crate::policy::{Policy, PolicyChange};
use crate::rejection::Rejection;
use crate::rollback::Plan;
use crate::schedule;
use crate::signer;
use crate::state::State;
use crate::time::At;

/// Most versions of one keyring that edges accept at a time.
pub const ACCEPTED_MAX: usize = 64;

/// Decides a command on the state that holds now.
///
/// `Ok(None)` means "already so": an idempotent retry, or nothing to change. It is never a refusal.
///
/// # Errors
/// Why the command has no effect; the state stays as it is.
pub fn decide(state: &State, command: &Command) -> Result<Option<Event>, Rejection> {
    if state.done.contains_key(&command.id) {
        return Ok(None);
    }
    if !concerns(&command.act, &command.address) {
        return Err(Rejection::WrongAddress);
    }
    let decided = fact(state, command)?;
    Ok(decided.map(|(fact, rotation)| Event {
        id: command.event_id,
        address: command.address.clone(),
        at: command.at,
        actor: command.actor.clone(),
        command: command.id,
        rotation,
        fact,
    }))
}

pub(crate) type Decided = Result<Option<(Fact, Option<RotationId>)>, Rejection>;

fn concerns(act: &Act, address: &Address) -> bool {
    match act {
        Act::SetPolicy { .. } => address.tenant().is_some(),
        Act::AddEdge { .. } | Act::RemoveEdge { .. } | Act::AddSigner { .. } | Act::WithdrawSigner { .. } => {
            *address == Address::Installation
        }
        Act::Issue { .. }
        | Act::Rotate { .. }
        | Act::Import { .. }
        | Act::Activate { .. }
        | Act::RecordUse { .. }
        | Act::Retire { .. }
        | Act::Revoke { .. }
        | Act::Rollback { .. } => address.keyring().is_some(),
    }
}

fn fact(state: &State, command: &Command) -> Decided {
    let at = command.at;
    match &command.act {
        Act::Issue { minted, spec, policy } => issue(state, at, minted, spec, policy),
        Act::Rotate { minted, spec, supersedes, policy } => {
            rotate(state, at, minted, spec, supersedes, policy)
        }
        Act::Import { minted, spec, policy } => import(state, minted, spec, policy),
        Act::Activate { version, barrier } => activate(state, at, *version, barrier),
        Act::RecordUse { version, seen } => record_use(state, *version, seen),
        Act::Retire { version, why } => retire(state, at, *version, why),
        Act::Revoke { which, reason } => revoke(state, *which, reason),
        Act::Rollback { to_seq, target, revoke_new, policy } => {
            Plan::of(state, at, *to_seq, target, *revoke_new, policy).decided()
        }
        Act::SetPolicy { change, beneath } => set_policy(state, change, beneath),
        Act::AddEdge { edge } => {
            Ok((!state.edges.contains_key(edge)).then(|| (Fact::EdgeAdded(edge.clone()), None)))
        }
        Act::RemoveEdge { edge } if state.edges.contains_key(edge) => {
            Ok(Some((Fact::EdgeRemoved(edge.clone()), None)))
        }
        Act::RemoveEdge { edge } => Err(Rejection::UnknownEdge(edge.clone())),
        Act::AddSigner { asked, listed } => of_no_rotation(signer::add(listed, &state.signers, asked)),
        Act::WithdrawSigner { asked, listed } => {
            of_no_rotation(signer::withdraw(listed, &state.signers, asked))
        }
    }
}

fn of_no_rotation(decided: Result<Option<Fact>, Rejection>) -> Decided {
    decided.map(|fact| fact.map(|fact| (fact, None)))
}

fn next_version(state: &State) -> Version {
    Version(state.newest().map_or(0, |(version, _)| version.0).saturating_add(1))
}

fn check_room(state: &State, minted: &Minted) -> Result<(), Rejection> {
    let accepted = state.keys.values().filter(|key| key.state.is_accepted()).count();
    if accepted >= ACCEPTED_MAX {
        return Err(Rejection::TooManyAccepted(accepted));
    }
    if state.keys.values().any(|key| key.kid == minted.kid) {
        return Err(Rejection::KidTaken);
    }
    match state.keys.iter().find(|(_, key)| key.digest == minted.digest) {
        Some((version, _)) => Err(Rejection::DigestTaken(*version)),
        None => Ok(()),
    }
}

fn check_active_count(state: &State, policy: &Policy) -> Result<(), Rejection> {
    let counts = |key: &&Key| matches!(key.state, KeyState::Active | KeyState::Issued);
    let count = u32::try_from(state.keys.values().filter(counts).count()).unwrap_or(u32::MAX);
    if count >= policy.max_active { Err(Rejection::TooManyActive(count)) } else { Ok(()) }
}

fn issued(
    state: &State,
    minted: &Minted,
    spec: KeySpec,
    origin: Origin,
    reason: IssueReason,
    policy: &Policy,
) -> Issued {
    let pending = |(version, key): (&Version, &Key)| (key.state == KeyState::Issued).then_some(*version);
    let cancels = match &reason {
        IssueReason::Issue => Vec::new(),
        IssueReason::Rotate { .. } => state.keys.iter().filter_map(pending).collect(),
    };
    Issued {
        version: next_version(state),
        kid: minted.kid,
        digest: minted.digest,
        spec,
        origin,
        reason,
        policy: policy.clone(),
        cancels,
    }
}

fn issue(state: &State, at: At, minted: &Minted, spec: &SpecAsked, policy: &Policy) -> Decided {
    check_room(state, minted)?;
    check_active_count(state, policy)?;
    let spec = resolve_spec(spec, None, at);
    let body = issued(state, minted, spec, Origin::Minted, IssueReason::Issue, policy);
    Ok(Some((Fact::KeyIssued(body), Some(minted.rotation))))
}

fn import(state: &State, minted: &Minted, spec: &KeySpec, policy: &Policy) -> Decided {
    check_room(state, minted)?;
    check_active_count(state, policy)?;
    let mut spec = spec.clone();
    in_order(&mut spec);
    let body = issued(state, minted, spec, Origin::Imported, IssueReason::Issue, policy);
    Ok(Some((Fact::KeyIssued(body), Some(minted.rotation))))
}

fn rotate(
    state: &State,
    at: At,
    minted: &Minted,
    spec: &SpecAsked,
    supersedes: &[Version],
    policy: &Policy,
) -> Decided {
    check_room(state, minted)?;
    let Some(newest) = model(state, at) else {
        return Err(if state.keys.is_empty() { Rejection::NoKey } else { Rejection::NothingToRotate });
    };
    for version in supersedes {
        let key = state.keys.get(version).ok_or(Rejection::UnknownVersion(*version))?;
        if key.state != KeyState::Active {
            return Err(Rejection::NotActive(*version));
        }
    }
    let spec = resolve_spec(spec, Some(newest), at);
    let reason = IssueReason::Rotate { supersedes: supersedes.to_vec() };
    let body = issued(state, minted, spec, Origin::Minted, reason, policy);
    Ok(Some((Fact::KeyIssued(body), Some(minted.rotation))))
}

/// The key that a rotation takes after: the newest that is active or pending. Where there is none, the
/// newest that is still in its overlap: its successor was revoked or retired, and its clients need one.
fn model(state: &State, at: At) -> Option<&Key> {
    let primary = |key: &&Key| matches!(key.state, KeyState::Active | KeyState::Issued);
    let newest_primary = state.keys.values().rev().find(primary);
    newest_primary.or_else(|| state.live(at).last().map(|(_, key)| key))
}

/// What was asked, filled up from `model`: a lifetime is taken over as a length, counted from now.
fn resolve_spec(asked: &SpecAsked, model: Option<&Key>, at: At) -> KeySpec {
    let inherited = model.map(|key| key.spec.clone()).unwrap_or_default();
    let lifetime = |key: &Key| key.spec.expires_at.map(|end| end.since(key.issued_at));
    let expires_in = asked.expires_in.or_else(|| model.and_then(lifetime));
    let mut spec = KeySpec {
        scopes: asked.scopes.clone().unwrap_or(inherited.scopes),
        cidrs: asked.cidrs.clone().unwrap_or(inherited.cidrs),
        expires_at: expires_in.map(|span| at.after(span)),
        meta: asked.meta.clone().unwrap_or(inherited.meta),
    };
    in_order(&mut spec);
    spec
}

fn in_order(spec: &mut KeySpec) {
    spec.scopes.sort_unstable();
    spec.scopes.dedup();
}

fn activate(state: &State, at: At, version: Version, barrier: &Barrier) -> Decided {
    let key = state.keys.get(&version).ok_or(Rejection::UnknownVersion(version))?;
    match &key.state {
        KeyState::Active | KeyState::Retiring(_) => return Ok(None),
        KeyState::Retired { .. } => return Err(Rejection::AlreadyRetired(version)),
        KeyState::Revoked { .. } => return Err(Rejection::AlreadyRevoked(version)),
        KeyState::Issued if key.is_expired(at) => return Err(Rejection::AlreadyExpired(version)),
        KeyState::Issued => {}
    }
    let supersedes = match &key.replaces {
        None => Vec::new(),
        Some(replaces) => superseded(state, version, &replaces.only),
    };
    let body = Activated { version, supersedes, barrier: barrier.clone() };
    Ok(Some((Fact::KeyActivated(body), Some(key.rotation))))
}

/// Lower versions only (SAFETY 13): activating an older one late never supersedes a newer one.
fn superseded(state: &State, by: Version, only: &[Version]) -> Vec<Version> {
    let meant = |version: &Version| only.is_empty() || only.contains(version);
    let active = state.keys.range(..by).filter(|(_, key)| key.state == KeyState::Active);
    active.map(|(version, _)| *version).filter(meant).collect()
}

/// A use is news when it is later than what the log knows; a proof, while its version is in an overlap
/// and not proven quiet up to there already.
fn record_use(state: &State, version: Version, seen: &Use) -> Decided {
    let key = state.keys.get(&version).ok_or(Rejection::UnknownVersion(version))?;
    let used_later = seen.last_use.is_some_and(|last| key.seen.is_none_or(|known| known.last < last));
    let proves = seen.quiet.as_ref().is_some_and(|proof| {
        matches!(key.state, KeyState::Retiring(_))
            && key.quiet.is_none_or(|known| known.through < proof.complete_through)
    });
    if !used_later && !proves {
        return Ok(None);
    }
    let body = Used { version, seen: seen.clone() };
    Ok(Some((Fact::KeySeen(body), Some(key.rotation))))
}

fn retire(state: &State, at: At, version: Version, why: &Retirement) -> Decided {
    let key = state.keys.get(&version).ok_or(Rejection::UnknownVersion(version))?;
    match &key.state {
        KeyState::Retired { .. } => return Ok(None),
        KeyState::Revoked { .. } => return Err(Rejection::AlreadyRevoked(version)),
        KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => {}
    }
    let (cause, reason, evidence) = match why {
        Retirement::Due => {
            let evidence = retirement(state, version, at).map_err(|_| Rejection::NotDue(version))?;
            (due_cause(&evidence), None, Some(evidence))
        }
        Retirement::Cancelled(reason) if key.state == KeyState::Issued => {
            (Cause::Cancelled, Some(reason.clone()), None)
        }
        Retirement::Cancelled(_) => return Ok(None),
        Retirement::Requested if key.state == KeyState::Issued => (Cause::Cancelled, None, None),
        Retirement::Requested if state.live(at).all(|(other, _)| other == version) => {
            return Err(Rejection::LastActive(version));
        }
        Retirement::Requested => (Cause::Requested, None, None),
    };
    Ok(Some((ended(vec![version], cause, reason, evidence), Some(key.rotation))))
}

fn due_cause(evidence: &Evidence) -> Cause {
    match evidence {
        Evidence::Quiet { .. } | Evidence::Deadline { .. } => Cause::Superseded,
        Evidence::Expired { .. } => Cause::Expired,
    }
}

fn revoke(state: &State, which: Which, reason: &str) -> Decided {
    let revoked = |key: &Key| matches!(key.state, KeyState::Revoked { .. });
    let meant: Vec<Version> = match which {
        Which::One(version) if !state.keys.contains_key(&version) => {
            return Err(Rejection::UnknownVersion(version));
        }
        Which::All if state.keys.is_empty() => return Err(Rejection::NoKey),
        Which::One(version) => vec![version],
        Which::All => state.keys.keys().copied().collect(),
    };
    let open: Vec<Version> =
        meant.into_iter().filter(|version| !state.keys.get(version).is_some_and(revoked)).collect();
    let rotation = open.last().and_then(|version| state.keys.get(version)).map(|key| key.rotation);
    if open.is_empty() {
        return Ok(None);
    }
    Ok(Some((ended(open, Cause::Revoked, Some(reason.to_owned()), None), rotation)))
}

/// One event for all of `versions` (not empty): it names the newest first, the others beside it.
fn ended(
    mut versions: Vec<Version>,
    cause: Cause,
    reason: Option<String>,
    evidence: Option<Evidence>,
) -> Fact {
    versions.sort_unstable();
    let version = versions.pop().unwrap_or(Version(0));
    Fact::KeyRetired(Ended { version, also: versions, cause, reason, evidence })
}

fn set_policy(state: &State, change: &PolicyChange, beneath: &Policy) -> Decided {
    let patch = state.policy.clone().changed(change);
    if patch == state.policy {
        return Ok(None);
    }
    let (min, max) = (patch.overlap_min, patch.overlap_max);
    if min.zip(max).is_some_and(|(min, max)| min > max) {
        return Err(Rejection::ContradictoryPolicy("overlap_min is longer than overlap_max"));
    }
    if patch.max_active == Some(0) {
        return Err(Rejection::ContradictoryPolicy("max_active must be at least 1"));
    }
    let policy = beneath.clone().overlaid(&patch);
    let timing = |policy: &Policy| (policy.every, policy.jitter, policy.overlap_min, policy.quiet);
    let moves_the_schedule = timing(&policy) != timing(&beneath.clone().overlaid(&state.policy));
    match schedule::contradiction(&policy).filter(|_| moves_the_schedule) {
        Some(detail) => Err(Rejection::ContradictoryPolicy(detail)),
        None => Ok(Some((Fact::PolicySet(patch), None))),
    }
}
