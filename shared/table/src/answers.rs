//! The edge's table in memory: every verification is answered from here, without I/O.

use keywheel_domain::key::Origin;
use keywheel_domain::policy::Policy;
use keywheel_domain::verdict::Found;
use keywheel_domain::{
    Address, At, Digest, EdgeId, Key, KeySpec, KeyState, KeyringId, Kid, PolicyPatch, State, Tenant, Version,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// One version as verification needs it.
#[derive(Clone, Debug)]
pub struct Row {
    /// Whose.
    pub keyring: Arc<KeyringId>,
    /// Public id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
    /// Its version.
    pub version: Version,
    /// Its state.
    pub state: KeyState,
    /// What it permits.
    pub spec: KeySpec,
    /// Accepted uses that no report has carried yet.
    pub uses: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Keyring {
    policy: PolicyPatch,
    kids: Vec<Kid>,
}

/// The table.
#[derive(Debug, Default)]
pub struct Answers {
    by_kid: HashMap<Kid, Row>,
    /// Of several keyrings that adopted one key the first has it, in whatever order they are loaded.
    imported: HashMap<Digest, (At, Kid)>,
    keyrings: HashMap<Arc<KeyringId>, Keyring>,
    tenants: HashMap<Tenant, PolicyPatch>,
    roster: std::collections::BTreeMap<EdgeId, u64>,
    defaults: Policy,
}

impl Answers {
    /// Takes an address's new state over.
    pub fn update(&mut self, address: &Address, state: &State) {
        match address {
            Address::Keyring(id) => self.update_keyring(id, state),
            Address::Tenant(tenant) => {
                self.tenants.insert(tenant.clone(), state.policy.clone());
            }
            Address::Installation => self.roster.clone_from(&state.edges),
        }
    }

    fn update_keyring(&mut self, id: &KeyringId, state: &State) {
        let id = match self.keyrings.get_key_value(id) {
            Some((known, _)) => Arc::clone(known),
            None => Arc::new(id.clone()),
        };
        let kids = state.keys.values().map(|key| key.kid).collect();
        for (version, key) in &state.keys {
            self.update_key(&id, *version, key);
        }
        self.keyrings.insert(id, Keyring { policy: state.policy.clone(), kids });
    }

    fn update_key(&mut self, id: &Arc<KeyringId>, version: Version, key: &Key) {
        if key.origin == Origin::Imported {
            let adopted = (key.issued_at, key.kid);
            let first = self.imported.entry(key.digest).or_insert(adopted);
            *first = adopted.min(*first);
        }
        let uses = self.by_kid.get(&key.kid).map(|row| Arc::clone(&row.uses)).unwrap_or_default();
        let row = Row {
            keyring: Arc::clone(id),
            kid: key.kid,
            digest: key.digest,
            version,
            state: key.state.clone(),
            spec: key.spec.clone(),
            uses,
        };
        self.by_kid.insert(key.kid, row);
    }

    /// Goes on counting uses where `old`, whose place this takes, has begun to.
    pub fn keep_uses(&mut self, old: &Answers) {
        for (kid, row) in &mut self.by_kid {
            if let Some(known) = old.by_kid.get(kid) {
                row.uses = Arc::clone(&known.uses);
            }
        }
    }

    /// Whether it holds an address's keys as `state` has them.
    pub fn agrees(&self, address: &Address, state: &State) -> bool {
        let Address::Keyring(id) = address else { return true };
        state.keys.iter().all(|(version, key)| {
            self.by_kid.get(&key.kid).is_some_and(|row| {
                *row.keyring == *id
                    && (row.version, row.kid, row.digest) == (*version, key.kid, key.digest)
                    && (&row.state, &row.spec) == (&key.state, &key.spec)
            })
        })
    }

    /// The row of a kid.
    pub fn by_kid(&self, kid: Kid) -> Option<&Row> {
        self.by_kid.get(&kid)
    }

    /// The row of an imported key, by the digest of its whole text.
    pub fn by_digest(&self, digest: &Digest) -> Option<&Row> {
        self.imported.get(digest).and_then(|(_, kid)| self.by_kid.get(kid))
    }

    /// What verification needs of a row, with the policy that holds for its keyring.
    pub fn found<'a>(&self, row: &'a Row) -> Found<'a> {
        let own = self.keyrings.get(&row.keyring).map(|keyring| &keyring.policy);
        let tenant = self.tenants.get(&row.keyring.tenant);
        let class = own.and_then(|patch| patch.class).or(tenant.and_then(|patch| patch.class));
        let stale_max = own.and_then(|patch| patch.stale_max).or(tenant.and_then(|patch| patch.stale_max));
        Found::Key {
            state: &row.state,
            spec: &row.spec,
            class: class.unwrap_or(self.defaults.class),
            stale_max: stale_max.unwrap_or(self.defaults.stale_max),
        }
    }

    /// Whether `edge` is on the roster.
    pub fn is_on_roster(&self, edge: &EdgeId) -> bool {
        self.roster.contains_key(edge)
    }

    /// Whether any key was imported, so that foreign text can be a key at all.
    pub fn has_imports(&self) -> bool {
        !self.imported.is_empty()
    }

    /// How many keys it holds.
    pub fn keys(&self) -> usize {
        self.by_kid.len()
    }

    /// How many keyrings they are on.
    pub fn keyrings(&self) -> usize {
        self.keyrings.len()
    }

    /// The kids of a keyring.
    pub fn kids(&self, id: &KeyringId) -> &[Kid] {
        self.keyrings.get(id).map_or(&[], |keyring| &keyring.kids)
    }
}
