//! `keywheel rotate T --all`: one command for each keyring of a tenant.

use crate::await_activation::activation;
use crate::failure::Failure;
use crate::issue::Made;
use crate::replay::{Told, World};
use crate::rotate::RotationOptions;
use crate::screen::{Mood, Shown};
use crate::session::{Session, now};
use keywheel_domain::{Address, KeyringId, Tenant};
use keywheel_runtime::exit;
use keywheel_token::id;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};

/// How it went for one keyring.
struct Went {
    keyring: KeyringId,
    result: Result<Value, Failure>,
}

/// Rotates every keyring of the tenant that has a live key. One failure does not stop the others.
pub(crate) async fn rotate(
    session: &Session<'_>,
    tenant: &Tenant,
    options: &RotationOptions,
    until_active: bool,
) -> Result<u8, Failure> {
    let world = World::read(&session.bus).await?;
    let keyrings = live_keyrings(&world, tenant);
    if keyrings.is_empty() {
        return Err(Failure::refused("no_key", format!("no keyring of {tenant} has a live key")));
    }
    // One id for all of it: repeated with --command-id, what was rotated is not rotated again.
    let batch = text::id(session.options.command_id.unwrap_or_else(id::fresh));
    let mut went = Vec::new();
    let live = session.screen.live();
    for (done, keyring) in keyrings.iter().enumerate() {
        live.say(&format!("{done} of {} keyrings; rotating {keyring}", keyrings.len()));
        let result = rotate_one(session, keyring, options, &batch, until_active).await;
        went.push(Went { keyring: keyring.clone(), result });
    }
    drop(live);
    tell(session, &batch, &went)
}

fn live_keyrings(world: &World, tenant: &Tenant) -> Vec<KeyringId> {
    let live = |told: &Told| told.state().live(now()).next().is_some();
    let of_tenant = |(address, told): (&Address, &Told)| {
        address.keyring().filter(|id| id.tenant == *tenant && live(told)).cloned()
    };
    world.iter().filter_map(of_tenant).collect()
}

async fn rotate_one(
    session: &Session<'_>,
    keyring: &KeyringId,
    options: &RotationOptions,
    batch: &str,
    until_active: bool,
) -> Result<Value, Failure> {
    let deadline = session.deadline();
    let owner = options.recipient.owner(session)?;
    let id = id::derived(&["rotate-all", batch, &keyring.to_string()]);
    let document = crate::document::Document::new(id, &session.actor()).with_all(options.fields(&owner));
    let address = Address::Keyring(keyring.clone());
    let outcome = session.decide(&address, Verb::Rotate, document, deadline).await?;
    let made = Made::of(keyring, &outcome)?;
    if !until_active {
        return Ok(made.to_json("issued"));
    }
    activation(session, keyring, made.version, made.event.seq, deadline).await?;
    Ok(made.to_json("active"))
}

fn tell(session: &Session<'_>, batch: &str, went: &[Went]) -> Result<u8, Failure> {
    let rows = went.iter().map(|one| match &one.result {
        Ok(made) => vec![
            Shown::plain(&one.keyring),
            Shown::plain(format!("v{}", made["version"])),
            Shown::with(made["state"].as_str().unwrap_or_default(), Mood::Good),
        ],
        Err(failure) => {
            vec![Shown::plain(&one.keyring), Shown::plain(""), Shown::with(failure.to_line(), Mood::Bad)]
        }
    });
    let table = session.screen.table(&["keyring", "version", "state"], rows.collect());
    let rotated: Vec<&Value> = went.iter().filter_map(|one| one.result.as_ref().ok()).collect();
    let failed: Vec<Value> = went.iter().filter_map(failed_json).collect();
    session.screen.show(&json!({ "command_id": batch, "rotated": rotated, "failed": failed }), &table)?;
    let worst = went.iter().filter_map(|one| one.result.as_ref().err()).map(|failure| failure.exit).max();
    if worst.is_some() {
        session.screen.note(&format!("repeat what failed with --command-id {batch}"));
    }
    Ok(worst.unwrap_or(exit::DONE))
}

fn failed_json(one: &Went) -> Option<Value> {
    let failure = one.result.as_ref().err()?;
    let mut entry = failure.to_json();
    entry["tenant"] = json!(one.keyring.tenant.as_str());
    entry["client"] = json!(one.keyring.client.as_str());
    Some(entry)
}
