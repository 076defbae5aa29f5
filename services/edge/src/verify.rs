//! The check itself: a shown text against the table, as a plain function of what is passed in.

use crate::address;
use compact_str::CompactString;
use keywheel_domain::key::Overlap;
use keywheel_domain::verdict::{Found, Freshness, Needs, Verdict, judge};
use keywheel_domain::{At, KeyState, Kid, Version};
use keywheel_table::Answers;
use keywheel_table::answers::Row;
use keywheel_token::{Malformed, Shown};
use std::net::IpAddr;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What the shown text is, read without the table.
    pub shown: Result<Shown<'a>, Malformed>,
    /// Scopes that are required.
    pub scopes: &'a [&'a str],
    /// Where the request comes from, where that is known.
    pub from: Option<IpAddr>,
}

/// Whose key it is: what a gateway is told of an accepted one. Its own copy of short texts: what several
/// threads shared would cost them more than copying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    tenant: CompactString,
    client: CompactString,
    scopes: CompactString,
    kid: u64,
    /// The version.
    pub version: Version,
    /// The word for its state.
    pub state: &'static str,
    /// Its own end.
    pub expires_at: Option<At>,
    /// The known end of a retiring key.
    pub retires_at: Option<At>,
}

/// Decides, and says which row it was about. `now` never goes back between calls.
pub fn check<'a>(
    answers: &'a Answers,
    asked: &Asked<'_>,
    freshness: Freshness,
    now: At,
) -> (Verdict, Option<Row<'a>>) {
    let (found, row) = find(answers, &asked.shown, freshness);
    let cidrs = row.map_or(&[][..], |row| row.cidrs());
    let address_allowed = address::is_allowed(cidrs, asked.from);
    let needs = Needs { scopes: asked.scopes, address_allowed };
    (judge(&found, &needs, freshness, now), row)
}

fn find<'a>(
    answers: &'a Answers,
    shown: &Result<Shown<'_>, Malformed>,
    freshness: Freshness,
) -> (Found<'a>, Option<Row<'a>>) {
    let Ok(shown) = shown else { return (Found::Malformed, None) };
    // A stale table that has no imports may have missed the first one: no definite no.
    let can_be_foreign = freshness != Freshness::Fresh || answers.has_imports();
    let (row, digest) = match shown.kid() {
        // The row first: it comes from memory while the text is hashed.
        Some(kid) => (answers.by_kid(kid), shown.digest()),
        None if !can_be_foreign => return (Found::Malformed, None),
        None => {
            let digest = shown.digest();
            (answers.by_digest(&digest), digest)
        }
    };
    match row {
        None => (Found::Nothing, None),
        Some(row) if keywheel_token::same(row.digest(), &digest) => (row.found(), Some(row)),
        Some(_) => (Found::WrongSecret, None),
    }
}

impl Identity {
    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The client's name, within its tenant.
    pub fn client(&self) -> &str {
        &self.client
    }

    /// The public id.
    pub fn kid(&self) -> Kid {
        Kid::of_number(self.kid)
    }

    /// Whether the key has this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|own| own == scope)
    }

    /// Its scopes.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.scopes.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Its scopes as one text, with a space between each two.
    pub fn joined_scopes(&self) -> &str {
        &self.scopes
    }

    /// Of a row.
    pub fn of(row: Row<'_>) -> Self {
        let ((tenant, client), state, expires_at) = (row.names(), row.state(), row.expires_at());
        Self {
            tenant: tenant.into(),
            client: client.into(),
            scopes: row.joined_scopes().into(),
            kid: row.number(),
            version: row.version(),
            state: state.word(),
            expires_at,
            retires_at: known_end(state, expires_at),
        }
    }
}

/// A retiring key's end, where it is certain to come: its deadline, if it retires there whatever
/// happens, or its own end, if that comes first.
fn known_end(state: &KeyState, expires_at: Option<At>) -> Option<At> {
    match state {
        KeyState::Retiring(overlap) => hard_deadline(overlap).into_iter().chain(expires_at).min(),
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => None,
    }
}

