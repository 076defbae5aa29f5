//! The life of every key as the log tells it: what reports are made of. Grows with the keys, not with their use.

use keywheel_domain::event::{Ended, Fact, IssueReason, Restored};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::{Address, At, KeyState, KeyringId, Policy, PolicyPatch, Recorded, Tenant, Version};
use keywheel_wire::notice::Receipt;
use std::collections::{BTreeMap, HashMap};

/// NIST SP 800-57 part 1, section 7: the states of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nist {
    /// It exists, and nobody was given it.
    PreActivation,
    /// It is accepted.
    Active,
    /// It is accepted no longer.
    Deactivated,
    /// Somebody else may have it.
    Compromised,
    /// It was never given to anybody, and its secret is gone.
    Destroyed,
}

impl Nist {
    /// As the standard names it.
    pub fn word(self) -> &'static str {
        match self {
            Nist::PreActivation => "pre-activation",
            Nist::Active => "active",
            Nist::Deactivated => "deactivated",
            Nist::Compromised => "compromised",
            Nist::Destroyed => "destroyed",
        }
    }
}

/// Something that happened, and who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// When it was decided.
    pub at: At,
    /// Who asked.
    pub by: String,
    /// Its position in the log.
    pub seq: u64,
}

/// How a key ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When, by whom.
    pub act: Act,
    /// Why.
    pub cause: Cause,
    /// In the words of whoever asked.
    pub reason: Option<String>,
    /// The event.
    pub event_id: u128,
}

/// One key's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its public lookup id.
    pub kid: String,
    /// Whether it was minted or adopted.
    pub origin: Origin,
    /// Whose it is, where the metadata says so.
    pub owner: Option<String>,
    /// What it permits.
    pub scopes: Vec<String>,
    /// Its own end.
    pub expires_at: Option<At>,
    /// Whether a rotation brought it.
    pub by_rotation: bool,
    /// How long things last, frozen when it was issued.
    pub policy: Policy,
    /// When it came to be.
    pub issued: Act,
    /// When it was handed out.
    pub activated: Option<Act>,
    /// When a newer version began to take its place, and by which policy.
    pub superseded: Option<(Act, Version, Policy)>,
    /// When it was first and last seen in use, as far as the log says.
    pub seen: Option<(At, At)>,
    /// How it ended.
    pub ended: Option<Ending>,
}

impl Life {
    /// The standard's state at `now`.
    pub fn nist(&self, now: At) -> Nist {
        match &self.ended {
            Some(Ending { cause: Cause::Revoked, .. }) => Nist::Compromised,
            Some(_) if self.activated.is_none() => Nist::Destroyed,
            Some(_) => Nist::Deactivated,
            None if self.expires_at.is_some_and(|end| end <= now) => Nist::Deactivated,
            None if self.activated.is_none() => Nist::PreActivation,
            None => Nist::Active,
        }
    }

    /// When it was handed out, or else came to be.
    pub fn since(&self) -> At {
        self.activated.as_ref().map_or(self.issued.at, |act| act.at)
    }
}

/// All of them.
#[derive(Debug, Default)]
pub struct Register {
    keyrings: BTreeMap<KeyringId, BTreeMap<Version, Life>>,
    policies: HashMap<Address, PolicyPatch>,
    receipts: HashMap<u128, Receipt>,
}

