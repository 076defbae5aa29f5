//! `keywheel state`: what was true at a moment of the past.

use crate::arguments;
use crate::failure::Failure;
use crate::past::{Dated, Doubts, Moment, When, event_to_json, read, read_tenant};
use crate::policy::{Field, resolve, value_words};
use crate::receipt_words::addressed;
use crate::schedule_words;
use crate::session::Session;
use crate::status_table::{self, Line};
use crate::status_version::{self, View};
use clap::Args;
use keywheel_domain::{Address, KeyringId, PolicyPatch, State as Folded, Tenant};
use keywheel_runtime::exit;
use keywheel_table::History;
use keywheel_table::history::Happened;
use keywheel_wire::body::type_word;
use serde_json::{Map, Value, json};

/// The options of `state`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel state acme/checkout --at 2026-01-31T12:00:00Z
  keywheel state acme --at-seq 1204 --output json

What only time brings (expiry, what is waited for) is judged by the time asked for, or by that of the event at the position.")]
pub struct State {
    /// Of whom: tenant, or tenant/client
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Address,
    #[command(flatten)]
    when: When,
}

impl State {
    /// Shows the state as it was.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let moment = Moment::of(session, self.when.cut()).await?;
        match &self.address {
            Address::Keyring(keyring) => one(session, keyring, moment).await,
            Address::Tenant(tenant) => many(session, tenant, moment).await,
            Address::Installation => Err(Failure::usage("name a tenant or a keyring")),
        }
    }
}

async fn one(session: &Session<'_>, keyring: &KeyringId, moment: Moment) -> Result<u8, Failure> {
    let (address, tenant) = (Address::Keyring(keyring.clone()), Address::Tenant(keyring.tenant.clone()));
    let cut = Some(moment.cut);
    let (own, tenant) = tokio::try_join!(read(session, &address, cut), read(session, &tenant, cut))?;
    if own.events().is_empty() {
        return Err(Failure::refused("no_key", format!("{keyring} never had a key by then")));
    }
    let (dated, above) = (Dated::after(own.until(moment.cut)), tenant.state_at(moment.cut));
    let views = View::all(&dated.state, &dated.since, None, moment.at);
    let policy = policy_of(&dated.state, Some(&above));
    let doubts = Doubts::of([&own, &tenant], moment.cut);
    let next = schedule_words::next(keyring, &dated.state, Some(&above), moment.at);
    let last = own.until(moment.cut).last();
    let mut document = addressed(&address);
    document["at"] = moment.to_json();
    document["last_event"] = json!(last.map(event_to_json));
    document["versions"] = views.iter().map(View::to_json).collect();
    document["next_rotation"] = schedule_words::to_json(next, moment.at);
    put_policy(&mut document, &policy);
    document["frozen_at"] = json!(Doubts::of([&own], moment.cut).frozen_at());
    document["not_believed"] = doubts.to_json();
    let mut lines = vec![head_words(keyring, moment, last, &own)];
    if !views.is_empty() {
        lines.push(session.screen.table(&status_version::HEADER, views.iter().map(View::row).collect()));
    }
    lines.extend(views.iter().filter_map(|view| view.waits(None)));
    lines.extend(next.map(|next| schedule_words::words(next, moment.at)));
    lines.push(policy_words(&policy));
    lines.extend(doubts.lines());
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

async fn many(session: &Session<'_>, tenant: &Tenant, moment: Moment) -> Result<u8, Failure> {
    let histories = read_tenant(session, tenant).await?;
    let address = Address::Tenant(tenant.clone());
    let above = histories.get(&address).map(|history| history.state_at(moment.cut)).unwrap_or_default();
    let (mut rows, mut documents) = (Vec::new(), Vec::new());
    for (address, history) in &histories {
        let dated = Dated::after(history.until(moment.cut));
        let Some(keyring) = address.keyring().filter(|_| !dated.state.keys.is_empty()) else { continue };
        let next = schedule_words::next(keyring, &dated.state, Some(&above), moment.at);
        let line = Line::of(keyring, (&dated.state, &dated.since), next, moment.at);
        rows.push(line.row());
        let mut keyring = line.to_json();
        keyring["last_event"] = json!(history.until(moment.cut).last().map(event_to_json));
        keyring["frozen_at"] = json!(Doubts::of([history], moment.cut).frozen_at());
        documents.push(keyring);
    }
    let doubts = Doubts::of(histories.values(), moment.cut);
    let policy = policy_of(&Folded::default(), Some(&above));
    let mut document = addressed(&address);
    document["at"] = moment.to_json();
    document["keyrings"] = Value::Array(documents);
    put_policy(&mut document, &policy);
    document["not_believed"] = doubts.to_json();
    let table = match rows.len() {
        0 => "no keyring had a key".to_owned(),
        _ => session.screen.table(&status_table::HEADER, rows),
    };
    let head = format!("{tenant} as of {}", moment.words());
    let lines: Vec<String> = [head, table, policy_words(&policy)].into_iter().chain(doubts.lines()).collect();
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

fn head_words(keyring: &KeyringId, moment: Moment, last: Option<&Happened>, own: &History) -> String {
    let when = moment.words();
    match (last, own.events().first()) {
        (Some(Happened { recorded, .. }), _) => format!(
            "{keyring} as of {when}; its last event then: position {}, {} by {}",
            recorded.seq,
            type_word(recorded.event.fact.kind()),
            recorded.event.actor.as_str()
        ),
        (None, Some(first)) => format!(
            "{keyring} as of {when}: it had no key yet; its first event stands at position {}",
            first.recorded.seq
        ),
        (None, None) => format!("{keyring} as of {when}: it had no key yet"),
    }
}

/// The policy in force, each field with where it comes from.
pub(crate) fn policy_of(own: &Folded, tenant: Option<&Folded>) -> Vec<Field> {
    let of_tenant = tenant.map_or(PolicyPatch::NONE, |tenant| tenant.policy.clone());
    resolve(&[("tenant", of_tenant), ("keyring", own.policy.clone())])
}

/// Puts a policy into a document as `policy get` does.
fn put_policy(document: &mut Value, fields: &[Field]) {
    let values: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), field.value.clone())).collect();
    let sources: Map<String, Value> =
        fields.iter().map(|field| (field.name.to_owned(), json!(field.source))).collect();
    document["policy"] = Value::Object(values);
    document["policy_from"] = Value::Object(sources);
}

fn policy_words(fields: &[Field]) -> String {
    let set: Vec<String> = fields
        .iter()
        .filter(|field| field.source != "default")
        .map(|field| format!("{} {} ({})", field.name, value_words(field), field.source))
        .collect();
    if set.is_empty() {
        return "policy: the default".to_owned();
    }
    format!("policy: {}; else the default", set.join(", "))
}
