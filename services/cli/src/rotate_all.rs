//! `keywheel rotate T --all`: one command for each keyring of a tenant, sent in batches.

use crate::bulk::{self, Asked};
use crate::document::derived_id;
use crate::failure::Failure;
use crate::fleet_words::{Fleet, announce, tell};
use crate::issue::Made;
use crate::outage::Outage;
use crate::replay::{Told, World};
use crate::rotate::RotationOptions;
use crate::selection::{LeftOut, Selection};
use crate::session::{Session, now};
use keywheel_domain::{Address, KeyringId, State, Tenant, Version};
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::Verb;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Rotates every keyring of the tenant that is meant. One refusal does not stop the others.
pub(crate) async fn rotate(
    session: &Session<'_>,
    tenant: &Tenant,
    options: &RotationOptions,
    selection: &Selection,
    until_active: bool,
) -> Result<u8, Failure> {
    let owner = options.recipient.owner(session)?;
    let mut fields = options.fields(&owner);
    fields.remove("scopes");
    let batch = announce(session);
    let world = World::read(&session.bus).await?;
    let mut fleet = Fleet::new("rotate-all", "rotated", batch);
    let mut asked = Vec::new();
    for (keyring, told) in of_tenant(&world, tenant) {
        let id = derived_id(fleet.name, batch, keyring);
        // What this command has rotated already is young and may fit the selection no more.
        let why = (!told.state().done.contains_key(&id))
            .then(|| why_not(selection, options.scopes(), keyring, told.state()))
            .flatten();
        match why {
            Some(why) => fleet.left_out.push(why),
            None => asked.push(Asked { id, keyring: keyring.clone(), fields: fields.clone(), about: () }),
        }
    }
    if asked.is_empty() && fleet.left_out.is_empty() {
        return Err(Failure::refused("no_key", format!("no keyring of {tenant} has a key")));
    }
    let mut made = BTreeMap::new();
    bulk::send_all(session, Verb::Rotate, asked, |asked, settled| {
        match issued(&asked.keyring, settled.outcome) {
            Ok(one) => drop(made.insert(asked.keyring, one)),
            Err(why) => fleet.refused.push(why),
        }
    })
    .await?;
    let waited = if until_active { await_active(session, world, &mut made).await } else { Ok(()) };
    fleet.done = made.into_values().map(|one| one.document).collect();
    tell(session, fleet, |done| {
        let text = |name: &str| done[name].as_str().unwrap_or_default().to_owned();
        (format!("v{}", done["version"]), text("state"))
    })
    .and_then(|code| waited.map(|()| code))
}

/// The tenant's keyrings.
pub(crate) fn of_tenant<'a>(
    world: &'a World,
    tenant: &'a Tenant,
) -> impl Iterator<Item = (&'a KeyringId, &'a Told)> {
    let mine = move |(address, told): (&'a Address, &'a Told)| {
        Some((address.keyring().filter(|id| id.tenant == *tenant)?, told))
    };
    world.iter().filter_map(mine)
}

fn why_not(selection: &Selection, scopes: &[String], keyring: &KeyringId, state: &State) -> Option<LeftOut> {
    if state.live(now()).next().is_none() {
        return Some(LeftOut::new(keyring, "no_key", "it has no key that is accepted"));
    }
    selection.leaves_out(scopes, keyring, state, now())
}

/// A version that was issued, for programs.
struct One {
    document: Value,
    version: Version,
}

fn issued(keyring: &KeyringId, outcome: &Outcome) -> Result<One, LeftOut> {
    if outcome.outcome == Word::Rejected {
        return Err(refused(keyring, outcome));
    }
    let made = Made::of(keyring, outcome)
        .map_err(|failure| LeftOut::new(keyring, &failure.code, &failure.detail))?;
    Ok(One { document: made.to_json("issued"), version: made.version })
}

/// What a rejected outcome says.
pub(crate) fn refused(keyring: &KeyringId, outcome: &Outcome) -> LeftOut {
    match &outcome.rejection {
        Some(why) => LeftOut::new(keyring, &why.code, &why.detail),
        None => LeftOut::new(keyring, "rejected", "no reason was given"),
    }
}

/// Waits until each version is activated or has ended, and notes which.
async fn await_active(
    session: &Session<'_>,
    mut world: World,
    made: &mut BTreeMap<KeyringId, One>,
) -> Result<(), Failure> {
    let (live, mut outage) = (session.screen.progress(made.len()), Outage::default());
    let deadline = session.deadline();
    loop {
        outage.bridge(world.advance(&session.bus, |_| ()).await, deadline, &live).await?;
        let mut open = 0;
        for (keyring, one) in made.iter_mut() {
            let key =
                world.state(&Address::Keyring(keyring.clone())).and_then(|it| it.keys.get(&one.version));
            let state = key.map_or("issued", |key| key.state.word());
            open += usize::from(state == "issued");
            one.document["state"] = json!(state);
        }
        live.at(made.len() - open);
        if open == 0 {
            return Ok(());
        }
        if deadline.has_passed() {
            let given = deadline.given();
            let detail = format!("{open} are issued, but not active after {given}; that goes on by itself");
            return Err(Failure::unfinished(detail));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
