//! The log, decoded and folded: from when on each version was what.

use crate::faults::check::report::{Promise, Report};
use crate::faults::ledger::{Entry, Micros};
use keywheel_domain::key::Cause;
use keywheel_domain::{At, Event, Fact, KeyState, Recorded, State, Version, evolve};
use keywheel_wire::event::{Link, Read};
use keywheel_wire::{chain, event, subject};
use std::collections::{BTreeMap, HashMap};

/// What edges do with a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is known of it yet.
    Absent,
    /// It is accepted.
    Accepted,
    /// It ended, and may be revived.
    Retired(Cause),
    /// It ended for ever.
    Revoked,
}

impl Phase {
    fn of(state: &KeyState) -> Phase {
        match state {
            KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => Phase::Accepted,
            KeyState::Retired { cause, .. } => Phase::Retired(*cause),
            KeyState::Revoked { .. } => Phase::Revoked,
        }
    }

    /// Whether it has ended.
    pub fn is_end(self) -> bool {
        match self {
            Phase::Absent | Phase::Accepted => false,
            Phase::Retired(_) | Phase::Revoked => true,
        }
    }
}

/// From when on a version was something else.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// Position of the event.
    pub sequence: u64,
    /// When it was stored.
    pub stored: Micros,
    /// What the version is from then on.
    pub phase: Phase,
    /// The entry.
    pub entry: &'a Entry,
}

/// A version's life.
#[derive(Clone, Debug, Default)]
pub struct Life<'a> {
    /// In the order of the log; before the first it is absent.
    pub changes: Vec<Change<'a>>,
    /// Its own end.
    pub expires_at: Option<At>,
    /// Its public part.
    pub kid: String,
    /// When its activation was stored.
    pub activated: Option<Micros>,
}

impl<'a> Life<'a> {
    /// What it can have been for an edge that has applied at least what was stored by `known` and stands at or before
    /// `position`, and at most what was stored by `until`.
    pub fn phases(&self, known: Option<Micros>, position: u64, until: Micros) -> Vec<Phase> {
        let must = |change: &Change<'_>| {
            change.sequence <= position || known.is_some_and(|known| change.stored <= known)
        };
        let last = self.changes.iter().rposition(must);
        let from = last.map_or(0, |at| at + 1);
        let first = last.map_or(Phase::Absent, |at| self.changes[at].phase);
        let later = self.changes[from..].iter().filter(|change| change.stored <= until);
        std::iter::once(first).chain(later.map(|change| change.phase)).collect()
    }

    /// The entries that made it what it is.
    pub fn entries(&self) -> impl Iterator<Item = &'a Entry> {
        self.changes.iter().map(|change| change.entry)
    }
}

/// A believed event, with the state of its address before it.
pub struct Step<'a> {
    /// The event.
    pub recorded: Recorded,
    /// When it was stored.
    pub stored: Micros,
    /// Where it is about.
    pub keyring: &'a str,
    /// The versions' states before it, where it ends one by itself.
    pub before: Option<State>,
    /// The entry.
    pub entry: &'a Entry,
}

/// The whole log.
#[derive(Default)]
pub struct History<'a> {
    /// Each keyring's versions.
    pub lives: BTreeMap<&'a str, BTreeMap<u32, Life<'a>>>,
    /// Its believed events, in order.
    pub steps: Vec<Step<'a>>,
    /// Which of them a command made: places in `steps`.
    pub effects: HashMap<u128, Vec<usize>>,
    /// Position of the last message, believed or not.
    pub last: u64,
    /// The machine's clock at moments of the campaign: `(milliseconds since 1970, moment)`.
    clock: Vec<(u64, Micros)>,
}

/// What is known of an address so far.
#[derive(Default)]
struct Folded {
    state: State,
    link: Link,
}

