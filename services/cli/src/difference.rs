//! What changed in a keyring between two moments: version by version, field by field, with the events that did it.

use crate::past::{Dated, event_to_json};
use crate::policy::Field;
use crate::screen::{Shown, mood_of_state};
use crate::state::policy_of;
use crate::status_version::View;
use keywheel_domain::{At, Cut, State, Version};
use keywheel_table::History;
use keywheel_table::history::Happened;
use serde_json::{Value, json};

/// A moment of one history: where it ends, and the time by which it is judged.
pub(crate) type End = (Cut, At);

/// What a keyring (or a tenant, which has a policy alone) was at two moments.
pub(crate) struct Difference<'h> {
    /// The events in between.
    pub events: &'h [Happened],
    versions: Vec<Changed>,
    policy: Vec<(Field, Field)>,
}

/// A version that differs.
struct Changed {
    version: Version,
    was: Option<Value>,
    is: Option<Value>,
    fields: Vec<String>,
}

impl<'h> Difference<'h> {
    /// Between two moments of a history; nothing where the first one lies after the second.
    pub fn between(own: &'h History, tenant: Option<&History>, from: End, to: End) -> Option<Self> {
        let (before, after) = (own.until(from.0).len(), own.until(to.0).len());
        let events = own.events().get(before..after)?;
        let at = |end: End| {
            let dated = Dated::after(own.until(end.0));
            let policy = policy_of(&dated.state, tenant.map(|tenant| tenant.state_at(end.0)).as_ref());
            (documents(&dated, end.1), policy)
        };
        let ((was, policy_was), (is, policy_is)) = (at(from), at(to));
        let both = policy_was.into_iter().zip(policy_is);
        let policy = both.filter(|(was, is)| was != is).collect();
        Some(Self { events, versions: changed(was, is), policy })
    }

    /// Whether nothing differs and nothing happened.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.versions.is_empty() && self.policy.is_empty()
    }

    /// Its part of a document.
    pub fn to_json(&self) -> Value {
        let version = |changed: &Changed| {
            json!({
                "version": changed.version.0, "was": changed.was, "is": changed.is, "changed": changed.fields,
            })
        };
        let side = |field: &Field| json!({ "value": field.value, "from": field.source });
        let policy =
            |(was, is): &(Field, Field)| (was.name.to_owned(), json!({ "was": side(was), "is": side(is) }));
        json!({
            "versions": self.versions.iter().map(version).collect::<Vec<_>>(),
            "policy": self.policy.iter().map(policy).collect::<serde_json::Map<_, _>>(),
            "events": self.events.iter().map(event_to_json).collect::<Vec<_>>(),
        })
    }

    /// A row for each version that differs.
    pub fn rows(&self) -> Vec<Vec<Shown>> {
        let text = |document: &Option<Value>, name: &str| {
            let value = document.as_ref().and_then(|document| document[name].as_str());
            value.unwrap_or("-").to_owned()
        };
        let state = |document: &Option<Value>| {
            let word = text(document, "state");
            let shown = if document.as_ref().is_some_and(|document| document["expired"] == true) {
                format!("{word}, expired")
            } else {
                word.clone()
            };
            Shown::with(shown, mood_of_state(&word))
        };
        let row = |changed: &Changed| {
            let either = if changed.is.is_some() { &changed.is } else { &changed.was };
            vec![
                Shown::plain(changed.version),
                Shown::plain(text(either, "kid")),
                state(&changed.was),
                state(&changed.is),
                Shown::plain(changed.fields.join(" ")),
            ]
        };
        self.versions.iter().map(row).collect()
    }

    /// A line for each field of the policy that differs.
    pub fn policy_lines(&self) -> Vec<String> {
        let side = |field: &Field| format!("{} ({})", crate::policy::value_words(field), field.source);
        let line = |(was, is): &(Field, Field)| format!("policy {}: {} -> {}", was.name, side(was), side(is));
        self.policy.iter().map(line).collect()
    }
}

/// The columns of a row.
pub(crate) const HEADER: [&str; 5] = ["version", "kid", "was", "is", "changed"];

fn documents(dated: &Dated, at: At) -> Vec<(Version, Value)> {
    let state: &State = &dated.state;
    let views = View::all(state, &dated.since, None, at);
    let versions = state.keys.iter().zip(views);
    let document = |((version, key), view): ((&Version, &keywheel_domain::Key), View<'_>)| {
        let mut document = view.to_json();
        document["expired"] = json!(key.is_expired(at));
        (*version, document)
    };
    versions.map(document).collect()
}

