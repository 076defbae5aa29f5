//! From a state to a row.

use super::{Stored, key_mark, row_mark};
use crate::fold::Loaded;
use crate::pack::{put_bytes, put_count, put_number, put_offset};
use crate::part;
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::signer::{Learned, Standing};
use keywheel_domain::{Key, KeyState, Version};

/// Packs an address without its commands. The same content gives the same bytes.
pub fn write(loaded: &Loaded) -> Stored {
    let state = &loaded.state;
    let mut stored = Stored { body: Vec::with_capacity(160), parts: Vec::new() };
    let to = &mut stored.body;
    put_number(to, loaded.seq);
    put_number(to, state.revision);
    put_number(
        to,
        set(loaded.prev.is_some(), row_mark::PREV)
            | set(loaded.frozen.is_some(), row_mark::FROZEN)
            | set(!state.policies.is_empty(), row_mark::POLICIES)
            | set(!state.edges.is_empty(), row_mark::EDGES)
            | (state.keys.len() as u64) << row_mark::KEYS_SHIFT,
    );
    to.extend(loaded.prev.iter().flatten());
    for (version, key) in &state.keys {
        put_key(&mut stored, *version, key);
    }
    let to = &mut stored.body;
    if !state.policies.is_empty() {
        put_count(to, state.policies.len());
    }
    for (seq, patch) in &state.policies {
        put_number(to, *seq);
        part::put_patch(to, patch);
    }
    if !state.edges.is_empty() {
        put_count(to, state.edges.len());
    }
    for (edge, seq) in &state.edges {
        put_bytes(to, edge.as_str().as_bytes());
        put_number(to, *seq);
    }
    if !state.signers.is_empty() {
        put_signers(to, &state.signers);
    }
    stored
}

/// Stands last and only where there is something to say, so that the rows of all others are as they were before there
/// were such events.
fn put_signers(to: &mut Vec<u8>, signers: &Learned) {
    let Learned { added, withdrawn } = signers;
    put_count(to, added.len());
    for (key, Standing { role, since, by }) in added {
        put_bytes(to, key.as_str().as_bytes());
        put_bytes(to, role.name().as_bytes());
        put_number(to, *since);
        put_bytes(to, by.as_str().as_bytes());
    }
    put_count(to, withdrawn.len());
    for (key, seq) in withdrawn {
        put_bytes(to, key.as_str().as_bytes());
        put_number(to, *seq);
    }
}

fn set(is_set: bool, mark: u64) -> u64 {
    if is_set { mark } else { 0 }
}

fn put_key(stored: &mut Stored, version: Version, key: &Key) {
    let to = &mut stored.body;
    put_number(to, u64::from(version.0));
    to.extend(key.kid.number().to_be_bytes());
    to.extend(key.digest.0);
    put_number(
        to,
        state_mark(&key.state)
            | set(key.was_activated, key_mark::ACTIVATED)
            | set(key.seen.is_some(), key_mark::SEEN)
            | set(key.replaces.is_some(), key_mark::REPLACES)
            | set(key.spec.expires_at.is_some(), key_mark::EXPIRES)
            | set(key.origin == Origin::Imported, key_mark::IMPORTED)
            | set(!key.spec.meta.is_empty(), key_mark::META)
            | set(key.quiet.is_some(), key_mark::QUIET),
    );
    let issued = key.issued_at.0;
    put_number(to, issued);
    to.extend(key.rotation.0.to_be_bytes());
    put_state(to, issued, &key.state);
    if let Some(seen) = key.seen {
        put_offset(to, issued, seen.first.0);
        put_offset(to, seen.first.0, seen.last.0);
        put_number(to, seen.uses);
    }
    if let Some(end) = key.spec.expires_at {
        put_offset(to, issued, end.0);
    }
    if !key.spec.meta.is_empty() {
        put_count(to, key.spec.meta.len());
    }
    for text in key.spec.meta.iter().flat_map(|(name, value)| [name, value]) {
        put_bytes(to, text.as_bytes());
    }
    if let Some(quiet) = key.quiet {
        put_offset(to, issued, quiet.from.0);
        put_offset(to, quiet.from.0, quiet.through.0);
    }
    stored.parts.push(part::grant(&key.spec));
    if let Some(replaces) = &key.replaces {
        put_count(to, replaces.only.len());
        replaces.only.iter().for_each(|version| put_number(to, u64::from(version.0)));
        stored.parts.push(part::policy(&replaces.policy));
    }
}

fn state_mark(state: &KeyState) -> u64 {
    match state {
        KeyState::Issued => key_mark::ISSUED,
        KeyState::Active => key_mark::ACTIVE,
        KeyState::Retiring(_) => key_mark::RETIRING,
        KeyState::Retired { .. } => key_mark::RETIRED,
        KeyState::Revoked { .. } => key_mark::REVOKED,
    }
}

fn put_state(to: &mut Vec<u8>, issued: u64, state: &KeyState) {
    match state {
        KeyState::Issued | KeyState::Active => {}
        KeyState::Retiring(overlap) => {
            let Overlap { since, not_before, deadline, retire_at_deadline, quiet } = overlap;
            put_offset(to, issued, since.0);
            put_offset(to, since.0, not_before.0);
            put_offset(to, since.0, deadline.0);
            put_number(to, u64::from(*retire_at_deadline));
            put_number(to, quiet.0);
        }
        KeyState::Retired { at, cause } => {
            put_offset(to, issued, at.0);
            put_number(to, cause_number(*cause));
        }
        KeyState::Revoked { at, reason } => {
            put_offset(to, issued, at.0);
            put_bytes(to, reason.as_bytes());
        }
    }
}

fn cause_number(cause: Cause) -> u64 {
    match cause {
        Cause::Superseded => 0,
        Cause::Requested => 1,
        Cause::Revoked => 2,
        Cause::Expired => 3,
        Cause::Cancelled => 4,
        Cause::RolledBack => 5,
    }
}
