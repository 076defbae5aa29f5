//! All keyrings at a glance: one row each, with what is pending and since when.

use crate::schedule_words;
use crate::screen::{Mood, Shown};
use crate::status_version::waiting;
use crate::words::ago;
use keywheel_domain::due::Waiting;
use keywheel_domain::schedule::Scheduled;
use keywheel_domain::{At, Key, KeyState, KeyringId, State, Version};
use keywheel_wire::text::moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The columns of a row.
pub(crate) const HEADER: [&str; 5] = ["keyring", "versions", "waits for", "since", "next rotation"];

/// One keyring's line.
pub(crate) struct Line<'a> {
    keyring: &'a KeyringId,
    state: &'a State,
    pending: Option<(Version, &'static str)>,
    since: Option<At>,
    next: Option<Scheduled>,
    now: At,
}

impl<'a> Line<'a> {
    /// Of a keyring, with its next rotation by schedule.
    pub fn of(
        keyring: &'a KeyringId,
        (state, dates): (&'a State, &BTreeMap<Version, At>),
        next: Option<Scheduled>,
        now: At,
    ) -> Self {
        let pending = state
            .keys
            .iter()
            .find_map(|(version, key)| Some((*version, pending(state, *version, key, now)?)));
        let changed = pending.and_then(|(version, _)| dates.get(&version).copied());
        let since = changed.or_else(|| dates.values().max().copied());
        Self { keyring, state, pending, since, next, now }
    }

    /// The row.
    pub fn row(&self) -> Vec<Shown> {
        let waits = self.pending.map_or(String::new(), |(version, what)| format!("{version}: {what}"));
        let mood = if self.pending.is_some() { Mood::Pending } else { Mood::Plain };
        vec![
            Shown::plain(self.keyring),
            Shown::plain(self.versions()),
            Shown::with(waits, mood),
            Shown::plain(self.since.map_or("-".to_owned(), |since| ago(self.now, since))),
            schedule_words::cell(self.next, self.now),
        ]
    }

    /// `v3 active, v2 retiring, 1 ended`.
    fn versions(&self) -> String {
        let open = self.state.keys.iter().rev().filter(|(_, key)| key.state.is_accepted());
        let mut parts: Vec<String> =
            open.map(|(version, key)| format!("{version} {}", word(key, self.now))).collect();
        let ended = self.state.keys.len() - parts.len();
        if ended > 0 {
            parts.push(format!("{ended} ended"));
        }
        parts.join(", ")
    }

    /// The document.
    pub fn to_json(&self) -> Value {
        let version = |(version, key): (&Version, &Key)| json!({ "version": version.0, "kid": key.kid.as_str(), "state": key.state.word() });
        json!({
            "tenant": self.keyring.tenant.as_str(),
            "client": self.keyring.client.as_str(),
            "versions": self.state.keys.iter().map(version).collect::<Vec<_>>(),
            "waits_for": self.pending.map(|(version, what)| json!({ "version": version.0, "for": what })),
            "since": self.since.map(moment),
            "next_rotation": schedule_words::to_json(self.next, self.now),
        })
    }
}

fn word(key: &Key, now: At) -> &'static str {
    if key.is_expired(now) { "expired" } else { key.state.word() }
}

/// What a version waits for, in a word or two.
fn pending(state: &State, version: Version, key: &Key, now: At) -> Option<&'static str> {
    if key.state == KeyState::Issued {
        return Some("activation");
    }
    waiting(state, version, now).map(|waiting| match waiting {
        Waiting::NotRetiring => "nothing",
        Waiting::OverlapMin { .. } => "overlap_min",
        Waiting::Successor => "successor in use",
        Waiting::Quiet { .. } => "quiet",
    })
}
