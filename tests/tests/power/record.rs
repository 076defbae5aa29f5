//! What somebody outside was told: kept in the test's own memory, which no cut reaches.

use keywheel_domain::{KeyringId, Version};
use keywheel_token::KeyText;
use keywheel_wire::notice::Receipt;
use keywheel_wire::outcome::Outcome;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject::Verb;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A command that was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: u128,
    pub ring: KeyringId,
    pub verb: Verb,
    pub document: Value,
    /// Whether the bus said that it is durable.
    pub acknowledged: bool,
    /// What was read of it.
    pub outcome: Option<Outcome>,
}

/// A key that its owner holds.
#[derive(Clone, Debug)]
pub struct Held {
    pub ring: KeyringId,
    pub version: Version,
    pub text: Arc<KeyText>,
    /// Whether anybody asked for its end: from then on it may be refused.
    pub ending: bool,
    /// By which it must be refused.
    pub receipt: Option<Receipt>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub commands: Vec<Sent>,
    pub keys: Vec<Held>,
    /// The newest of each edge.
    pub pulses: BTreeMap<String, Pulse>,
}

impl Told {
    /// The versions of a keyring that nobody asked to end, oldest first.
    pub fn living(&self, ring: &KeyringId) -> Vec<Version> {
        let living = self.keys.iter().filter(|key| key.ring == *ring && !key.ending);
        living.map(|key| key.version).collect()
    }

    /// The key of each keyring that must be accepted: the newest that its owner holds, unless its end was asked for.
    pub fn newest(&self) -> Vec<&Held> {
        let mut newest: BTreeMap<String, &Held> = BTreeMap::new();
        for key in &self.keys {
            newest.insert(key.ring.to_string(), key);
        }
        newest.into_values().filter(|key| !key.ending).collect()
    }

    /// The keys that must be refused, each with its receipt.
    pub fn revoked(&self) -> impl Iterator<Item = (&Held, &Receipt)> {
        self.keys.iter().filter_map(|key| Some((key, key.receipt.as_ref()?)))
    }
}

/// The record as several tasks write it.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Told>>);

impl Record {
    pub fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As it is now.
    pub fn told(&self) -> Told {
        self.lock().clone()
    }
}
