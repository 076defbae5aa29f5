//! Clients: each holds one key, uses it at any edge, and moves to the newest that it was delivered when
//! it gets round to it.

use crate::served::Served;
use crate::world::{Happening, World};
use keywheel_domain::verdict::Refusal;
use keywheel_domain::{Address, KeyringId, Kid, Version};
use std::collections::BTreeSet;

pub struct Client {
    pub keyring: KeyringId,
    /// Every key that was minted for it, delivered or not.
    pub made_for: BTreeSet<Kid>,
    pub delivered: Vec<Version>,
    pub held: Option<Version>,
    /// Whether it uses its key now.
    pub is_idle: bool,
    /// Whether it fetches what it is delivered.
    pub fetches: bool,
    /// The edge at which it asks, or any.
    pub edge: Option<usize>,
    pub every: u64,
}

impl World {
    pub fn add_client(&mut self, keyring: &str) -> usize {
        self.clients.push(Client {
            keyring: KeyringId::parse(keyring).unwrap(),
            made_for: BTreeSet::new(),
            delivered: Vec::new(),
            held: None,
            is_idle: false,
            fetches: true,
            edge: None,
            every: 1000,
        });
        let client = self.clients.len() - 1;
        self.after(1, Happening::Use(client));
        client
    }

    /// A key is where its owner finds it.
    pub fn hand_out(&mut self, keyring: &KeyringId, version: Version) {
        let Some(kid) = self.kid(keyring, version) else { return };
        let Some(client) = self.clients.iter().position(|client| client.made_for.contains(&kid)) else {
            return;
        };
        self.clients[client].delivered.push(version);
        let wait = if self.faults.strikes { self.rng.within(0, 45_000) } else { 1 };
        self.after(wait, Happening::Fetch(client));
    }

    pub fn fetch(&mut self, n: usize) {
        let client = &self.clients[n];
        let newest = client.delivered.iter().max().copied();
        if !client.fetches || newest <= client.held {
            return;
        }
        let keyring = client.keyring.clone();
        self.tell(|| format!("{keyring}: client {n} holds {newest:?} now"));
        self.clients[n].held = newest;
    }

    /// Shows its key to an edge, and to another one if the first cannot say.
    pub fn use_key(&mut self, n: usize) {
        let client = &self.clients[n];
        let (every, keyring) = (client.every, client.keyring.clone());
        if let Some(version) = client.held.filter(|_| !client.is_idle && !self.edges.is_empty()) {
            for _ in 0..3 {
                let any = self.rng.index(self.edges.len());
                let edge = self.clients[n].edge.unwrap_or(any);
                if self.ask(edge, &keyring, version, false) == Some(Ok(())) {
                    break;
                }
            }
        }
        let jitter = if self.faults.strikes { self.rng.within(0, 6000) } else { 0 };
        self.after(every + jitter, Happening::Use(n));
    }

    /// Asks an edge about a version: nothing when no answer comes. Each answer is held against the
    /// promises.
    pub fn ask(
        &mut self,
        edge: usize,
        keyring: &KeyringId,
        version: Version,
        is_probe: bool,
    ) -> Option<Result<(), Refusal>> {
        let now = self.now;
        let state = self.log.now(&Address::Keyring(keyring.clone()));
        let key = state.keys.get(&version)?;
        if self.edges[edge].paused_until > now {
            return None;
        }
        let answered = self.edges[edge].answer(now, key.kid, key.digest, is_probe)?;
        let answer = answered.outcome.map(|_| ());
        self.check_answer(&Served { edge, keyring, version, answer: &answer });
        if answer.is_ok() && !is_probe {
            self.used(edge, keyring, version);
        }
        Some(answer)
    }

    fn kid(&self, keyring: &KeyringId, version: Version) -> Option<Kid> {
        let state = self.log.now(&Address::Keyring(keyring.clone()));
        state.keys.get(&version).map(|key| key.kid)
    }
}
