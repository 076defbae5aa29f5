//! When which keyring is to be looked at for its scheduled rotation: an index in memory, made from the
//! fold at start and moved along by what is applied. Whoever looks asks the state itself
//! ([`keywheel_domain::schedule::scheduled`]); this only knows when to look, so that a hundred thousand
//! schedules cost nothing while none is due. No I/O.

use keywheel_domain::policy::{Policy, PolicyPatch};
use keywheel_domain::schedule;
use keywheel_domain::{Address, At, Client, KeyringId, Span, State, Tenant, Version};
use std::collections::{BTreeMap, BTreeSet};

/// How long after its first failure a keyring is looked at again; doubled with each further one…
const RETRY_FIRST: Span = Span::secs(1);
/// …up to 2⁶ times that.
const RETRY_DOUBLINGS_MAX: u32 = 6;

/// The agenda of every keyring.
#[derive(Debug, Default)]
pub struct Agenda {
    tenants: BTreeMap<Tenant, Member>,
    queue: BTreeSet<(At, KeyringId)>,
}

#[derive(Debug, Default)]
struct Member {
    timing: Timing,
    keyrings: BTreeMap<Client, Entry>,
}

/// The part of a patch that says when.
#[derive(Clone, Copy, Debug, Default)]
struct Timing {
    every: Option<Option<Span>>,
    jitter: Option<Span>,
}

#[derive(Debug)]
struct Entry {
    own: Timing,
    newest: Version,
    issued_at: At,
    /// Where it stands in the queue.
    wake: Option<At>,
    in_hand: bool,
    /// Whether something changed while it was in hand, so that what was found then may not hold any more.
    changed: bool,
    failures: u32,
    /// The due time and the reason of the last alarm.
    alarmed: Option<(Option<At>, &'static str)>,
}

/// What came of looking at a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looked {
    /// Nothing is left to do until its state or its policy changes, or its due time comes.
    Settled,
    /// It could not be done now.
    Failed,
}

impl Timing {
    fn of(patch: &PolicyPatch) -> Self {
        Self { every: patch.every, jitter: patch.jitter }
    }

    fn over(self, policy: Policy) -> Policy {
        let Timing { every, jitter } = self;
        policy.overlaid(&PolicyPatch { every, jitter, ..PolicyPatch::NONE })
    }
}

impl Agenda {
    /// Takes in how an address stands now.
    pub fn take_in(&mut self, address: &Address, state: &State) {
        match address {
            Address::Installation => {}
            Address::Tenant(tenant) => self.take_in_tenant(tenant, state),
            Address::Keyring(keyring) => {
                let Some((newest, key)) = state.newest() else { return };
                let own = Timing::of(&state.policy);
                let member = self.tenants.entry(keyring.tenant.clone()).or_default();
                let entry = member.keyrings.entry(keyring.client.clone()).or_insert(Entry {
                    own,
                    newest,
                    issued_at: key.issued_at,
                    wake: None,
                    in_hand: false,
                    changed: false,
                    failures: 0,
                    alarmed: None,
                });
                (entry.own, entry.newest, entry.issued_at) = (own, newest, key.issued_at);
                entry.moved(keyring, member.timing, &mut self.queue);
            }
        }
    }

    /// A tenant's policy concerns every keyring of it: when it is due, and whether it may start.
    fn take_in_tenant(&mut self, tenant: &Tenant, state: &State) {
        let member = self.tenants.entry(tenant.clone()).or_default();
        member.timing = Timing::of(&state.policy);
        for (client, entry) in &mut member.keyrings {
            let keyring = KeyringId { tenant: tenant.clone(), client: client.clone() };
            entry.moved(&keyring, member.timing, &mut self.queue);
        }
    }

    /// When the next keyring is to be looked at.
    pub fn next(&self) -> Option<At> {
        self.queue.first().map(|(wake, _)| *wake)
    }

    /// The keyring that has waited longest for being looked at, if there is one. It is in hand until it
    /// is [`Agenda::looked`] at.
    pub fn take(&mut self, now: At) -> Option<KeyringId> {
        self.queue.first().filter(|(wake, _)| *wake <= now)?;
        let (_, keyring) = self.queue.pop_first()?;
        if let Some((entry, _)) = self.entry(&keyring) {
            (entry.wake, entry.in_hand, entry.changed) = (None, true, false);
        }
        Some(keyring)
    }

    /// A keyring is no longer in hand.
    pub fn looked(&mut self, keyring: &KeyringId, looked: Looked, now: At) {
        let Some((entry, timing)) = self.entry(keyring) else { return };
        entry.in_hand = false;
        let due = entry.due(keyring, timing);
        let wake = match looked {
            Looked::Settled if entry.changed => due,
            Looked::Settled => due.filter(|due| *due > now),
            Looked::Failed => {
                let doublings = entry.failures.min(RETRY_DOUBLINGS_MAX);
                entry.failures = entry.failures.saturating_add(1);
                due.map(|due| due.max(now.after(Span(RETRY_FIRST.0 << doublings))))
            }
        };
        entry.wake = wake;
        self.queue.extend(wake.map(|wake| (wake, keyring.clone())));
    }

    /// Whether an alarm of this reason about this due time was not given yet.
    pub fn is_news(&mut self, keyring: &KeyringId, due: Option<At>, code: &'static str) -> bool {
        self.entry(keyring).is_some_and(|(entry, _)| entry.alarmed != Some((due, code)))
    }

    /// It was given.
    pub fn alarmed(&mut self, keyring: &KeyringId, due: Option<At>, code: &'static str) {
        if let Some((entry, _)) = self.entry(keyring) {
            entry.alarmed = Some((due, code));
        }
    }

    fn entry(&mut self, keyring: &KeyringId) -> Option<(&mut Entry, Timing)> {
        let member = self.tenants.get_mut(&keyring.tenant)?;
        Some((member.keyrings.get_mut(&keyring.client)?, member.timing))
    }
}

impl Entry {
    fn due(&self, keyring: &KeyringId, tenant: Timing) -> Option<At> {
        let policy = self.own.over(tenant.over(Policy::default()));
        schedule::due(keyring, self.newest, self.issued_at, &policy)
    }

    /// Something changed: it is looked at when it is due, at once where it was due before.
    fn moved(&mut self, keyring: &KeyringId, tenant: Timing, queue: &mut BTreeSet<(At, KeyringId)>) {
        (self.changed, self.failures) = (true, 0);
        if self.in_hand {
            return;
        }
        let due = self.due(keyring, tenant);
        if due == self.wake {
            return;
        }
        if let Some(wake) = self.wake {
            queue.remove(&(wake, keyring.clone()));
        }
        self.wake = due;
        queue.extend(due.map(|due| (due, keyring.clone())));
    }
}

#[cfg(test)]
mod tests;
