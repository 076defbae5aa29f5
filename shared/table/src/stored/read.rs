//! From a row to a state. Whatever the bytes are, reading them ends with a state or with what is wrong.

use super::{key_mark, row_mark};
use crate::fold::Loaded;
use crate::pack::{Unpack, wrong};
use crate::part::{Grant, Meaning, Part, read_patch};
use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Cause, Origin, Overlap, Quiet, Replaces, Seen};
use keywheel_domain::signer::{Learned, Standing};
use keywheel_domain::{
    At, Digest, EdgeId, Key, KeySpec, KeyState, Kid, Policy, PolicyPatch, SignerKey, Span, State, Version,
};
use keywheel_wire::{Malformed, warrant};
use std::collections::BTreeMap;

/// A row as it was read. What its keys have in common with others is not copied.
#[derive(Clone, Debug)]
pub struct StoredRow<'p> {
    /// Last sequence of its subject.
    pub seq: u64,
    /// How many events it is the fold of.
    pub revision: u64,
    /// Hash of the last believed event's payload.
    pub prev: Option<[u8; 32]>,
    /// Whether it is frozen.
    pub is_frozen: bool,
    /// Its keys, in the order of their versions.
    pub keys: Vec<StoredKey<'p>>,
    /// Every patch that was set, with its position.
    pub policies: Vec<(u64, PolicyPatch)>,
    /// The roster.
    pub edges: BTreeMap<EdgeId, u64>,
    /// What events said of signers.
    pub signers: Learned,
}

/// One version of a row.
#[derive(Clone, Debug)]
pub struct StoredKey<'p> {
    /// Its version.
    pub version: Version,
    /// Public id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
    /// Scopes and address ranges.
    pub grant: &'p Grant,
    /// Its own end.
    pub expires_at: Option<At>,
    /// Minted or imported.
    pub origin: Origin,
    /// When it was issued.
    pub issued_at: At,
    /// Its state.
    pub state: KeyState,
    rotation: RotationId,
    replaces: Option<(Vec<Version>, &'p Policy)>,
    was_activated: bool,
    seen: Option<Seen>,
    quiet: Option<Quiet>,
    meta: BTreeMap<String, String>,
}

/// Reads a row back from its body and the parts that stood beside it.
///
/// # Errors
/// When they are no row, or not one as [`super::write`] writes it.
pub fn read<'p>(body: &[u8], parts: &[&'p Part]) -> Result<StoredRow<'p>, Malformed> {
    let (mut from, mut parts) = (Unpack(body), parts.iter().copied());
    let (seq, revision, marks) = (from.number()?, from.number()?, from.number()?);
    let prev = has(marks, row_mark::PREV).then(|| from.array()).transpose()?;
    let count = marks >> row_mark::KEYS_SHIFT;
    let mut keys: Vec<StoredKey<'p>> = Vec::new();
    for _ in 0..count {
        let key = read_key(&mut from, &mut parts)?;
        if keys.last().is_some_and(|last| last.version >= key.version) {
            return Err(wrong("versions are not in order"));
        }
        keys.push(key);
    }
    let policies =
        many(has(marks, row_mark::POLICIES), &mut from, |from| Ok((from.number()?, read_patch(from)?)))?;
    let edges = many(has(marks, row_mark::EDGES), &mut from, |from| {
        Ok((EdgeId::parse(from.text()?)?, from.number()?))
    })?;
    let signers = if from.is_at_end() { Learned::default() } else { read_signers(&mut from)? };
    from.end()?;
    if parts.next().is_some() {
        return Err(wrong("parts are left over"));
    }
    let is_frozen = has(marks, row_mark::FROZEN);
    Ok(StoredRow { seq, revision, prev, is_frozen, keys, policies, edges: in_order(edges)?, signers })
}

impl StoredRow<'_> {
    /// Its state, and why it is `frozen` when it is.
    pub fn into_loaded(self, frozen: Option<String>) -> Loaded {
        let policies = self.policies;
        let state = State {
            revision: self.revision,
            keys: self.keys.into_iter().map(|key| (key.version, key.into_key())).collect(),
            policy: policies.last().map(|(_, patch)| patch.clone()).unwrap_or_default(),
            policies,
            edges: self.edges,
            signers: self.signers,
            done: BTreeMap::new(),
        };
        Loaded { state, seq: self.seq, prev: self.prev, frozen }
    }
}

impl StoredKey<'_> {
    fn into_key(self) -> Key {
        Key {
            kid: self.kid,
            digest: self.digest,
            spec: KeySpec {
                scopes: self.grant.scopes.clone(),
                cidrs: self.grant.cidrs.clone(),
                expires_at: self.expires_at,
                meta: self.meta,
            },
            origin: self.origin,
            issued_at: self.issued_at,
            rotation: self.rotation,
            replaces: self.replaces.map(|(only, policy)| Replaces { only, policy: policy.clone() }),
            state: self.state,
            was_activated: self.was_activated,
            seen: self.seen,
            quiet: self.quiet,
        }
    }
}

fn has(marks: u64, mark: u64) -> bool {
    marks & mark != 0
}

