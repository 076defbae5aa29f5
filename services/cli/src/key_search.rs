//! Finds whose key a kid names: in one keyring, or in the whole log.

use crate::failure::Failure;
use crate::past::read;
use crate::session::Session;
use keywheel_bus::log::Pages;
use keywheel_domain::{Address, KeyringId, Kid, Version};
use keywheel_table::History;
use keywheel_table::history::judge_all;

/// A key with its keyring's whole history.
pub(crate) struct Found {
    pub keyring: KeyringId,
    pub version: Version,
    pub own: History,
}

/// Finds a key by its kid.
pub(crate) async fn find(
    session: &Session<'_>,
    kid: Kid,
    within: Option<&KeyringId>,
) -> Result<Found, Failure> {
    if let Some(keyring) = within {
        let unknown = || unknown(&format!("{keyring} never had a key with the kid {kid}"));
        return read_for(session, keyring, kid).await?.ok_or_else(unknown);
    }
    let (bus, live) = (&session.bus, session.screen.live());
    let mut from = 1;
    loop {
        let page = bus.page_stored(from, Pages::All).await?;
        let Some((last, _)) = page.last() else {
            return Err(unknown(&format!("no key in the log has the kid {kid}")));
        };
        from = last.seq + 1;
        live.say(&format!("looking for {kid}: position {}", last.seq));
        let names = |payload: &[u8]| payload.windows(10).any(|window| window == kid.as_str().as_bytes());
        let naming: Vec<_> = page.into_iter().filter(|(message, _)| names(&message.payload)).collect();
        for judged in judge_all(&naming, &bus.signers()) {
            let Some(event) = judged.event().filter(|event| event.fact.issues() == Some(kid)) else {
                continue;
            };
            let Some(keyring) = event.address.keyring() else { continue };
            if let Some(found) = read_for(session, keyring, kid).await? {
                return Ok(found);
            }
        }
    }
}

fn unknown(detail: &str) -> Failure {
    Failure::refused("unknown_kid", detail)
}

async fn read_for(session: &Session<'_>, keyring: &KeyringId, kid: Kid) -> Result<Option<Found>, Failure> {
    let own = read(session, &Address::Keyring(keyring.clone()), None).await?;
    let issued = own.events().iter().map(|happened| &happened.recorded.event.fact);
    let version = issued.filter(|fact| fact.issues() == Some(kid)).find_map(|fact| fact.version());
    Ok(version.map(|version| Found { keyring: keyring.clone(), version, own }))
}
