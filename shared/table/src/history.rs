//! One address's past: its believed events in order, and the state at any moment between them.

use crate::Message;
use crate::weigh::Opinion;
use keywheel_domain::{At, Cut, Event, Recorded, State, evolve};
use keywheel_wire::belief::Doubt;
use keywheel_wire::signers::Signers;
use std::num::NonZero;
use std::sync::Arc;
use std::thread::{available_parallelism, scope};

/// Fewer messages than this for each thread are not worth one.
const SHARE_MIN: usize = 64;

/// A believed event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// The event with its position.
    pub recorded: Recorded,
    /// When the bus stored it, by the bus's clock.
    pub stored: At,
}

/// A message that does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubted {
    /// Its position.
    pub seq: u64,
    /// Why.
    pub doubt: Doubt,
    /// How many believed events stand before it.
    pub after: usize,
    /// When the bus stored it, by the bus's clock.
    pub stored: At,
}

/// A believed event as it is kept outside of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its position.
    pub seq: u64,
    /// When the bus stored it, by the bus's clock.
    pub stored: At,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A message with what it says by itself, whatever stands around it.
#[derive(Debug)]
pub struct Judged {
    seq: u64,
    subject: String,
    stored: At,
    opinion: Opinion,
}

/// What each message says by itself, by a reader's `signers`: found on as many cores as there are.
pub fn judge_all(messages: &[(Message, At)], signers: &Signers) -> Vec<Judged> {
    side_by_side(messages, |(message, stored)| Judged {
        seq: message.seq,
        subject: message.subject.clone(),
        stored: *stored,
        opinion: Opinion::of(message, signers),
    })
}

impl Judged {
    /// The event, if an entitled service wrote it. Whether it is part of history a [`History`] tells.
    pub fn event(&self) -> Option<&Event> {
        self.opinion.event()
    }

    /// The subject at which it stands.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// One address's believed events, with what is not believed beside them.
#[derive(Clone, Debug)]
pub struct History {
    signers: Arc<Signers>,
    events: Vec<Happened>,
    doubts: Vec<Doubted>,
    prev: Option<[u8; 32]>,
    frozen: Option<String>,
}

impl History {
    /// Of an address of which nothing was taken yet, by a reader's `signers`.
    pub fn new(signers: Arc<Signers>) -> Self {
        Self { signers, events: Vec::new(), doubts: Vec::new(), prev: None, frozen: None }
    }

    /// What was believed at `subject` before, out of what was kept; nothing where that is no unbroken history. Signatures
    /// are not checked again: each event names the one before by its hash, so that the newest, found in the log and
    /// believed, vouches for all.
    pub fn resume(signers: Arc<Signers>, subject: &str, kept: &[Kept]) -> Option<Self> {
        let judged = side_by_side(kept, |kept| Judged {
            seq: kept.seq,
            subject: subject.to_owned(),
            stored: kept.stored,
            opinion: Opinion::of_believed(subject, &kept.payload),
        });
        let mut history = Self::new(signers);
        judged.into_iter().for_each(|judged| history.add(judged));
        history.doubts.is_empty().then_some(history)
    }

    /// Whether nothing was taken that does not count.
    pub fn is_believed(&self) -> bool {
        self.doubts.is_empty()
    }

    /// Takes the address's next messages, each with the time at which it was stored.
    pub fn take(&mut self, messages: &[(Message, At)]) {
        judge_all(messages, &self.signers).into_iter().for_each(|judged| self.add(judged));
    }

    /// Takes the address's next message, of which is known what it says by itself.
    pub fn add(&mut self, judged: Judged) {
        let Judged { seq, subject, stored, opinion } = judged;
        let read = match &self.frozen {
            Some(reason) => Err(Doubt::Freeze(format!("{subject} is frozen: {reason}"))),
            None => opinion.continuing(&subject, self.events.len() as u64, self.prev),
        };
        match read {
            Ok((read, hash)) => {
                self.events.push(Happened { recorded: Recorded { seq, event: read.event }, stored });
                self.prev = Some(hash);
            }
            Err(doubt) => {
                if doubt.freezes() && self.frozen.is_none() {
                    self.frozen = Some(doubt.reason().to_owned());
                }
                self.doubts.push(Doubted { seq, doubt, after: self.events.len(), stored });
            }
        }
    }

    /// Every believed event, the oldest first.
    pub fn events(&self) -> &[Happened] {
        &self.events
    }

    /// Whether the history that is meant ends before something that was taken already.
    pub fn is_past(&self, cut: Cut) -> bool {
        let later = |doubted: &Doubted| matches!(cut, Cut::Seq(seq) if doubted.seq > seq);
        self.until(cut).len() < self.events.len() || self.doubts.last().is_some_and(later)
    }

    /// Those that had happened by then.
    pub fn until(&self, cut: Cut) -> &[Happened] {
        let ends = self.events.iter().position(|event| cut.ends_before(&event.recorded));
        self.events.get(..ends.unwrap_or(self.events.len())).unwrap_or_default()
    }

    /// The messages that did not count by then. What they say of their own time is not believed, so by time
    /// they count from when they were stored, if no event after them is meant.
    pub fn doubts_until(&self, cut: Cut) -> impl Iterator<Item = &Doubted> {
        let events = self.until(cut).len();
        self.doubts.iter().filter(move |doubted| match cut {
            Cut::Seq(seq) => doubted.seq <= seq,
            Cut::Time(at) => doubted.after < events || (doubted.after == events && doubted.stored <= at),
        })
    }

    /// The state as it was then.
    pub fn state_at(&self, cut: Cut) -> State {
        self.until(cut).iter().fold(State::default(), |state, event| evolve(state, &event.recorded))
    }
}

/// The results for all items, in order, found on as many threads as there are cores.
fn side_by_side<T: Sync, R: Send>(items: &[T], of: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, NonZero::get).min(items.len() / SHARE_MIN);
    if threads < 2 {
        return items.iter().map(of).collect();
    }
    let of = &of;
    scope(|scope| {
        let share = |share: &'_ [T]| share.iter().map(of).collect::<Vec<R>>();
        let running: Vec<_> = items
            .chunks(items.len().div_ceil(threads))
            .map(|items| scope.spawn(move || share(items)))
            .collect();
        let joined = running.into_iter().map(|thread| thread.join().expect("reading a message ends"));
        joined.flatten().collect()
    })
}