/// Where there is any there is one.
fn many<T>(
    is_any: bool,
    from: &mut Unpack<'_>,
    read: impl Fn(&mut Unpack<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let count = if is_any { from.count()? } else { 0 };
    if is_any && count == 0 {
        return Err(wrong("nothing stands where something should"));
    }
    (0..count).map(|_| read(from)).collect()
}

fn in_order<K: Ord, V>(pairs: Vec<(K, V)>) -> Result<BTreeMap<K, V>, Malformed> {
    if pairs.is_sorted_by(|one, other| one.0 < other.0) {
        return Ok(pairs.into_iter().collect());
    }
    Err(wrong("names are not in order"))
}

fn read_key<'p>(
    from: &mut Unpack<'_>,
    parts: &mut impl Iterator<Item = &'p Part>,
) -> Result<StoredKey<'p>, Malformed> {
    let (version, kid, digest) = (Version(from.small()?), read_kid(from)?, Digest(from.array()?));
    let marks = from.number()?;
    if marks > key_mark::ALL {
        return Err(wrong("a key has unknown marks"));
    }
    let (issued, rotation) = (from.number()?, RotationId(u128::from_be_bytes(from.array()?)));
    let state = read_state(from, marks & key_mark::STATE, issued)?;
    let seen = has(marks, key_mark::SEEN).then(|| read_seen(from, issued)).transpose()?;
    let expires_at = has(marks, key_mark::EXPIRES).then(|| from.offset(issued).map(At)).transpose()?;
    let meta = many(has(marks, key_mark::META), from, |from| {
        Ok((from.text()?.to_owned(), from.text()?.to_owned()))
    })?;
    let quiet = has(marks, key_mark::QUIET).then(|| read_quiet(from, issued)).transpose()?;
    let grant = match parts.next().map(|part| &part.meaning) {
        Some(Meaning::Grant(grant)) => grant,
        Some(Meaning::Policy(_)) | None => return Err(wrong("a key does not say what it permits")),
    };
    let replaces = has(marks, key_mark::REPLACES).then(|| read_replaces(from, parts)).transpose()?;
    Ok(StoredKey {
        version,
        kid,
        digest,
        grant,
        expires_at,
        origin: if has(marks, key_mark::IMPORTED) { Origin::Imported } else { Origin::Minted },
        issued_at: At(issued),
        state,
        rotation,
        replaces,
        was_activated: has(marks, key_mark::ACTIVATED),
        seen,
        quiet,
        meta: in_order(meta)?,
    })
}

fn read_signers(from: &mut Unpack<'_>) -> Result<Learned, Malformed> {
    let added = (0..from.count()?).map(|_| {
        let (key, role) = (read_signer(from)?, warrant::role("role", from.text()?)?);
        Ok((key, Standing { role, since: from.number()?, by: read_signer(from)? }))
    });
    let added = in_order(added.collect::<Result<_, Malformed>>()?)?;
    let withdrawn = (0..from.count()?).map(|_| Ok((read_signer(from)?, from.number()?)));
    let withdrawn = in_order(withdrawn.collect::<Result<_, Malformed>>()?)?;
    let learned = Learned { added, withdrawn };
    if learned.is_empty() { Err(wrong("nothing stands where something should")) } else { Ok(learned) }
}

fn read_signer(from: &mut Unpack<'_>) -> Result<SignerKey, Malformed> {
    Ok(SignerKey::parse(from.text()?)?)
}

fn read_seen(from: &mut Unpack<'_>, issued: u64) -> Result<Seen, Malformed> {
    let first = from.offset(issued)?;
    Ok(Seen { first: At(first), last: At(from.offset(first)?), uses: from.number()? })
}

fn read_quiet(from: &mut Unpack<'_>, issued: u64) -> Result<Quiet, Malformed> {
    let begin = from.offset(issued)?;
    Ok(Quiet { from: At(begin), through: At(from.offset(begin)?) })
}

fn read_replaces<'p>(
    from: &mut Unpack<'_>,
    parts: &mut impl Iterator<Item = &'p Part>,
) -> Result<(Vec<Version>, &'p Policy), Malformed> {
    let count = from.count()?;
    let only = (0..count).map(|_| from.small().map(Version)).collect::<Result<_, _>>()?;
    match parts.next().map(|part| &part.meaning) {
        Some(Meaning::Policy(policy)) => Ok((only, policy)),
        Some(Meaning::Grant(_)) | None => Err(wrong("a rotation does not say how long it lasts")),
    }
}

fn read_state(from: &mut Unpack<'_>, mark: u64, issued: u64) -> Result<KeyState, Malformed> {
    Ok(match mark {
        key_mark::ISSUED => KeyState::Issued,
        key_mark::ACTIVE => KeyState::Active,
        key_mark::RETIRING => {
            let since = from.offset(issued)?;
            KeyState::Retiring(Overlap {
                since: At(since),
                not_before: At(from.offset(since)?),
                deadline: At(from.offset(since)?),
                retire_at_deadline: match from.number()? {
                    0 => false,
                    1 => true,
                    _ => return Err(wrong("a mark is neither 0 nor 1")),
                },
                quiet: Span(from.number()?),
            })
        }
        key_mark::RETIRED => {
            KeyState::Retired { at: At(from.offset(issued)?), cause: read_cause(from.number()?)? }
        }
        key_mark::REVOKED => {
            KeyState::Revoked { at: At(from.offset(issued)?), reason: from.text()?.to_owned() }
        }
        _ => return Err(wrong("a key is in an unknown state")),
    })
}

fn read_cause(number: u64) -> Result<Cause, Malformed> {
    Ok(match number {
        0 => Cause::Superseded,
        1 => Cause::Requested,
        2 => Cause::Revoked,
        3 => Cause::Expired,
        4 => Cause::Cancelled,
        5 => Cause::RolledBack,
        _ => return Err(wrong("a key ended for an unknown cause")),
    })
}

fn read_kid(from: &mut Unpack<'_>) -> Result<Kid, Malformed> {
    let number = u64::from_be_bytes(from.array()?);
    let kid = Kid::of_number(number);
    if kid.number() == number { Ok(kid) } else { Err(wrong("a kid is none")) }
}
