//! What tests look at: a table with one key in each state.

use keywheel_domain::event::RotationId;
use keywheel_domain::key::{Cause, Origin, Overlap};
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::Verdict;
use keywheel_domain::{
    Address, At, EdgeId, Key, KeySpec, KeyState, KeyringId, PolicyPatch, Span, State, Version,
};
use keywheel_table::Answers;
use keywheel_table::answers::Row;
use keywheel_token::{Brand, Fresh, digest_foreign, mint};
use std::collections::BTreeMap;

/// When the key called `expiring` ends.
pub const EXPIRY: u64 = 1_900_000_000_000;
/// When the key called `retiring` certainly retires.
pub const DEADLINE: u64 = 1_900_000_500_000;
/// A key that is not of our form.
pub const FOREIGN: &str = "legacy-key-0001";
/// The edge whose table it is.
pub const EDGE: &str = "e1";

/// A table, with the texts of its keys.
pub struct Scene {
    /// The table.
    pub answers: Answers,
    /// Each address's state.
    pub states: BTreeMap<Address, State>,
    texts: BTreeMap<&'static str, String>,
}

impl Scene {
    /// One keyring for each key: tenant `t`, the client named after the key. `unknown` is in none.
    pub fn new() -> Self {
        let mut scene = Self { answers: Answers::default(), states: BTreeMap::new(), texts: BTreeMap::new() };
        let overlap = Overlap {
            since: At(0),
            not_before: At(0),
            deadline: At(DEADLINE),
            retire_at_deadline: true,
            quiet: Span(0),
        };
        scene.add("issued", KeyState::Issued);
        scene.add("active", KeyState::Active);
        scene.add("strict", KeyState::Active);
        scene.add("retiring", KeyState::Retiring(overlap));
        scene.add("retired", KeyState::Retired { at: At(0), cause: Cause::Requested });
        scene.add("revoked", KeyState::Revoked { at: At(0), reason: "leaked".to_owned() });
        scene.add("expiring", KeyState::Active);
        scene.add("bound", KeyState::Active);
        scene.change("strict", |state| {
            state.policy = PolicyPatch { class: Some(Class::Strict), ..PolicyPatch::NONE };
        });
        scene.change("expiring", |state| only(state).spec.expires_at = Some(At(EXPIRY)));
        scene.change("bound", |state| only(state).spec.cidrs = vec!["10.0.0.0/8".to_owned()]);
        scene.texts.insert("unknown", mint(&Brand::default()).text.expose().to_owned());
        let mut roster = State::default();
        roster.edges.insert(EdgeId::parse(EDGE).unwrap(), 1);
        scene.put(Address::Installation, roster);
        scene
    }

    fn add(&mut self, name: &'static str, state: KeyState) {
        let Fresh { text, kid, digest } = mint(&Brand::default());
        self.texts.insert(name, text.expose().to_owned());
        let spec = KeySpec { scopes: vec!["read".to_owned(), "write".to_owned()], ..KeySpec::default() };
        let key = Key {
            kid,
            digest,
            spec,
            origin: Origin::Minted,
            issued_at: At(0),
            rotation: RotationId(0),
            replaces: None,
            state,
            was_activated: true,
            seen: None,
            quiet: None,
        };
        self.put(address(name), State { keys: [(Version(1), key)].into(), ..State::default() });
    }

    fn put(&mut self, address: Address, state: State) {
        self.answers.update(&address, &state);
        self.states.insert(address, state);
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut State)) {
        let mut state = self.states[&address(name)].clone();
        change(&mut state);
        self.put(address(name), state);
    }

    /// Adopts a foreign key.
    pub fn import(&mut self, text: &str) {
        self.add("imported", KeyState::Active);
        self.change("imported", |state| {
            only(state).origin = Origin::Imported;
            only(state).digest = digest_foreign(text);
        });
    }

    /// Takes a key's scopes.
    pub fn unscope(&mut self, name: &str) {
        self.change(name, |state| only(state).spec.scopes.clear());
    }

    /// Retires a key.
    pub fn retire(&mut self, name: &str) {
        let retired = KeyState::Retired { at: At(0), cause: Cause::Requested };
        self.change(name, |state| only(state).state = retired);
    }

    /// A key's text.
    pub fn key(&self, name: &str) -> &str {
        &self.texts[name]
    }

    /// Another key's text with this key's public id: well-formed, and not the secret.
    pub fn forged(&self, name: &str) -> String {
        let (own, other) = (self.key(name), mint(&Brand::default()));
        let body = format!("{}{}", &own[..18], &other.text.expose()[18..62]);
        format!("{body}{}", checksum(&body))
    }

    /// A key's row.
    pub fn row(&self, name: &str) -> Row<'_> {
        self.answers.by_kid(self.states[&address(name)].keys[&Version(1)].kid).unwrap()
    }
}

/// PROTOCOL 3: CRC-32 (IEEE) in six base62 characters.
fn checksum(text: &str) -> String {
    let mut crc = u32::MAX;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let digit = |at: u32| char::from(alphabet[(!crc / 62_u32.pow(at) % 62) as usize]);
    (0..6).rev().map(digit).collect()
}

fn only(state: &mut State) -> &mut Key {
    state.keys.get_mut(&Version(1)).unwrap()
}

/// The keyring of a key.
pub fn address(name: &str) -> Address {
    Address::Keyring(KeyringId::parse(&format!("t/{name}")).unwrap())
}

/// A verdict as its code.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Refused(refusal) => refusal.code(),
    }
}
