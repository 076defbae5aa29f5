//! `keywheel policy`: what holds for a keyring or a tenant, where it comes from, and how to change it.

use crate::arguments;
use crate::failure::Failure;
use crate::policy_fields::{FIELDS, NEVER, PolicyOptions};
use crate::receipt_words::{addressed, show_unchanged};
use crate::replay::Followed;
use crate::screen::{Mood, Shown};
use crate::session::{Session, event_of};
use clap::{Args, Subcommand};
use keywheel_domain::{Address, Policy as Resolved, PolicyPatch, Span};
use keywheel_runtime::exit;
use keywheel_wire::policy::{WirePatch, whole};
use keywheel_wire::subject::Verb;
use serde_json::{Map, Value, json};

/// The commands of `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Show what holds, and whether it comes from the keyring, its tenant or the default
    #[command(after_help = "Example:\n  keywheel policy get acme/checkout")]
    Get(Get),
    /// Change what a keyring or a tenant sets
    #[command(after_help = "Examples:
  keywheel policy set acme --overlap-min 24h --quiet 1h --every 30d
  keywheel policy set acme --every 30d --jitter 2h --recipient XKEY    # rotate by schedule
  keywheel policy set acme/legacy --every never
  keywheel policy set acme --auto-rollback-ratio 0.05 --auto-rollback-min 20 --auto-rollback-window 1h
  keywheel policy set acme/checkout --class strict --clear quiet")]
    Set(Box<Set>),
}

/// The options of `policy get`.
#[derive(Args, Debug)]
pub struct Get {
    /// Whose: tenant or tenant/client
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Address,
}

/// The options of `policy set`.
#[derive(Args, Debug)]
pub struct Set {
    /// Whose: tenant or tenant/client
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Address,
    #[command(flatten)]
    change: PolicyOptions,
}

impl Policy {
    /// Shows or changes a policy.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match self {
            Policy::Get(command) => command.run(session).await,
            Policy::Set(command) => command.run(session).await,
        }
    }
}

impl Get {
    async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let layers = layers(session, &self.address).await?;
        let fields = resolve(&layers);
        let (mut values, mut sources) = (Map::new(), Map::new());
        for field in &fields {
            values.insert(field.name.to_owned(), field.value.clone());
            sources.insert(field.name.to_owned(), json!(field.source));
        }
        let mut document = addressed(&self.address);
        document["policy"] = Value::Object(values);
        document["from"] = Value::Object(sources);
        let table = session.screen.table(&["field", "value", "from"], fields.iter().map(row).collect());
        session.screen.show(&document, &table)?;
        Ok(exit::DONE)
    }
}

impl Set {
    async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let change = self.change.fields();
        if change.is_empty() {
            return Err(Failure::usage("say what to change, such as --quiet 1h or --clear quiet"));
        }
        let document = session.document().with("policy", Some(Value::Object(change)));
        let outcome = session.decide(&self.address, Verb::Policy, document, session.deadline()).await?;
        let Some(event) = event_of(&outcome)? else {
            return show_unchanged(session, &self.address, "the policy was so already");
        };
        let mut document = addressed(&self.address);
        document["outcome"] = json!("accepted");
        document["command_id"] = json!(outcome.command_id);
        document["event"] = json!(event);
        let text = format!("{}: the policy holds from position {} on", self.address, event.seq);
        session.screen.show(&document, &text)?;
        Ok(exit::DONE)
    }
}

/// The patches that lie over the default, the outermost last.
async fn layers(
    session: &Session<'_>,
    address: &Address,
) -> Result<Vec<(&'static str, PolicyPatch)>, Failure> {
    let mut layers = Vec::new();
    if let Some(tenant) = address.tenant() {
        let of_tenant = Followed::read(&session.bus, Address::Tenant(tenant.clone())).await?;
        layers.push(("tenant", of_tenant.state().policy.clone()));
    }
    if address.keyring().is_some() {
        let own = Followed::read(&session.bus, address.clone()).await?;
        layers.push(("keyring", own.state().policy.clone()));
    }
    Ok(layers)
}

/// A field with where its value comes from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Its value.
    pub value: Value,
    /// `keyring`, `tenant` or `default`.
    pub source: &'static str,
}

/// Every field under these patches, the outermost last.
pub(crate) fn resolve(layers: &[(&'static str, PolicyPatch)]) -> Vec<Field> {
    let policy = layers.iter().fold(Resolved::default(), |policy, (_, patch)| policy.overlaid(patch));
    let values = as_object(&whole(&policy));
    let set: Vec<(&'static str, Map<String, Value>)> =
        layers.iter().map(|(source, patch)| (*source, as_object(&WirePatch::from(patch)))).collect();
    let field = |name: &'static str| {
        let source = set.iter().rev().find(|(_, fields)| fields.contains_key(name));
        Field {
            name,
            value: values.get(name).cloned().unwrap_or(Value::Null),
            source: source.map_or("default", |(source, _)| source),
        }
    };
    FIELDS.into_iter().map(field).collect()
}

fn as_object(patch: &WirePatch) -> Map<String, Value> {
    match serde_json::to_value(patch) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    }
}

/// A field's value for people.
pub(crate) fn value_words(field: &Field) -> String {
    match &field.value {
        Value::Null => "-".to_owned(),
        Value::String(text) if field.name == "every" && Span::parse(text) == Ok(Span(0)) => NEVER.to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => field.value.to_string(),
    }
}

fn row(field: &Field) -> Vec<Shown> {
    let value = value_words(field);
    let mood = if field.source == "default" { Mood::Past } else { Mood::Plain };
    vec![Shown::plain(field.name), Shown::plain(value), Shown::with(field.source, mood)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::policy::Class;

    fn tenant_of(days: u64) -> PolicyPatch {
        PolicyPatch { every: Some(Some(Span::days(days))), ..PolicyPatch::NONE }
    }

    #[test]
    fn each_value_says_where_it_comes_from() {
        let tenant = PolicyPatch {
            quiet: Some(Span::hours(2)),
            every: Some(Some(Span::days(30))),
            ..PolicyPatch::NONE
        };
        let keyring =
            PolicyPatch { quiet: Some(Span(60_000)), class: Some(Class::Strict), ..PolicyPatch::NONE };
        let fields = resolve(&[("tenant", tenant), ("keyring", keyring)]);
        let of = |name: &str| {
            let field = fields.iter().find(|field| field.name == name).unwrap();
            (field.value.clone(), field.source)
        };
        assert_eq!(of("quiet"), (json!("1m"), "keyring"));
        assert_eq!(of("class"), (json!("strict"), "keyring"));
        assert_eq!(of("every"), (json!("30d"), "tenant"));
        assert_eq!(of("max_active"), (json!(5), "default"));
        assert_eq!(of("recipient"), (Value::Null, "default"));
        assert_eq!(fields.len(), FIELDS.len());
        let never = PolicyPatch { every: Some(Some(Span(0))), ..PolicyPatch::NONE };
        let fields = resolve(&[("tenant", tenant_of(30)), ("keyring", never)]);
        let rows = fields.iter().filter(|field| field.name == "every").map(row).collect();
        let screen = crate::screen::Screen::new(crate::arguments::Output::Text);
        expect_test::expect![[r#"
            FIELD  VALUE  FROM
            every  never  keyring"#]]
        .assert_eq(&screen.table(&["field", "value", "from"], rows));
    }
}