impl<'a> History<'a> {
    /// Reads the log's entries; what does not continue it breaks [`Promise::Order`] or [`Promise::Revoked`].
    pub fn read(entries: &'a [Entry], report: &mut Report) -> History<'a> {
        let mut history = History::default();
        let mut logged: Vec<(u64, Micros, &str, &Entry)> = Vec::new();
        for entry in entries {
            if let Entry::Logged { sequence, stored, keyring, .. } = entry {
                logged.push((*sequence, *stored, keyring, entry));
            } else if let Entry::Clock { at, wall } = entry {
                history.clock.push((*wall, *at));
            }
        }
        history.clock.sort_unstable();
        logged.sort_by_key(|(sequence, ..)| *sequence);
        let mut folded: BTreeMap<&str, Folded> = BTreeMap::new();
        let mut newest: Micros = 0;
        for (sequence, stored, keyring, entry) in logged {
            // What stands behind another was not there before it.
            newest = newest.max(stored);
            let missing = sequence != history.last + 1;
            let gap = missing.then(|| format!("position {sequence} follows {}", history.last));
            report.trial(Promise::Order, &[entry], gap);
            history.last = sequence;
            let Entry::Logged { event, payload, .. } = entry else { continue };
            if event.is_null() {
                continue;
            }
            match decode(keyring, payload) {
                Ok((read, bytes)) => {
                    let known = folded.entry(keyring).or_default();
                    let moment = Moment { sequence, stored: newest, keyring, entry };
                    history.take(known, read, &bytes, moment, report);
                }
                Err(error) => {
                    report.broken(Promise::Order, format!("no event at {sequence}: {error}"), &[entry]);
                }
            }
        }
        history
    }

    fn take(
        &mut self,
        known: &mut Folded,
        read: Read,
        bytes: &[u8],
        moment: Moment<'a>,
        report: &mut Report,
    ) {
        let Moment { sequence, stored, keyring, entry } = moment;
        if read.link.revision != known.link.revision + 1 || read.link.prev != known.link.prev {
            let what = format!(
                "{keyring} at {sequence}: revision {} does not continue {}",
                read.link.revision, known.link.revision
            );
            report.broken(Promise::Order, what, &[entry]);
        }
        known.link = Link { revision: read.link.revision, prev: Some(chain::payload_hash(bytes)) };
        let recorded = Recorded { seq: sequence, event: read.event };
        revives_none(&known.state, &recorded.event, moment, report);
        let before = is_due(&recorded.event.fact).then(|| known.state.clone());
        let after = evolve(std::mem::take(&mut known.state), &recorded);
        let lives = self.lives.entry(keyring).or_default();
        for version in recorded.event.fact.changes() {
            let Some(key) = after.keys.get(&version) else { continue };
            let life = lives.entry(version.0).or_default();
            let phase = Phase::of(&key.state);
            life.expires_at = key.spec.expires_at;
            if key.was_activated && life.activated.is_none() {
                life.activated = Some(stored);
            }
            if life.changes.last().is_none_or(|last| last.phase != phase) {
                life.kid = key.kid.to_string();
                life.changes.push(Change { sequence, stored, phase, entry });
            }
        }
        known.state = after;
        self.effects.entry(recorded.event.command.0).or_default().push(self.steps.len());
        self.steps.push(Step { recorded, stored, keyring, before, entry });
    }

    /// A version's life; nothing when the log does not name it.
    pub fn life(&self, keyring: &str, version: u32) -> Option<&Life<'a>> {
        self.lives.get(keyring)?.get(&version)
    }

    /// The moment of the campaign at which the machine's clock showed this; nothing when it was never read.
    pub fn moment(&self, at: At) -> Option<Micros> {
        let next = self.clock.partition_point(|(wall, _)| *wall <= at.0);
        let (wall, moment) = self.clock.get(next.saturating_sub(1))?;
        let moment = i128::from(*moment) + (i128::from(at.0) - i128::from(*wall)) * 1000;
        Some(Micros::try_from(moment.max(0)).unwrap_or(Micros::MAX))
    }
}

#[derive(Clone, Copy)]
struct Moment<'a> {
    sequence: u64,
    stored: Micros,
    keyring: &'a str,
    entry: &'a Entry,
}

fn decode(keyring: &str, payload: &str) -> Result<(Read, Vec<u8>), String> {
    let bytes = bytes(payload).ok_or("the payload is no hexadecimal text")?;
    let subject = subject::event_at(&keyring.replacen('/', ".", 1));
    let read = event::read(&subject, &bytes).map_err(|error| error.to_string())?;
    Ok((read, bytes))
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pair = |at| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..hex.len()).step_by(2).map(pair).collect()
}

/// Whether it is an end that nobody commanded.
fn is_due(fact: &Fact) -> bool {
    let Fact::KeyRetired(ended) = fact else { return false };
    match ended.cause {
        Cause::Superseded | Cause::Expired => true,
        Cause::Requested | Cause::Revoked | Cause::Cancelled | Cause::RolledBack => false,
    }
}

/// The versions to which it gives another state than revoked.
fn softens(fact: &Fact) -> Vec<Version> {
    let mut versions = fact.changes();
    match fact {
        Fact::KeyRetired(ended) if ended.cause == Cause::Revoked => versions.clear(),
        Fact::RolledBack(restored) => {
            let revoked = |version: &Version| {
                let to = restored.withdrawn.iter().find(|(withdrawn, _)| withdrawn == version);
                to.is_some_and(|(_, to)| matches!(to, KeyState::Revoked { .. }))
            };
            versions.retain(|version| !revoked(version));
        }
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::KeyRetired(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => {}
    }
    versions
}

/// No event may change what is revoked, whatever the fold would make of it.
fn revives_none(state: &State, event: &Event, moment: Moment<'_>, report: &mut Report) {
    let revoked = |version: &Version| {
        state.keys.get(version).is_some_and(|key| matches!(key.state, KeyState::Revoked { .. }))
    };
    if !state.keys.keys().any(revoked) {
        return;
    }
    let revived = softens(&event.fact).into_iter().find(revoked);
    let what = |version| {
        format!(
            "{} {version} is revoked, and position {} names it as accepted",
            moment.keyring, moment.sequence
        )
    };
    report.trial(Promise::Revoked, &[moment.entry], revived.map(what));
}