fn hard_deadline(overlap: &Overlap) -> Option<At> {
    overlap.retire_at_deadline.then_some(overlap.deadline)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{self, EXPIRY, FOREIGN, Scene};
    use keywheel_domain::Span;
    use keywheel_domain::verdict::Refusal;
    use keywheel_token::Brand;

    const FRESH: Freshness = Freshness::Fresh;
    const STALE: Freshness = Freshness::Stale { age: Span::secs(60) };
    const NOW: At = At(EXPIRY - 1);

    fn ask(scene: &Scene, text: &str, freshness: Freshness, now: At) -> Verdict {
        let shown = keywheel_token::look(text.as_bytes(), &Brand::default());
        check(&scene.answers, &Asked { shown, scopes: &[], from: None }, freshness, now).0
    }

    /// Every state against every freshness; the last column is what an edge off the roster says.
    #[test]
    fn each_key_has_its_answer_at_each_freshness() {
        let scene = Scene::new();
        for (name, fresh, stale) in [
            ("issued", "valid", "valid"),
            ("active", "valid", "valid"),
            ("strict", "valid", "stale"),
            ("retiring", "valid", "valid"),
            ("retired", "retired", "stale"),
            ("revoked", "revoked", "revoked"),
            ("unknown", "unknown", "stale"),
            ("expiring", "valid", "valid"),
        ] {
            let text = scene.key(name);
            let word = |freshness| scene::word(ask(&scene, text, freshness, NOW));
            assert_eq!((word(FRESH), word(STALE)), (fresh, stale), "{name}");
            assert_eq!(word(Freshness::NotServing), "not_ready", "{name}");
        }
    }

    #[test]
    fn a_wrong_secret_is_a_definite_no_and_garbage_too() {
        let scene = Scene::new();
        let forged = scene.forged("active");
        for freshness in [FRESH, STALE] {
            assert_eq!(ask(&scene, &forged, freshness, NOW), Verdict::Refused(Refusal::Unknown));
            for garbage in ["", "kw_live_x", "kw_test_0123456789", "short"] {
                let verdict = ask(&scene, garbage, freshness, NOW);
                assert_eq!(verdict, Verdict::Refused(Refusal::Malformed), "{garbage}");
            }
        }
    }

    #[test]
    fn foreign_texts_are_keys_only_where_keys_were_imported() {
        let mut scene = Scene::new();
        assert_eq!(scene::word(ask(&scene, FOREIGN, FRESH, NOW)), "malformed");
        assert_eq!(scene::word(ask(&scene, FOREIGN, STALE, NOW)), "stale", "it may have been imported since");
        scene.import(FOREIGN);
        assert_eq!(scene::word(ask(&scene, FOREIGN, FRESH, NOW)), "valid");
        assert_eq!(scene::word(ask(&scene, "another-legacy-key", FRESH, NOW)), "unknown");
        assert_eq!(scene::word(ask(&scene, "another-legacy-key", STALE, NOW)), "stale");
    }

    #[test]
    fn a_key_ends_by_the_clock() {
        let scene = Scene::new();
        assert_eq!(scene::word(ask(&scene, scene.key("expiring"), FRESH, At(EXPIRY))), "expired");
    }

    #[test]
    fn scopes_and_addresses_are_required() {
        let scene = Scene::new();
        let shown = keywheel_token::look(scene.key("active").as_bytes(), &Brand::default());
        let ask = |scopes: &[&str], from: Option<&str>| {
            let from = from.map(|text| text.parse().unwrap());
            scene::word(check(&scene.answers, &Asked { shown, scopes, from }, FRESH, NOW).0)
        };
        assert_eq!(ask(&["read"], None), "valid");
        assert_eq!(ask(&["read", "admin"], None), "insufficient_scope");
        let shown = keywheel_token::look(scene.key("bound").as_bytes(), &Brand::default());
        let ask = |from: Option<&str>| {
            let from = from.map(|text| text.parse().unwrap());
            scene::word(check(&scene.answers, &Asked { shown, scopes: &[], from }, FRESH, NOW).0)
        };
        assert_eq!(ask(Some("10.1.2.3")), "valid");
        assert_eq!(ask(Some("11.1.2.3")), "forbidden_address");
        assert_eq!(ask(None), "forbidden_address");
    }

    #[test]
    fn only_a_certain_end_is_told() {
        let overlap = |deadline, retire_at_deadline| {
            KeyState::Retiring(Overlap {
                since: At(0),
                not_before: At(0),
                deadline: At(deadline),
                retire_at_deadline,
                quiet: Span(0),
            })
        };
        for (state, expires_at, end) in [
            (overlap(50, true), None, Some(50)),
            (overlap(50, false), None, None),
            (overlap(50, true), Some(70), Some(50)),
            (overlap(50, true), Some(30), Some(30)),
            (overlap(50, false), Some(70), Some(70)),
            (KeyState::Active, Some(70), None),
        ] {
            assert_eq!(known_end(&state, expires_at.map(At)), end.map(At), "{state:?} {expires_at:?}");
        }
    }
}
