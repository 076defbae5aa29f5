//! `keywheel rollback T --all --to-time TS`: one plan for a tenant's keyrings, asked about once, one command each.

use crate::await_receipt::ReceiptWatch;
use crate::bulk::{self, Asked};
use crate::document::derived_id;
use crate::failure::Failure;
use crate::fleet_words::{Fleet, SHOWN, announce, tell};
use crate::receipt_words::evidence;
use crate::replay::each_message;
use crate::rollback::{Rollback, confirm, fields};
use crate::rollback_plan::{Planned, planned};
use crate::rotate_all::refused;
use crate::screen::Shown;
use crate::selection::{LeftOut, counts};
use crate::session::{Session, now};
use crate::words::{count, second};
use keywheel_domain::{Address, At, KeyringId, State, Tenant};
use keywheel_runtime::exit;
use keywheel_table::Replay;
use keywheel_table::target::Search;
use keywheel_wire::command::RollbackTo;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::{self, Verb};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Plans, asks, sends, and waits until every edge has applied all of it.
pub(crate) async fn roll_back(
    session: &Session<'_>,
    tenant: &Tenant,
    asked: &Rollback,
) -> Result<u8, Failure> {
    let Some(at) = asked.to_time else {
        return Err(Failure::usage("--all goes back to a time: name --to-time"));
    };
    let batch = announce(session);
    let mut fleet = Fleet::new("rollback-all", "rolled_back", batch);
    let (mut plans, again) = plan_all(session, tenant, asked, at, &mut fleet).await?;
    plans.retain(|one| match one.plan.refusal() {
        Some(why) => {
            fleet.left_out.push(LeftOut::new(&one.keyring, why.code(), why));
            false
        }
        None => true,
    });
    if asked.dry_run {
        return show_plans(session, tenant, at, &plans, &fleet);
    }
    if !plans.is_empty() {
        let skipped = if fleet.left_out.is_empty() {
            String::new()
        } else {
            format!("; left out: {}", counts(&fleet.left_out))
        };
        let what =
            format!("{} of {tenant} go back to what held at {}", count(plans.len(), "keyring"), second(at));
        confirm(session, &format!("{what}{skipped}\n{}", plan_table(session, &plans)), asked.yes)?;
    }
    let fields = fields(RollbackTo::Time(at), asked.revoke_new);
    let wanted = plans.into_iter().map(|one| one.keyring).chain(again);
    let commands = wanted.map(|keyring| Asked {
        id: derived_id(fleet.name, batch, &keyring),
        keyring,
        fields: fields.clone(),
        about: (),
    });
    let commands = commands.collect();
    let watch = ReceiptWatch::listen(session).await?;
    let mut last: Option<(u64, KeyringId, Outcome)> = None;
    bulk::send_all(session, Verb::Rollback, commands, |asked, settled| {
        match done(&asked.keyring, settled.outcome) {
            Ok((seq, document)) => {
                fleet.done.push(document);
                if last.as_ref().is_none_or(|(newest, ..)| *newest < seq) {
                    last = Some((seq, asked.keyring, settled.outcome.clone()));
                }
            }
            Err(why) => fleet.refused.push(why),
        }
    })
    .await?;
    let mut proven = Ok(());
    if let Some((_, keyring, outcome)) = &last
        && let Some(event) = &outcome.event
    {
        let address = Address::Keyring(keyring.clone());
        // Whoever has applied the last of them has applied them all.
        let receipt = watch.receipt(session, &address, (outcome.command_id, event), session.deadline()).await;
        proven = receipt.map(|receipt| fleet.proof = Some(evidence(&receipt, "all of it is in effect")));
    }
    tell(session, fleet, |done| (format!("position {}", done["seq"]), "rolled back".to_owned()))
        .and_then(|code| proven.map(|()| code))
}

