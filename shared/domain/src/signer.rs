//! Whose word counts from which position on: signing keys that are introduced and withdrawn by events, beside those
//! that a reader's signers file lists.

use crate::event::Fact;
use crate::name::Service;
use crate::rejection::{InvalidText, Rejection};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Most keys of one role that its own keys may have introduced and that stand. The root may go beyond it, so that who
/// holds a stolen key cannot fill the place up.
pub const INTRODUCED_MAX: usize = 16;

/// A public signing key: a user's nkey (`U…`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignerKey(String);

impl SignerKey {
    /// Reads one by its form: `U` and 55 characters of base32.
    ///
    /// # Errors
    /// Says what is expected.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let is_base32 = |byte: u8| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte);
        if text.len() == 56 && text.starts_with('U') && text.bytes().all(is_base32) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidText::new("key", text, "write a user's public nkey (U…, 56 characters)"))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who stands for a change of the signers, and the signature with which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warrant {
    /// Public nkey: the root's, or one of the same role.
    pub by: SignerKey,
    /// Base64, over what is asked ([`crate::Fact`]'s own fields) and the installation.
    pub signature: String,
}

/// Body of `SignerAdded`: from its position on the key is believed as its role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// The new key.
    pub key: SignerKey,
    /// As what it is believed.
    pub role: Service,
    /// By whose word.
    pub warrant: Warrant,
}

/// Body of `SignerWithdrawn`: what the key signs is believed up to its position and never after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The key.
    pub key: SignerKey,
    /// Why, in a person's words.
    pub reason: String,
    /// By whose word: a root's.
    pub warrant: Warrant,
}

/// What a reader's signers file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Offline keys that may introduce and withdraw signers, and nothing else.
    pub roots: BTreeSet<SignerKey>,
    /// Signers that are believed from the first event on.
    pub keys: BTreeMap<SignerKey, Service>,
}

/// A key that an event introduced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// As what it is believed.
    pub role: Service,
    /// The position of its `SignerAdded`.
    pub since: u64,
    /// By whose word.
    pub by: SignerKey,
}

/// What the events say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Keys that were introduced.
    pub added: BTreeMap<SignerKey, Standing>,
    /// Keys that were withdrawn, each with the position of that.
    pub withdrawn: BTreeMap<SignerKey, u64>,
}

impl Learned {
    /// Whether no event said anything.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.withdrawn.is_empty()
    }

    /// The position of the last change; 0 where there was none.
    pub fn changed(&self) -> u64 {
        let added = self.added.values().map(|standing| standing.since);
        added.chain(self.withdrawn.values().copied()).max().unwrap_or(0)
    }

    /// Takes what an event at `seq` says. What was said of a key first stays: a second introduction changes nothing,
    /// and a withdrawal is for ever.
    pub fn take(&mut self, seq: u64, fact: &Fact) {
        match fact {
            Fact::SignerAdded(Introduced { key, role, warrant }) => {
                let standing = Standing { role: *role, since: seq, by: warrant.by.clone() };
                self.added.entry(key.clone()).or_insert(standing);
            }
            Fact::SignerWithdrawn(Withdrawn { key, .. }) => {
                self.withdrawn.entry(key.clone()).or_insert(seq);
            }
            Fact::KeyIssued(_)
            | Fact::KeyActivated(_)
            | Fact::KeySeen(_)
            | Fact::KeyRetired(_)
            | Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_) => {}
        }
    }
}

/// As what a key is believed at `seq`. It depends on nothing that stands at or after `seq`: who knows more of the log
/// judges what lies before it as who read it then.
pub fn role_at(listed: &Listed, learned: &Learned, key: &SignerKey, seq: u64) -> Option<Service> {
    if learned.withdrawn.get(key).is_some_and(|withdrawn| *withdrawn < seq) {
        return None;
    }
    let added = || learned.added.get(key).filter(|it| it.since < seq).map(|it| it.role);
    listed.keys.get(key).copied().or_else(added)
}

/// Whether who stands for it may introduce this key at `seq`.
///
/// # Errors
/// Why not.
pub fn may_add(listed: &Listed, learned: &Learned, asked: &Introduced, seq: u64) -> Result<(), Rejection> {
    let Introduced { key, role, warrant } = asked;
    if listed.roots.contains(&warrant.by) {
        return Ok(());
    }
    if role_at(listed, learned, &warrant.by, seq) != Some(*role) {
        return Err(Rejection::NotEntitled { by: warrant.by.clone(), role: Some(*role) });
    }
    let counts = |(other, it): &(&SignerKey, &Standing)| {
        it.role == *role
            && *other != key
            && !listed.roots.contains(&it.by)
            && it.since < seq
            && learned.withdrawn.get(other).is_none_or(|withdrawn| *withdrawn >= seq)
    };
    if learned.added.iter().filter(counts).count() >= INTRODUCED_MAX {
        return Err(Rejection::TooManySigners(*role));
    }
    Ok(())
}

/// Whether who stands for it may withdraw a key: a root alone, because a stolen key must not withdraw the right one.
///
/// # Errors
/// Why not.
pub fn may_withdraw(listed: &Listed, asked: &Withdrawn) -> Result<(), Rejection> {
    if listed.roots.contains(&asked.warrant.by) {
        return Ok(());
    }
    Err(Rejection::NotEntitled { by: asked.warrant.by.clone(), role: None })
}

/// Whether to introduce it now; nothing where that was done.
pub(crate) fn add(listed: &Listed, learned: &Learned, asked: &Introduced) -> Result<Option<Fact>, Rejection> {
    let Introduced { key, role, .. } = asked;
    if learned.withdrawn.contains_key(key) {
        return Err(Rejection::SignerWithdrawn(key.clone()));
    }
    let added = learned.added.get(key).map(|it| it.role);
    match listed.keys.get(key).copied().or(added) {
        Some(other) if other != *role => Err(Rejection::SignerHasRole { key: key.clone(), role: other }),
        // Who lists it need not be told; others may not list it.
        Some(_) if added.is_some() => Ok(None),
        Some(_) | None => {
            may_add(listed, learned, asked, u64::MAX).map(|()| Some(Fact::SignerAdded(asked.clone())))
        }
    }
}

/// Whether to withdraw it now; nothing where that was done.
pub(crate) fn withdraw(
    listed: &Listed,
    learned: &Learned,
    asked: &Withdrawn,
) -> Result<Option<Fact>, Rejection> {
    may_withdraw(listed, asked)?;
    if learned.withdrawn.contains_key(&asked.key) {
        return Ok(None);
    }
    let role = |key: &SignerKey| role_at(listed, learned, key, u64::MAX);
    let own = role(&asked.key).ok_or_else(|| Rejection::UnknownSigner(asked.key.clone()))?;
    let others = listed.keys.keys().chain(learned.added.keys()).filter(|key| **key != asked.key);
    if others.filter_map(role).any(|other| other == own) {
        return Ok(Some(Fact::SignerWithdrawn(asked.clone())));
    }
    Err(Rejection::LastSigner(own))
}
