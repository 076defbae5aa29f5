//! How a state is kept in a row. The commands that had an effect are rows of their own.

use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Origin, Quiet, Replaces, Seen};
use keywheel_domain::{At, Digest, EdgeId, Key, KeySpec, KeyState, Kid, Policy, PolicyPatch, State, Version};
use keywheel_wire::Malformed;
use keywheel_wire::body::WireKeyState;
use keywheel_wire::policy::{WirePatch, whole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Serialize, Deserialize)]
struct StoredState {
    revision: u64,
    keys: Vec<StoredKey>,
    policies: Vec<(u64, WirePatch)>,
    edges: Vec<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    version: u32,
    kid: String,
    digest: [u8; 32],
    scopes: Vec<String>,
    cidrs: Vec<String>,
    expires_at: Option<u64>,
    meta: BTreeMap<String, String>,
    imported: bool,
    issued_at: u64,
    rotation: u128,
    replaces: Option<StoredReplaces>,
    state: WireKeyState,
    was_activated: bool,
    seen: Option<(u64, u64, u64)>,
    quiet: Option<(u64, u64)>,
}

#[derive(Serialize, Deserialize)]
struct StoredReplaces {
    only: Vec<u32>,
    policy: WirePatch,
}

/// Writes a state without its commands. The same state gives the same bytes.
///
/// # Errors
/// When it cannot be encoded.
pub fn write(state: &State) -> Result<Vec<u8>, Malformed> {
    let stored = StoredState {
        revision: state.revision,
        keys: state.keys.iter().map(|(version, key)| key_out(*version, key)).collect(),
        policies: state.policies.iter().map(|(seq, patch)| (*seq, WirePatch::from(patch))).collect(),
        edges: state.edges.iter().map(|(edge, seq)| (edge.to_string(), *seq)).collect(),
    };
    rmp_serde::to_vec_named(&stored).map_err(|error| Malformed::new("state", error))
}

/// Reads a state back; its commands are empty.
///
/// # Errors
/// When the bytes are no state.
pub fn read(bytes: &[u8]) -> Result<State, Malformed> {
    let stored: StoredState = rmp_serde::from_slice(bytes).map_err(|error| Malformed::new("state", error))?;
    let keys = stored.keys.into_iter().map(key_in).collect::<Result<_, _>>()?;
    let edge = |(name, seq): (String, u64)| Ok((EdgeId::parse(&name)?, seq));
    let policies: Vec<(u64, PolicyPatch)> =
        stored.policies.into_iter().map(|(seq, patch)| (seq, PolicyPatch::from(patch))).collect();
    Ok(State {
        revision: stored.revision,
        keys,
        policy: policies.last().map(|(_, patch)| patch.clone()).unwrap_or_default(),
        policies,
        edges: stored.edges.into_iter().map(edge).collect::<Result<_, Malformed>>()?,
        done: BTreeMap::new(),
    })
}

fn key_out(version: Version, key: &Key) -> StoredKey {
    StoredKey {
        version: version.0,
        kid: key.kid.to_string(),
        digest: key.digest.0,
        scopes: key.spec.scopes.clone(),
        cidrs: key.spec.cidrs.clone(),
        expires_at: key.spec.expires_at.map(|at| at.0),
        meta: key.spec.meta.clone(),
        imported: key.origin == Origin::Imported,
        issued_at: key.issued_at.0,
        rotation: key.rotation.0,
        replaces: key.replaces.as_ref().map(|replaces| StoredReplaces {
            only: replaces.only.iter().map(|version| version.0).collect(),
            policy: whole(&replaces.policy),
        }),
        state: WireKeyState::from(&key.state),
        was_activated: key.was_activated,
        seen: key.seen.map(|seen| (seen.first.0, seen.last.0, seen.uses)),
        quiet: key.quiet.map(|quiet| (quiet.from.0, quiet.through.0)),
    }
}

fn key_in(stored: StoredKey) -> Result<(Version, Key), Malformed> {
    let key = Key {
        kid: Kid::parse(&stored.kid)?,
        digest: Digest(stored.digest),
        spec: KeySpec {
            scopes: stored.scopes,
            cidrs: stored.cidrs,
            expires_at: stored.expires_at.map(At),
            meta: stored.meta,
        },
        origin: if stored.imported { Origin::Imported } else { Origin::Minted },
        issued_at: At(stored.issued_at),
        rotation: RotationId(stored.rotation),
        replaces: stored.replaces.map(|replaces| Replaces {
            only: replaces.only.into_iter().map(Version).collect(),
            policy: Policy::default().overlaid(&PolicyPatch::from(replaces.policy)),
        }),
        state: KeyState::try_from(stored.state)?,
        was_activated: stored.was_activated,
        seen: stored.seen.map(|(first, last, uses)| Seen { first: At(first), last: At(last), uses }),
        quiet: stored.quiet.map(|(from, through)| Quiet { from: At(from), through: At(through) }),
    };
    Ok((Version(stored.version), key))
}
