//! The edge's table in memory: every verification is answered from here, without I/O.
//!
//! A key takes one row of 96 bytes, its keyring's name among them, and a word in an index that is three
//! eighths to three quarters full; what many rows say alike is kept once. Nothing in it is written while
//! keys are verified, so that no core waits for another's. What no answer needs (metadata, commands,
//! proofs) is on the disk alone.
//!
//! # Layout
//! - `rows`: the rows, and how they are found
//! - `names`: whose they are
//! - `terms`: what many say alike; `pool`: how that is kept once

mod names;
mod pool;
mod rows;
mod terms;

use keywheel_domain::key::Origin;
use keywheel_domain::policy::Policy;
use keywheel_domain::verdict::Found;
use keywheel_domain::{Address, At, Digest, EdgeId, Key, KeyState, Kid, PolicyPatch, State, Version};
use names::{Label, Names};
use pool::Pool;
use rows::{Cells, Index, Rows};
use std::collections::BTreeMap;
use terms::{Life, LifeAsked, Own, Terms, TermsAsked};

/// The table.
#[derive(Debug, Default)]
pub struct Answers {
    rows: Rows,
    by_kid: Index,
    /// Imported keys, by digest. Of several keyrings that adopted one the first has it, in whatever order
    /// they are loaded.
    imported: Index,
    names: Names,
    keyrings: usize,
    terms: Pool<Terms>,
    lives: Pool<Life>,
    roster: BTreeMap<EdgeId, u64>,
    defaults: Policy,
}

/// One version of a keyring, as the table takes it over.
#[derive(Clone, Copy, Debug)]
pub struct Loaded<'a> {
    /// Its version.
    pub version: Version,
    /// Public id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
    /// Its state.
    pub state: &'a KeyState,
    /// Scopes that it carries, sorted.
    pub scopes: &'a [String],
    /// Address ranges that it may be used from; none means any.
    pub cidrs: &'a [String],
    /// The moment from which it is refused.
    pub expires_at: Option<At>,
    /// When it was imported; nothing when it was minted here.
    pub imported_at: Option<At>,
}

impl<'a> Loaded<'a> {
    /// Of a version of a state.
    pub fn of(version: Version, key: &'a Key) -> Self {
        Self {
            version,
            kid: key.kid,
            digest: key.digest,
            state: &key.state,
            scopes: &key.spec.scopes,
            cidrs: &key.spec.cidrs,
            expires_at: key.spec.expires_at,
            imported_at: (key.origin == Origin::Imported).then_some(key.issued_at),
        }
    }
}

/// One version as verification needs it.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    place: u32,
    cells: &'a Cells,
    answers: &'a Answers,
}

impl Answers {
    /// Takes an address's new state over.
    pub fn update(&mut self, address: &Address, state: &State) {
        match address {
            Address::Keyring(id) => {
                let keys = state.keys.iter().map(|(version, key)| Loaded::of(*version, key));
                self.load(id.tenant.as_str(), id.client.as_str(), &state.policy, keys);
            }
            Address::Tenant(tenant) => self.names.set_policy(tenant, &state.policy),
            Address::Installation => self.roster.clone_from(&state.edges),
        }
    }