/// Versions never go away, and are in order on both sides.
fn changed(was: Vec<(Version, Value)>, is: Vec<(Version, Value)>) -> Vec<Changed> {
    let mut earlier = was.into_iter().peekable();
    let mut all = Vec::new();
    for (version, is) in is {
        let was = earlier.next_if(|(known, _)| *known == version).map(|(_, document)| document);
        let fields = fields(was.as_ref(), &is);
        if was.is_none() || !fields.is_empty() {
            all.push(Changed { version, was, is: Some(is), fields });
        }
    }
    all
}

fn fields(was: Option<&Value>, is: &Value) -> Vec<String> {
    let Some((was, is)) = was.and_then(Value::as_object).zip(is.as_object()) else { return Vec::new() };
    is.iter().filter(|(name, value)| was.get(*name) != Some(*value)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Output;
    use crate::scene::{activated, issued, messages, messages_of, signers, tenant};
    use crate::screen::Screen;
    use crate::waiting_words::tests::NOW;
    use expect_test::expect;
    use keywheel_domain::event::{Fact, IssueReason};
    use keywheel_domain::{PolicyPatch, Span};
    use keywheel_table::Message;

    fn history(messages: Vec<Message>) -> History {
        let mut history = History::new(signers());
        history.take(&messages.into_iter().map(|message| (message, NOW)).collect::<Vec<_>>());
        history
    }

    /// v1, then v2 in its place, an hour between each two.
    fn rotated() -> History {
        let rotate = IssueReason::Rotate { supersedes: Vec::new() };
        history(messages(
            vec![
                issued(1, IssueReason::Issue),
                activated(1, Vec::new()),
                issued(2, rotate),
                activated(2, vec![Version(1)]),
            ],
            NOW,
        ))
    }

    fn end(seq: u64) -> End {
        (Cut::Seq(seq), NOW)
    }

    #[test]
    fn what_changed_is_named_with_the_events_that_did_it() {
        let own = rotated();
        let changes = Difference::between(&own, None, end(2), end(4)).unwrap();
        expect![[r#"
            VERSION  KID         WAS     IS        CHANGED
            v1       kid0000001  active  retiring  overlap since state waits_for
            v2       kid0000002  -       active"#]]
        .assert_eq(&Screen::new(Output::Text).table(&HEADER, changes.rows()));
        assert_eq!(changes.events.iter().map(|happened| happened.recorded.seq).collect::<Vec<_>>(), [3, 4]);
        let document = changes.to_json();
        assert_eq!(document["versions"][0]["was"]["state"], "active");
        assert_eq!(document["versions"][0]["is"]["overlap"]["on_overlap_max"], "hold");
        assert_eq!(document["versions"][1]["was"], Value::Null);
        assert_eq!(document["events"][1]["type"], "KeyActivated");
    }

    #[test]
    fn between_a_moment_and_itself_nothing_changed() {
        let own = rotated();
        for seq in 0..6 {
            assert!(Difference::between(&own, None, end(seq), end(seq)).unwrap().is_empty(), "{seq}");
        }
        assert!(Difference::between(&own, None, end(3), end(2)).is_none(), "backwards");
    }

    #[test]
    fn time_alone_lets_a_key_expire() {
        let own = rotated();
        let later = (Cut::Seq(4), NOW.after(Span::days(91)));
        let changes = Difference::between(&own, None, end(4), later).unwrap();
        expect![[r#"
            VERSION  KID         WAS     IS               CHANGED
            v2       kid0000002  active  active, expired  expired"#]]
        .assert_eq(&Screen::new(Output::Text).table(&HEADER, changes.rows()));
        assert!(changes.events.is_empty() && !changes.is_empty());
    }

    #[test]
    fn a_tenants_policy_changes_its_keyrings() {
        let quiet =
            |hours| Fact::PolicySet(PolicyPatch { quiet: Some(Span::hours(hours)), ..PolicyPatch::NONE });
        let above = history(messages_of(&tenant(), vec![quiet(2), quiet(3)], NOW));
        let own = rotated();
        let changes = Difference::between(&own, Some(&above), end(1), end(4)).unwrap();
        assert_eq!(changes.policy_lines(), ["policy quiet: 2h (tenant) -> 3h (tenant)"]);
        assert_eq!(changes.to_json()["policy"]["quiet"]["is"]["value"], "3h");
    }
}
