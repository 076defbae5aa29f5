//! Commands: JSON that any client may publish.

use super::assert_told;
use keywheel_domain::command::SpecAsked;
use keywheel_domain::key::SPEC_ENTRIES_MAX;
use keywheel_domain::name::FREE_TEXT_BYTES_MAX;
use keywheel_domain::policy::{Change, PolicyChange};
use keywheel_domain::{Span, Version};
use keywheel_wire::command::{self, Ask, COMMAND_BYTES_MAX, LENGTH_MAX, Request, RollbackTo};
use keywheel_wire::subject::Verb;
use keywheel_wire::text::LAST_MOMENT;

/// The first byte says which verb's subject it came by.
pub fn command(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    let verb = Verb::ALL[usize::from(*first) % Verb::ALL.len()];
    let id = command::id_in(payload);
    match command::read(verb, payload) {
        Err(bad) => {
            assert_told(&bad.error.to_string());
            assert_told(&bad.error.field);
            assert!(bad.id.is_none() || bad.id == id);
        }
        Ok(request) => {
            assert!(payload.len() <= COMMAND_BYTES_MAX);
            assert_eq!(Some(request.id), id);
            assert_bounded(&request);
            // Two readers see one document: however it is written, it says the same.
            let value: serde_json::Value = serde_json::from_slice(payload).unwrap();
            let again = value.to_string();
            if again.len() <= COMMAND_BYTES_MAX {
                assert_eq!(command::read(verb, again.as_bytes()).unwrap(), request);
            }
        }
    }
}

fn assert_bounded(request: &Request) {
    assert_free(request.actor.as_str());
    match &request.ask {
        Ask::Issue { recipient, spec } => assert_spec(recipient.as_deref(), spec),
        Ask::Rotate { recipient, spec, supersedes, policy } => {
            assert_spec(recipient.as_deref(), spec);
            assert!(supersedes.len() <= SPEC_ENTRIES_MAX && supersedes.iter().all(|version| version.0 > 0));
            assert_policy(policy);
        }
        Ask::Activate { version, reason } => {
            assert!(*version > Version(0));
            assert_free(reason);
        }
        Ask::Retire { version } => assert!(*version > Version(0)),
        Ask::Revoke { reason, .. } => assert_free(reason),
        Ask::Rollback { to: RollbackTo::Time(at), .. } => assert!(*at <= LAST_MOMENT),
        Ask::Rollback { to: RollbackTo::Rotation(_) | RollbackTo::Seq(_), .. } => {}
        Ask::Policy(change) => assert_policy(change),
        Ask::Import { spec, label, .. } => {
            assert_spec(None, spec);
            label.iter().for_each(|label| assert_free(label));
        }
        Ask::EdgeAdd(edge) | Ask::EdgeRemove(edge) => assert!(edge.as_str().len() <= 63),
        Ask::SignerAdd(asked) => assert!(asked.key.as_str().len() == 56),
        Ask::SignerWithdraw(asked) => assert_free(&asked.reason),
    }
}

fn assert_free(text: &str) {
    assert!(!text.is_empty() && text.len() <= FREE_TEXT_BYTES_MAX);
    let rules = |character: char| {
        character.is_control() || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}')
    };
    assert!(!text.contains(rules), "{text:?}");
}

fn assert_spec(recipient: Option<&str>, spec: &SpecAsked) {
    assert!(recipient.is_none_or(|public| public.len() < 64));
    let scopes = spec.scopes.iter().flatten();
    assert!(scopes.clone().count() <= SPEC_ENTRIES_MAX);
    assert!(scopes.into_iter().all(|scope| (1..=64).contains(&scope.len()) && scope.is_ascii()));
    let cidrs = spec.cidrs.iter().flatten();
    assert!(cidrs.clone().count() <= SPEC_ENTRIES_MAX && cidrs.into_iter().all(|cidr| cidr.len() < 64));
    let meta = spec.meta.iter().flatten();
    assert!(meta.clone().count() <= SPEC_ENTRIES_MAX);
    meta.for_each(|(name, value)| [name, value].into_iter().for_each(|text| assert_free(text)));
    assert!(spec.expires_in.is_none_or(|span| span > Span(0) && span <= LENGTH_MAX));
}

fn assert_policy(change: &PolicyChange) {
    for length in [
        &change.overlap_min,
        &change.overlap_max,
        &change.quiet,
        &change.stale_max,
        &change.jitter,
        &change.delivery_kept,
    ] {
        assert!(!matches!(length, Change::Set(span) if *span > LENGTH_MAX));
    }
    assert!(!matches!(change.every, Change::Set(Some(span)) if span > LENGTH_MAX));
    assert!(!matches!(change.auto_rollback, Change::Set(Some(auto)) if auto.window > LENGTH_MAX));
}
