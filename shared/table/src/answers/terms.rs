//! What rows say and many say alike: what a key permits, and where it is in its life.

use hashbrown::Equivalent;
use keywheel_domain::policy::Class;
use keywheel_domain::{At, KeyState, PolicyPatch, Span};
use std::hash::{Hash, Hasher};

/// What an address sets of how its keys are answered for while the table is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Own {
    pub class: Option<Class>,
    pub stale_max: Option<Span>,
}

impl Own {
    pub fn of(policy: &PolicyPatch) -> Self {
        Self { class: policy.class, stale_max: policy.stale_max }
    }
}

/// Scopes, address ranges and the keyring's own policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub scopes: Box<[String]>,
    /// The same with a space between each two.
    pub joined: Box<str>,
    pub cidrs: Box<[String]>,
    pub own: Own,
}

/// Terms that are asked for.
pub(super) struct TermsAsked<'a> {
    pub scopes: &'a [String],
    pub cidrs: &'a [String],
    pub own: Own,
}

impl TermsAsked<'_> {
    /// Scopes stand in lists with spaces between them. What has one inside is no scope by the contract;
    /// as part of such a list it would be two.
    fn scopes(&self) -> impl Iterator<Item = &String> {
        self.scopes.iter().filter(|scope| !scope.contains(' '))
    }

    pub fn made(&self) -> Terms {
        let scopes: Box<[String]> = self.scopes().cloned().collect();
        Terms { joined: scopes.join(" ").into(), scopes, cidrs: self.cidrs.into(), own: self.own }
    }
}

impl Hash for TermsAsked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.scopes().for_each(|scope| scope.hash(state));
        (self.cidrs, self.own).hash(state);
    }
}

impl Hash for Terms {
    fn hash<H: Hasher>(&self, state: &mut H) {
        TermsAsked { scopes: &self.scopes, cidrs: &self.cidrs, own: self.own }.hash(state);
    }
}

impl Equivalent<Terms> for TermsAsked<'_> {
    fn equivalent(&self, terms: &Terms) -> bool {
        self.scopes().eq(&terms.scopes) && *self.cidrs == *terms.cidrs && self.own == terms.own
    }
}

/// State and own end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Life {
    pub state: KeyState,
    pub expires_at: Option<At>,
}

/// A life that is asked for.
#[derive(Hash)]
pub(super) struct LifeAsked<'a> {
    pub state: &'a KeyState,
    pub expires_at: Option<At>,
}

impl LifeAsked<'_> {
    pub fn made(&self) -> Life {
        Life { state: self.state.clone(), expires_at: self.expires_at }
    }
}

impl Equivalent<Life> for LifeAsked<'_> {
    fn equivalent(&self, life: &Life) -> bool {
        (self.state, self.expires_at) == (&life.state, life.expires_at)
    }
}