    /// Takes a keyring over from what is known of it: all its versions, and what it sets of the policy.
    /// The same as [`Answers::update`] for whoever has no state at hand. Names are as their types allow.
    pub fn load<'a>(
        &mut self,
        tenant: &str,
        client: &str,
        policy: &PolicyPatch,
        keys: impl Iterator<Item = Loaded<'a>>,
    ) {
        let (tenant, own) = (self.names.tenant(tenant), Own::of(policy));
        let mut label = None;
        for key in keys {
            let row = self.row_of(key.kid.number());
            let known = row.map(|row| self.rows.at(row).label);
            let named = match known.filter(|known| self.names.is(known, tenant, client)).or(label) {
                Some(label) => label,
                None => {
                    self.keyrings += 1;
                    self.names.label(tenant, client)
                }
            };
            label = Some(named);
            let row = self.put(row, named, own, &key);
            if key.imported_at.is_some() {
                self.adopt(row, &key.digest);
            }
        }
    }

    fn row_of(&self, kid: u64) -> Option<u32> {
        self.by_kid.find(kid, |row| self.rows.at(row).kid == kid)
    }

    fn put(&mut self, row: Option<u32>, label: Label, own: Own, key: &Loaded<'_>) -> u32 {
        let terms = TermsAsked { scopes: key.scopes, cidrs: key.cidrs, own };
        let terms = self.terms.hold(&terms, || terms.made());
        let life = LifeAsked { state: key.state, expires_at: key.expires_at };
        let life = self.lives.hold(&life, || life.made());
        let (kid, version, digest) = (key.kid.number(), key.version.0, key.digest);
        let imported_at = key.imported_at.unwrap_or(At(0));
        let new = Cells { kid, imported_at, digest, label, terms, life, version };
        let Some(row) = row else {
            let row = self.rows.push(new);
            self.by_kid.insert(kid, row);
            return row;
        };
        let old = std::mem::replace(self.rows.at_mut(row), new);
        self.terms.release(old.terms);
        self.lives.release(old.life);
        row
    }

    fn adopt(&mut self, row: u32, digest: &Digest) {
        let Some(known) = self.imported_row(digest) else { return self.imported.insert(digest, row) };
        let order = |row| (self.rows.at(row).imported_at, self.rows.at(row).kid);
        if order(row) < order(known) {
            self.imported.replace(digest, known, row);
        }
    }

    fn imported_row(&self, digest: &Digest) -> Option<u32> {
        self.imported.find(digest, |row| self.rows.at(row).digest == *digest)
    }

    /// Whether it answers for an address as `state` has it.
    pub fn agrees(&self, address: &Address, state: &State) -> bool {
        match address {
            Address::Keyring(id) => {
                let own = Own::of(&state.policy);
                let is_as = |row: Row<'_>, key: &Loaded<'_>| {
                    row.names() == (id.tenant.as_str(), id.client.as_str()) && row.is_as(key, own)
                };
                let mut keys = state.keys.iter().map(|(version, key)| Loaded::of(*version, key));
                keys.all(|key| self.by_kid(key.kid).is_some_and(|row| is_as(row, &key)))
            }
            Address::Tenant(tenant) => self.names.policy(tenant) == Own::of(&state.policy),
            Address::Installation => self.roster == state.edges,
        }
    }

    /// The row of a kid.
    pub fn by_kid(&self, kid: Kid) -> Option<Row<'_>> {
        self.by_number(kid.number())
    }

    /// The row of a kid that is at hand as a number.
    pub fn by_number(&self, kid: u64) -> Option<Row<'_>> {
        self.row_of(kid).map(|row| self.at(row))
    }

    /// The row of an imported key, by the digest of its whole text.
    pub fn by_digest(&self, digest: &Digest) -> Option<Row<'_>> {
        self.imported_row(digest).map(|row| self.at(row))
    }

    /// The row at a [`Row::place`] of this table.
    pub fn at(&self, place: u32) -> Row<'_> {
        Row { place, cells: self.rows.at(place), answers: self }
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
        self.rows.count()
    }

    /// How many keyrings they are on.
    pub fn keyrings(&self) -> usize {
        self.keyrings
    }
}

impl<'a> Row<'a> {
    /// Where it lies in its table, for as long as there is that table. Places are given from 0 on.
    pub fn place(&self) -> u32 {
        self.place
    }

    /// Public id.
    pub fn kid(&self) -> Kid {
        Kid::of_number(self.cells.kid)
    }

    /// What a shown key is compared with.
    pub fn digest(&self) -> &'a Digest {
        &self.cells.digest
    }

    /// Its version.
    pub fn version(&self) -> Version {
        Version(self.cells.version)
    }

    /// Its kid as a number ([`Kid::number`]), which is how it is kept.
    pub fn number(&self) -> u64 {
        self.cells.kid
    }

    /// Its tenant's name and its client's.
    pub fn names(&self) -> (&'a str, &'a str) {
        let (names, label) = (&self.answers.names, &self.cells.label);
        (&names.tenant_of(label).name, names.client(label))
    }

    /// Its state.
    pub fn state(&self) -> &'a KeyState {
        &self.life().state
    }

    /// The moment from which it is refused.
    pub fn expires_at(&self) -> Option<At> {
        self.life().expires_at
    }

    /// Scopes that it carries.
    pub fn scopes(&self) -> &'a [String] {
        &self.terms().scopes
    }

    /// The same as one text, with a space between each two.
    pub fn joined_scopes(&self) -> &'a str {
        &self.terms().joined
    }

    /// Address ranges that it may be used from; none means any.
    pub fn cidrs(&self) -> &'a [String] {
        &self.terms().cidrs
    }

    /// What verification needs of it, with the policy that holds for its keyring.
    pub fn found(&self) -> Found<'a> {
        let (own, tenant) = (self.terms().own, self.answers.names.tenant_of(&self.cells.label).own);
        let defaults = &self.answers.defaults;
        Found::Key {
            state: self.state(),
            scopes: self.scopes(),
            expires_at: self.expires_at(),
            class: own.class.or(tenant.class).unwrap_or(defaults.class),
            stale_max: own.stale_max.or(tenant.stale_max).unwrap_or(defaults.stale_max),
        }
    }

    fn is_as(&self, key: &Loaded<'_>, own: Own) -> bool {
        let terms = TermsAsked { scopes: key.scopes, cidrs: key.cidrs, own }.made();
        (self.version(), self.cells.kid, self.cells.digest) == (key.version, key.kid.number(), key.digest)
            && (self.state(), self.expires_at()) == (key.state, key.expires_at)
            && *self.terms() == terms
    }

    fn life(&self) -> &'a Life {
        self.answers.lives.at(self.cells.life)
    }

    fn terms(&self) -> &'a Terms {
        self.answers.terms.at(self.cells.terms)
    }
}
