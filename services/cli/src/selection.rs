//! Which of a tenant's keyrings a fleet-wide command means, and why it leaves the others out.

use crate::arguments;
use clap::Args;
use keywheel_domain::{At, KeyringId, Span, State};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The options that narrow `--all`; a keyring is meant when it fits all that were given.
#[derive(Args, Debug, Default)]
pub struct Selection {
    /// With --all: only keyrings whose newest version is older than this
    #[arg(long, value_name = "D", value_parser = Span::parse, requires = "all")]
    older_than: Option<Span>,
    /// With --all: only keyrings whose last rotation began before this time, or that were never rotated
    #[arg(long, value_name = "TS", value_parser = arguments::moment, requires = "all")]
    last_rotation_before: Option<At>,
}

/// Why a keyring was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub keyring: KeyringId,
    pub code: String,
    pub detail: String,
}

impl LeftOut {
    pub fn new(keyring: &KeyringId, code: &str, detail: impl ToString) -> Self {
        Self { keyring: keyring.clone(), code: code.to_owned(), detail: detail.to_string() }
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let KeyringId { tenant, client } = &self.keyring;
        json!({ "tenant": tenant.as_str(), "client": client.as_str(), "code": self.code, "detail": self.detail })
    }
}

impl Selection {
    /// Why this keyring is not meant; nothing where it is. Its newest version must carry all of `scopes`.
    pub(crate) fn leaves_out(
        &self,
        scopes: &[String],
        keyring: &KeyringId,
        state: &State,
        now: At,
    ) -> Option<LeftOut> {
        let Some((version, newest)) = state.newest() else {
            return Some(LeftOut::new(keyring, "no_key", "it has no key"));
        };
        if let Some(scope) = scopes.iter().find(|scope| !newest.spec.scopes.contains(scope)) {
            let detail = format!("its newest version {version} does not carry {scope}");
            return Some(LeftOut::new(keyring, "other_scope", detail));
        }
        if let Some(age) = self.older_than.filter(|age| now.since(newest.issued_at) < *age) {
            let detail = format!("its newest version {version} is younger than {age}");
            return Some(LeftOut::new(keyring, "too_young", detail));
        }
        let last = state.keys.values().rev().find(|key| key.replaces.is_some()).map(|key| key.issued_at);
        if last.zip(self.last_rotation_before).is_some_and(|(last, before)| last >= before) {
            return Some(LeftOut::new(
                keyring,
                "rotated_since",
                "its last rotation began at that time or after",
            ));
        }
        None
    }
}

/// How many were left out for each reason.
pub(crate) fn counts(left_out: &[LeftOut]) -> String {
    let mut by_code: BTreeMap<&str, usize> = BTreeMap::new();
    for one in left_out {
        *by_code.entry(&one.code).or_default() += 1;
    }
    by_code.iter().map(|(code, n)| format!("{n} {code}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting_words::tests::{NOW, retiring};
    use keywheel_domain::key::Replaces;
    use keywheel_domain::{Key, KeySpec, Policy, Version};

    fn state(rotated: bool) -> State {
        let spec = KeySpec { scopes: vec!["read".to_owned()], ..KeySpec::default() };
        let replaces = rotated.then(|| Replaces { only: Vec::new(), policy: Policy::default() });
        // Issued nine days ago.
        let key = Key { spec, replaces, ..retiring() };
        State { keys: [(Version(1), key)].into(), ..State::default() }
    }

    fn why(selection: &Selection, state: &State) -> Option<String> {
        why_with(selection, &[], state)
    }

    fn why_with(selection: &Selection, scopes: &[&str], state: &State) -> Option<String> {
        let keyring = KeyringId::parse("acme/app").unwrap();
        let scopes: Vec<String> = scopes.iter().map(ToString::to_string).collect();
        selection.leaves_out(&scopes, &keyring, state, NOW).map(|out| out.code)
    }

    #[test]
    fn a_keyring_is_meant_when_it_fits_all_that_was_given() {
        let none = Selection::default();
        assert_eq!(why(&none, &State::default()).as_deref(), Some("no_key"));
        assert_eq!(why(&none, &state(true)), None);
        assert_eq!(why_with(&none, &["read"], &state(false)), None);
        assert_eq!(why_with(&none, &["read", "write"], &state(false)).as_deref(), Some("other_scope"));
        let older = |days| Selection { older_than: Some(Span::days(days)), ..Selection::default() };
        assert_eq!(why(&older(9), &state(false)), None);
        assert_eq!(why(&older(10), &state(false)).as_deref(), Some("too_young"));
        let before = |days| Selection {
            last_rotation_before: Some(NOW.before(Span::days(days))),
            ..Selection::default()
        };
        assert_eq!(why(&before(8), &state(true)), None);
        assert_eq!(why(&before(9), &state(true)).as_deref(), Some("rotated_since"));
        assert_eq!(why(&before(9), &state(false)), None, "it was never rotated");
    }
}
