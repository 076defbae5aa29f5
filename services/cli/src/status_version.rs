//! One version of a keyring as `keywheel status` shows it: for people a row, for programs a document.

use crate::screen::{Mood, Shown, mood_of_state};
use crate::waiting_words;
use crate::words::{ago, when};
use keywheel_domain::due::{self, Waiting};
use keywheel_domain::key::Origin;
use keywheel_domain::{At, Key, KeyState, State, Version};
use keywheel_wire::body::cause_word;
use keywheel_wire::text::moment;
use keywheel_wire::usage::{Usage, UsageAt};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The columns of a row.
pub(crate) const HEADER: [&str; 6] = ["version", "kid", "state", "since", "expires", "last use"];

/// A version with what is known of it.
pub(crate) struct View<'a> {
    version: Version,
    key: &'a Key,
    since: Option<At>,
    waiting: Option<Waiting>,
    at_edges: Vec<&'a UsageAt>,
    now: At,
}

impl<'a> View<'a> {
    /// Every version of a keyring, the oldest first.
    pub fn all(
        state: &'a State,
        since: &BTreeMap<Version, At>,
        usage: Option<&'a Usage>,
        now: At,
    ) -> Vec<Self> {
        let view = |(version, key): (&Version, &'a Key)| View {
            version: *version,
            key,
            since: since.get(version).copied(),
            waiting: waiting(state, *version, now),
            at_edges: usage
                .iter()
                .flat_map(|usage| &usage.versions)
                .filter(|at| at.version == version.0)
                .collect(),
            now,
        };
        state.keys.iter().map(view).collect()
    }

    /// The newest use, with the edge where one is known.
    fn last_use(&self) -> Option<(At, Option<&str>)> {
        let at_edge = self.at_edges.iter().map(|at| (at.last_use.0, Some(at.edge.as_str())));
        let in_log = self.key.seen.map(|seen| (seen.last, None));
        at_edge.chain(in_log).max_by_key(|(at, _)| *at)
    }

    /// The row.
    pub fn row(&self) -> Vec<Shown> {
        let word = self.state_word();
        let last_use = match self.last_use() {
            Some((at, Some(edge))) => format!("{} at {edge}", ago(self.now, at)),
            Some((at, None)) => ago(self.now, at),
            None => "never seen".to_owned(),
        };
        let expires = self.key.spec.expires_at.map_or("-".to_owned(), |end| when(self.now, end));
        vec![
            Shown::plain(self.version),
            Shown::plain(self.key.kid),
            Shown::with(&word, mood_of_state(self.key.state.word())),
            Shown::plain(self.since.map_or("-".to_owned(), |since| when(self.now, since))),
            Shown::with(expires, if self.key.is_expired(self.now) { Mood::Bad } else { Mood::Plain }),
            Shown::plain(last_use),
        ]
    }

    fn state_word(&self) -> String {
        let word = self.key.state.word();
        match &self.key.state {
            KeyState::Retired { cause, .. } => format!("{word} ({})", cause_word(*cause)),
            KeyState::Issued | KeyState::Active | KeyState::Retiring(_) | KeyState::Revoked { .. } => {
                word.to_owned()
            }
        }
    }

    /// What it waits for, in words; nothing where it waits for nothing.
    pub fn waits(&self, usage: Option<&Usage>) -> Option<String> {
        if self.key.state == KeyState::Issued {
            return Some(format!("{} waits for its activation proof", self.version));
        }
        waiting_words::words(self.version, self.key, self.waiting?, usage, self.now)
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let key = self.key;
        let reason = match &key.state {
            KeyState::Revoked { reason, .. } => Some(reason.as_str()),
            KeyState::Retired { cause, .. } => Some(cause_word(*cause)),
            KeyState::Issued | KeyState::Active | KeyState::Retiring(_) => None,
        };
        json!({
            "version": self.version.0,
            "kid": key.kid.as_str(),
            "state": key.state.word(),
            "since": self.since.map(moment),
            "reason": reason,
            "origin": match key.origin { Origin::Minted => "minted", Origin::Imported => "imported" },
            "scopes": key.spec.scopes,
            "cidrs": key.spec.cidrs,
            "meta": key.spec.meta,
            "issued_at": moment(key.issued_at),
            "expires_at": key.spec.expires_at.map(moment),
            "rotation_id": keywheel_wire::text::id(key.rotation.0),
            "first_use": key.seen.map(|seen| moment(seen.first)),
            "last_use": self.last_use().map(|(at, _)| moment(at)),
            "uses": key.seen.map_or(0, |seen| seen.uses),
            "edges": self.at_edges,
            "overlap": overlap(&key.state),
            "waits_for": self.waiting.map(waiting_words::to_json),
        })
    }
}

fn overlap(state: &KeyState) -> Value {
    match state {
        KeyState::Retiring(overlap) => json!({
            "since": moment(overlap.since),
            "not_before": moment(overlap.not_before),
            "deadline": moment(overlap.deadline),
            "on_overlap_max": if overlap.retire_at_deadline { "retire" } else { "hold" },
            "quiet": overlap.quiet.to_string(),
        }),
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => {
            Value::Null
        }
    }
}

/// What a version in its overlap waits for.
pub(crate) fn waiting(state: &State, version: Version, now: At) -> Option<Waiting> {
    match due::retirement(state, version, now) {
        Ok(_) | Err(Waiting::NotRetiring) => None,
        Err(waiting) => Some(waiting),
    }
}