/// Replays the log once: the plan of each keyring that is meant, and those that this very command has done.
async fn plan_all(
    session: &Session<'_>,
    tenant: &Tenant,
    asked: &Rollback,
    at: At,
    fleet: &mut Fleet,
) -> Result<(Vec<Planned>, Vec<KeyringId>), Failure> {
    let signers = session.bus.signers();
    let mut tenants = Replay::new(Arc::clone(&signers));
    let mut searches: BTreeMap<KeyringId, Search> = BTreeMap::new();
    each_message(&session.bus, None, 1, |message, _| match subject::parse_event(&message.subject) {
        Ok(Address::Keyring(keyring)) if keyring.tenant == *tenant => {
            let fresh = || Search::new(Arc::clone(&signers), RollbackTo::Time(at));
            drop(searches.entry(keyring).or_insert_with(fresh).take(message));
        }
        Ok(Address::Tenant(other)) if other == *tenant => drop(tenants.take(message)),
        Ok(Address::Keyring(_) | Address::Tenant(_) | Address::Installation) | Err(_) => {}
    })
    .await?;
    if searches.is_empty() {
        return Err(Failure::refused("no_key", format!("{tenant} has no keyring")));
    }
    let (mut plans, mut again) = (Vec::new(), Vec::new());
    for (keyring, search) in searches {
        let state: &State = search.state();
        if state.done.contains_key(&derived_id(fleet.name, fleet.batch, &keyring)) {
            again.push(keyring);
            continue;
        }
        if let Some(why) = asked.selection.leaves_out(&asked.scopes, &keyring, state, now()) {
            fleet.left_out.push(why);
            continue;
        }
        match planned(&keyring, search, &tenants.state, asked.revoke_new, now()) {
            Ok(one) => plans.push(one),
            Err(failure) => fleet.left_out.push(LeftOut::new(&keyring, &failure.code, failure.detail)),
        }
    }
    Ok((plans, again))
}

fn plan_table(session: &Session<'_>, plans: &[Planned]) -> String {
    let row = |one: &Planned| {
        let (comes, goes, stays) = one.brief();
        vec![Shown::plain(&one.keyring), Shown::plain(comes), Shown::plain(goes), Shown::plain(stays)]
    };
    let rows = plans.iter().take(SHOWN).map(row).collect();
    let mut table =
        session.screen.table(&["keyring", "active again", "taken away", "cannot come back"], rows);
    if plans.len() > SHOWN {
        table
            .push_str(&format!("\nand {} more: --dry-run --output json lists them all", plans.len() - SHOWN));
    }
    table
}

fn show_plans(
    session: &Session<'_>,
    tenant: &Tenant,
    at: At,
    plans: &[Planned],
    fleet: &Fleet,
) -> Result<u8, Failure> {
    let document = json!({
        "tenant": tenant.as_str(),
        "to_time": keywheel_wire::text::moment(at),
        "dry_run": true,
        "plans": plans.iter().map(Planned::to_json).collect::<Vec<_>>(),
        "skipped": fleet.left_out.iter().map(LeftOut::to_json).collect::<Vec<_>>(),
    });
    let mut text =
        vec![format!("{} would go back to what held at {}", count(plans.len(), "keyring"), second(at))];
    text.push(plan_table(session, plans));
    if !fleet.left_out.is_empty() {
        text.push(format!(
            "{} left out: {}",
            count(fleet.left_out.len(), "keyring"),
            counts(&fleet.left_out)
        ));
    }
    text.push("Nothing was sent (--dry-run).".to_owned());
    session.screen.show(&document, &text.join("\n"))?;
    Ok(exit::DONE)
}

fn done(keyring: &KeyringId, outcome: &Outcome) -> Result<(u64, Value), LeftOut> {
    match (&outcome.outcome, &outcome.event) {
        (Word::Accepted, Some(event)) => {
            let document = json!({
                "tenant": keyring.tenant.as_str(),
                "client": keyring.client.as_str(),
                "event_id": keywheel_wire::text::id(event.id.0),
                "seq": event.seq,
            });
            Ok((event.seq, document))
        }
        (Word::Accepted | Word::Unchanged | Word::Rejected, _) => Err(refused(keyring, outcome)),
    }
}
