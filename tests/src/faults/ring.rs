//! A keyring as its client and the operator know it: the keys that were opened, and what the log says of them.

use keywheel_domain::{KeyringId, State};
use keywheel_token::{KeyText, Opener};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A keyring, shared by everybody in the campaign.
pub struct Ring {
    /// Its name.
    pub id: KeyringId,
    /// The same as text.
    pub name: String,
    /// Its client's curve key.
    pub opener: Opener,
    book: Mutex<Book>,
}

/// What is known of it.
#[derive(Default)]
pub struct Book {
    /// The keys that its client has opened.
    pub held: BTreeMap<u32, Arc<KeyText>>,
    /// The one that its client shows.
    pub current: Option<u32>,
    /// The newest version that an outcome has named.
    pub announced: u32,
    /// Each version's state, by the log.
    pub states: BTreeMap<u32, &'static str>,
    /// Versions that ended, and when that was seen.
    pub ended: BTreeMap<u32, Instant>,
    /// Rotations that were accepted.
    pub rotations: Vec<String>,
    /// Positions of its events that outcomes have named.
    pub positions: Vec<u64>,
}

impl Ring {
    /// Of which nothing is known yet.
    pub fn new(id: KeyringId) -> Ring {
        Ring { name: id.to_string(), id, opener: Opener::fresh(), book: Mutex::default() }
    }

    /// What is known of it.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    /// Versions that were announced, are newer than what the client shows, and may still be delivered.
    pub fn awaited(&self) -> Vec<u32> {
        let from = self.current.unwrap_or(0) + 1;
        let may_come = |version: &u32| !self.held.contains_key(version) && !self.ended.contains_key(version);
        (from..=self.announced).filter(may_come).collect()
    }

    /// Takes what the log now says; gives the versions that have ended since.
    pub fn learn(&mut self, state: &State) -> Vec<u32> {
        let mut ended = Vec::new();
        for (version, key) in &state.keys {
            let word = key.state.word();
            self.states.insert(version.0, word);
            if !matches!(word, "retired" | "revoked") {
                self.ended.remove(&version.0);
            } else if let Entry::Vacant(place) = self.ended.entry(version.0) {
                place.insert(Instant::now());
                ended.push(version.0);
            }
        }
        ended
    }

    /// Versions in a state of that name, from the oldest.
    pub fn in_state(&self, word: &str) -> Vec<u32> {
        self.states.iter().filter(|(_, is)| **is == word).map(|(version, _)| *version).collect()
    }

    /// Whether no key of it is accepted, nor about to be.
    pub fn is_without(&self) -> bool {
        !self.states.values().any(|word| matches!(*word, "issued" | "active" | "retiring"))
    }

    /// The newest key below `version` that its client holds.
    pub fn before(&self, version: u32) -> Option<u32> {
        self.held.range(..version).next_back().map(|(version, _)| *version)
    }
}