impl Register {
    /// Takes the log's next event.
    pub fn take(&mut self, recorded: &Recorded) {
        let event = &recorded.event;
        if let Fact::PolicySet(patch) = &event.fact {
            self.policies.insert(event.address.clone(), patch.clone());
        }
        let Some(keyring) = event.address.keyring() else { return };
        let lives = self.keyrings.entry(keyring.clone()).or_default();
        let act = Act { at: event.at, by: event.actor.as_str().to_owned(), seq: recorded.seq };
        match &event.fact {
            Fact::KeyIssued(issued) => {
                for version in &issued.cancels {
                    end(lives, *version, Cause::Cancelled, None, &act, event.id.0);
                }
                let life = Life {
                    kid: issued.kid.to_string(),
                    origin: issued.origin,
                    owner: issued.spec.meta.get("owner").cloned(),
                    scopes: issued.spec.scopes.clone(),
                    expires_at: issued.spec.expires_at,
                    by_rotation: matches!(issued.reason, IssueReason::Rotate { .. }),
                    policy: issued.policy.clone(),
                    issued: act,
                    activated: None,
                    superseded: None,
                    seen: None,
                    ended: None,
                };
                lives.entry(issued.version).or_insert(life);
            }
            Fact::KeyActivated(activated) => {
                let Some(life) = lives.get_mut(&activated.version) else { return };
                life.activated.get_or_insert_with(|| act.clone());
                let policy = life.policy.clone();
                for version in &activated.supersedes {
                    if let Some(old) = lives.get_mut(version).filter(|old| old.ended.is_none()) {
                        old.superseded = Some((act.clone(), activated.version, policy.clone()));
                    }
                }
            }
            Fact::KeySeen(used) => {
                let uses = used.seen.first_use.zip(used.seen.last_use);
                if let (Some(life), Some((first, last))) = (lives.get_mut(&used.version), uses) {
                    let known = life.seen.unwrap_or((first, last));
                    life.seen = Some((known.0.min(first), known.1.max(last)));
                }
            }
            Fact::KeyRetired(ended) => take_end(lives, ended, &act, event.id.0),
            Fact::RolledBack(restored) => restore(lives, restored, &act, event.id.0),
            Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => {}
        }
    }

    /// Takes a receipt of the propagator's.
    pub fn receive(&mut self, receipt: Receipt) {
        self.receipts.insert(receipt.event_id.0, receipt);
    }

    /// Every key, by keyring and version.
    pub fn lives(&self) -> impl Iterator<Item = (&KeyringId, Version, &Life)> {
        self.keyrings
            .iter()
            .flat_map(|(keyring, lives)| lives.iter().map(move |(version, life)| (keyring, *version, life)))
    }

    /// A keyring's keys, by version.
    pub fn of(&self, keyring: &KeyringId) -> impl Iterator<Item = (Version, &Life)> {
        self.keyrings.get(keyring).into_iter().flatten().map(|(version, life)| (*version, life))
    }

    /// The policy that is in force for a keyring.
    pub fn policy(&self, keyring: &KeyringId) -> Policy {
        let tenant: &Tenant = &keyring.tenant;
        let patch = |address: Address| self.policies.get(&address).cloned().unwrap_or_default();
        let tenants = patch(Address::Tenant(tenant.clone()));
        Policy::default().overlaid(&tenants).overlaid(&patch(Address::Keyring(keyring.clone())))
    }

    /// The receipt of an event.
    pub fn receipt(&self, event_id: u128) -> Option<&Receipt> {
        self.receipts.get(&event_id)
    }
}

fn take_end(lives: &mut BTreeMap<Version, Life>, ended: &Ended, act: &Act, event_id: u128) {
    for version in ended.also.iter().chain([&ended.version]) {
        end(lives, *version, ended.cause, ended.reason.clone(), act, event_id);
    }
}

/// What was revoked stays so, whatever an event says.
fn end(
    lives: &mut BTreeMap<Version, Life>,
    version: Version,
    cause: Cause,
    reason: Option<String>,
    act: &Act,
    event_id: u128,
) {
    let Some(life) = lives.get_mut(&version) else { return };
    if life.ended.as_ref().is_none_or(|ending| ending.cause != Cause::Revoked) {
        life.ended = Some(Ending { act: act.clone(), cause, reason, event_id });
    }
}

fn restore(lives: &mut BTreeMap<Version, Life>, restored: &Restored, act: &Act, event_id: u128) {
    let is_revoked = |life: &Life| life.ended.as_ref().is_some_and(|it| it.cause == Cause::Revoked);
    for version in &restored.restored {
        if let Some(life) = lives.get_mut(version).filter(|life| !is_revoked(life)) {
            life.ended = None;
            life.superseded = None;
        }
    }
    for (version, state) in &restored.withdrawn {
        match state {
            KeyState::Retired { cause, .. } => end(lives, *version, *cause, None, act, event_id),
            KeyState::Revoked { reason, .. } => {
                end(lives, *version, Cause::Revoked, Some(reason.clone()), act, event_id);
            }
            KeyState::Retiring(_) => {
                let heir = restored.restored.last().copied().unwrap_or(*version);
                if let Some(life) = lives.get_mut(version).filter(|life| !is_revoked(life)) {
                    life.superseded = Some((act.clone(), heir, life.policy.clone()));
                }
            }
            KeyState::Issued | KeyState::Active => {}
        }
    }
}
