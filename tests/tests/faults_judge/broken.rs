//! Ways to break a promise in a legal ledger: each finds a place for itself by what the entries say, or finds none.

use crate::broken_answers as answers;
use crate::broken_log as log;
use keywheel_tests::faults::check::Promise;
use keywheel_tests::faults::ledger::{Answer, Entry, Micros, Why};
use keywheel_tests::hostile::chance::Chance;
use serde_json::Value;

/// A ledger that is about to be broken.
pub struct Broken<'c> {
    pub entries: Vec<Entry>,
    pub chance: &'c mut Chance,
}

/// Breaks it; nothing where it found no place.
pub type Breaks = fn(&mut Broken<'_>) -> Option<()>;

/// Each with the promise that must be found broken.
pub const KINDS: &[(&str, Promise, Breaks)] = &[
    ("a live key called retired", Promise::NotRefused, |b| answers::refuse_live(b, "retired")),
    ("a live key called revoked", Promise::NotRefused, |b| answers::refuse_live(b, "revoked")),
    ("a live key called expired", Promise::NotRefused, |b| answers::refuse_live(b, "expired")),
    ("a live key refused by a word of nobody's", Promise::NotRefused, |b| answers::refuse_live(b, "tired")),
    ("a delivered key called unknown", Promise::Known, |b| answers::refuse_live(b, "unknown")),
    ("a delivered key called malformed", Promise::Known, |b| answers::refuse_live(b, "malformed")),
    ("a revived key refused a lease later", Promise::NotRefused, answers::refuse_revived),
    ("a retired key called revoked", Promise::NotRefused, answers::call_retired_revoked),
    ("silence without a fault", Promise::Served, |b| answers::silence(b, Answer::None)),
    ("503 without a fault", Promise::Served, |b| {
        answers::silence(b, Answer::Unavailable("stale".to_owned()))
    }),
    ("a second try refused too", Promise::Continuity, answers::refuse_twice),
    ("retired, accepted past the horizon", Promise::Horizon, |b| answers::accept_late(b, "retired")),
    ("revoked, accepted past the horizon", Promise::Horizon, |b| answers::accept_late(b, "revoked")),
    ("accepted after a receipt", Promise::Receipt, |b| answers::accept_receipted(b, false)),
    ("accepted after a receipt's last moment", Promise::Receipt, |b| answers::accept_receipted(b, true)),
    ("taken for another version", Promise::Alive, answers::mistake),
    ("accepted before its issue", Promise::Alive, answers::accept_unborn),
    ("accepted, and not in the log", Promise::Alive, answers::accept_stranger),
    ("accepted after its expiry", Promise::Alive, answers::accept_expired),
    ("revoked and accepted at one edge", Promise::Revoked, answers::accept_revoked),
    ("used in a quiet window", Promise::Quiet, |b| answers::use_quiet(b, Why::Straggler)),
    ("quiet in a time to come", Promise::Quiet, log::prove_ahead),
    ("used as newest in a quiet window", Promise::Quiet, |b| answers::use_quiet(b, Why::Newest)),
    ("retired behind what nobody used", Promise::Successor, log::forget_successor),
    ("retired with other evidence", Promise::Successor, log::retire_early),
    ("retired without evidence", Promise::Successor, log::retire_unproven),
    ("a command without an outcome", Promise::Outcome, log::lose_outcome),
    ("two outcomes of a command", Promise::Outcome, log::contradict_outcome),
    ("an outcome of what nobody sent", Promise::Outcome, log::invent_outcome),
    ("an accepted command without an event", Promise::Effect, log::lose_effect),
    ("a rejected command with an event", Promise::Effect, log::deny_effect),
    ("a command with two events", Promise::Effect, log::double_effect),
    ("an outcome of another position", Promise::Effect, log::misplace_effect),
    ("an outcome of another version", Promise::Effect, log::mistake_effect),
    ("another keyring's command", Promise::Effect, log::move_command),
    ("a message missing in the log", Promise::Order, log::lose_message),
    ("two messages swapped", Promise::Order, log::swap_messages),
    ("a message changed", Promise::Order, log::change_message),
    ("revoked and given back in the log", Promise::Revoked, log::revive_revoked),
    ("a revocation without a receipt", Promise::Receipted, log::lose_receipt),
    ("a table that is another", Promise::Table, |b| log::change_table(b, false)),
    ("a table that is behind", Promise::Table, |b| log::change_table(b, true)),
    ("an edge that says nothing at the end", Promise::Table, log::lose_table),
    ("a key's text in a file", Promise::Secret, log::leak),
    ("delivered before its activation", Promise::Activated, log::deliver_early),
    ("delivered with another kid", Promise::Activated, log::deliver_another),
    ("no beginning", Promise::Whole, |b| b.lose(|entry| matches!(entry, Entry::Began { .. }))),
    ("no end", Promise::Whole, |b| b.lose(|entry| matches!(entry, Entry::Ended { .. }))),
];

/// What an entry of the log says.
pub struct Message {
    pub sequence: u64,
    pub stored: Micros,
    pub keyring: String,
    pub event: Value,
}

impl<'c> Broken<'c> {
    pub fn new(entries: Vec<Entry>, chance: &'c mut Chance) -> Broken<'c> {
        Broken { entries, chance }
    }

    /// The place of one of the entries for which this holds.
    pub fn place(&mut self, holds: impl Fn(&Entry) -> bool) -> Option<usize> {
        let places: Vec<usize> = (0..self.entries.len()).filter(|at| holds(&self.entries[*at])).collect();
        places.get(self.chance.index(places.len())).copied()
    }

    /// Takes one of these away.
    pub fn lose(&mut self, holds: impl Fn(&Entry) -> bool) -> Option<()> {
        let at = self.place(holds)?;
        self.entries.remove(at);
        Some(())
    }

    /// The log.
    pub fn messages(&self) -> Vec<Message> {
        let message = |entry: &Entry| {
            let Entry::Logged { sequence, stored, keyring, event, .. } = entry else { return None };
            let (keyring, event) = (keyring.clone(), event.clone());
            Some(Message { sequence: *sequence, stored: *stored, keyring, event })
        };
        self.entries.iter().filter_map(message).collect()
    }

    /// One of the messages for which this holds.
    pub fn message(&mut self, holds: impl Fn(&Message) -> bool) -> Option<Message> {
        let mut messages: Vec<Message> = self.messages().into_iter().filter(holds).collect();
        let at = self.chance.index(messages.len());
        (at < messages.len()).then(|| messages.swap_remove(at))
    }

    /// Puts another answer to the request at this place.
    pub fn answer(&mut self, at: usize, with: Answer) {
        let Entry::Request { answer, .. } = &mut self.entries[at] else { panic!("a request") };
        *answer = with;
    }
}

impl Message {
    pub fn kind(&self) -> &str {
        self.event["type"].as_str().unwrap()
    }

    /// Whether it can change this version's state, but for its activation and its use.
    pub fn ends_or_revives(&self, keyring: &str, version: u32) -> bool {
        let named = |field: &str| {
            let listed = self.event["body"][field].as_array();
            listed.is_some_and(|all| all.iter().any(|one| *one == version || one["version"] == version))
        };
        let own = ["KeyRetired"].contains(&self.kind()) && self.event["body"]["version"] == version;
        self.keyring == keyring
            && (own || ["also", "cancels", "restored", "withdrawn"].into_iter().any(named))
    }
}

/// A request's fields.
pub struct Shown {
    pub sent: Micros,
    pub edge: String,
    pub keyring: String,
    pub version: u32,
    pub answer: Answer,
}

/// The fields of a request.
pub fn shown(entry: &Entry) -> Option<Shown> {
    let Entry::Request { sent, edge, keyring, version, answer, .. } = entry else { return None };
    let (edge, keyring, answer) = (edge.clone(), keyring.clone(), answer.clone());
    Some(Shown { sent: *sent, edge, keyring, version: *version, answer })
}

/// A request that was answered at once.
pub fn request(sent: Micros, edge: &str, keyring: &str, version: u32, why: Why, answer: Answer) -> Entry {
    let (edge, keyring, answered) = (edge.to_owned(), keyring.to_owned(), sent + 500);
    Entry::Request { sent, answered, edge, keyring, version, why, answer }
}
