//! `keywheel status`: what is true now, and what waits for what.

use crate::alarms;
use crate::arguments;
use crate::doubt_words;
use crate::failure::Failure;
use crate::replay::{Followed, Told, World};
use crate::schedule_words;
use crate::session::{Session, now};
use crate::status_table::{self, Line};
use crate::status_version::{self, View};
use crate::waiting_words::{refused_words, silent_words};
use clap::Args;
use keywheel_domain::{Address, KeyringId};
use keywheel_runtime::exit;
use keywheel_wire::belief::Doubt;
use keywheel_wire::usage::Usage;
use serde_json::{Value, json};

/// The options of `status`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel status
  keywheel status acme/checkout")]
pub struct Status {
    /// Of whom: tenant, or tenant/client [default: all keyrings]
    #[arg(value_name = "T[/C]", value_parser = arguments::tenant_or_keyring)]
    address: Option<Address>,
}

impl Status {
    /// Shows the keyrings, or one keyring's versions.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match &self.address {
            Some(Address::Keyring(keyring)) => one(session, keyring).await,
            None | Some(Address::Tenant(_) | Address::Installation) => {
                many(session, self.address.as_ref()).await
            }
        }
    }
}

async fn many(session: &Session<'_>, within: Option<&Address>) -> Result<u8, Failure> {
    let world = World::read(&session.bus).await?;
    let now = now();
    let is_meant = |keyring: &KeyringId| within.is_none_or(|within| within.tenant() == Some(&keyring.tenant));
    let line = |(address, told): (&'_ Address, &'_ Told)| {
        let keyring = address.keyring().filter(|keyring| is_meant(keyring))?;
        let next = schedule_words::next_in(&world, keyring, told, now);
        let line = Line::of(keyring, (told.state(), &told.since), next, now);
        (!told.state().keys.is_empty()).then(|| (line.row(), line.to_json()))
    };
    let (rows, documents): (Vec<_>, Vec<Value>) =
        world.iter().filter_map(|(address, told)| line((address, told))).unzip();
    let table = match rows.len() {
        0 => "no keyring has a key yet; `keywheel issue TENANT/CLIENT` makes one".to_owned(),
        _ => session.screen.table(&status_table::HEADER, rows),
    };
    let is_told = |address: &Address| within.is_none_or(|within| within.tenant() == address.tenant());
    let told = world.iter().filter(|(address, _)| is_told(address)).flat_map(|(_, told)| &told.doubts);
    let doubts = newest_first(told);
    let alarms = alarms::standing(&session.bus).await?;
    let document = json!({
        "keyrings": documents,
        "not_believed": doubt_words::all_to_json(&doubts),
        "alarms": alarms::to_json(&alarms),
    });
    let told = doubt_words::lines(&doubts).into_iter().chain(alarms::lines(&alarms, now));
    let lines: Vec<String> = std::iter::once(table).chain(told).collect();
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

async fn one(session: &Session<'_>, keyring: &KeyringId) -> Result<u8, Failure> {
    let log = Followed::read(&session.bus, Address::Keyring(keyring.clone())).await?;
    if log.state().keys.is_empty() {
        return Err(Failure::refused("no_key", format!("{keyring} has no key; issue one first")));
    }
    let usage = session.bus.ask_usage(keyring).await.ok();
    let tenant = Followed::read(&session.bus, Address::Tenant(keyring.tenant.clone())).await?;
    let now = now();
    let doubts = newest_first(log.told().doubts.iter());
    let next = schedule_words::next(keyring, log.state(), Some(tenant.state()), now);
    let views = View::all(log.state(), &log.told().since, usage.as_ref(), now);
    let document = json!({
        "tenant": keyring.tenant.as_str(),
        "client": keyring.client.as_str(),
        "versions": views.iter().map(View::to_json).collect::<Vec<_>>(),
        "silent": usage.as_ref().map(|usage| &usage.silent),
        "refused": usage.as_ref().map(|usage| &usage.refused),
        "not_believed": doubt_words::all_to_json(&doubts),
        "next_rotation": schedule_words::to_json(next, now),
    });
    let table = session.screen.table(&status_version::HEADER, views.iter().map(View::row).collect());
    let mut lines = vec![table];
    lines.extend(views.iter().filter_map(|view| view.waits(usage.as_ref())));
    lines.extend(next.map(|next| schedule_words::words(next, now)));
    lines.extend(usage.iter().flat_map(|usage| refused_words(usage, now)));
    lines.extend(usage_words(usage.as_ref()));
    lines.extend(doubt_words::lines(&doubts));
    session.screen.show(&document, &lines.join("\n"))?;
    Ok(exit::DONE)
}

fn newest_first<'d>(doubts: impl Iterator<Item = (&'d u64, &'d Doubt)>) -> Vec<(u64, &'d Doubt)> {
    let mut doubts: Vec<_> = doubts.map(|(seq, doubt)| (*seq, doubt)).collect();
    doubts.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
    doubts
}

/// How complete the picture of use is; nothing where it is complete.
fn usage_words(usage: Option<&Usage>) -> Option<String> {
    match usage {
        Some(usage) => silent_words(usage),
        None => Some("the usage-tracker did not answer: last use is as the log says".to_owned()),
    }
}

#[cfg(test)]
mod tests;
