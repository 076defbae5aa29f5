//! Ways in which answers to requests break a promise.

use crate::broken::{Broken, request, shown};
use crate::world::{LEASE, STALE_MAX, WALL};
use keywheel_tests::faults::ledger::{Answer, Entry, Micros, Why};

/// The edge that never has a fault.
const SOUND: &str = "e3";
const SECOND: Micros = 1_000_000;

fn refused(code: &str) -> Answer {
    Answer::Refused(code.to_owned())
}

/// The place of an accepted request for a version that never ends.
fn live(broken: &mut Broken<'_>) -> Option<usize> {
    let messages = broken.messages();
    broken.place(|entry| {
        let accepted = shown(entry).filter(|shown| matches!(shown.answer, Answer::Accepted(_)));
        // The fifth keyring's keys expire.
        accepted.is_some_and(|shown| {
            let ends = messages.iter().any(|message| message.ends_or_revives(&shown.keyring, shown.version));
            !ends && shown.keyring != "t0/c4"
        })
    })
}

pub fn refuse_live(broken: &mut Broken<'_>, code: &str) -> Option<()> {
    let at = live(broken)?;
    broken.answer(at, refused(code));
    Some(())
}

pub fn refuse_revived(broken: &mut Broken<'_>) -> Option<()> {
    let rollback = broken.message(|message| {
        let restored = message.event["body"]["restored"].as_array();
        message.kind() == "RolledBack" && restored.is_some_and(|restored| !restored.is_empty())
    })?;
    let version = rollback.event["body"]["restored"][0]["version"].as_u64()?;
    let version = u32::try_from(version).ok()?;
    let sent = rollback.stored + LEASE + SECOND;
    let ends_again = broken.messages().iter().any(|message| {
        message.ends_or_revives(&rollback.keyring, version)
            && message.stored > rollback.stored
            && message.stored < sent + SECOND
    });
    broken.entries.push(request(sent, SOUND, &rollback.keyring, version, Why::Newest, refused("retired")));
    (!ends_again).then_some(())
}

pub fn call_retired_revoked(broken: &mut Broken<'_>) -> Option<()> {
    let revoked: Vec<String> = broken
        .messages()
        .into_iter()
        .filter(|message| message.event["body"]["cause"] == "revoked")
        .map(|message| message.keyring)
        .collect();
    let at = broken.place(|entry| {
        shown(entry)
            .is_some_and(|shown| shown.answer == refused("retired") && !revoked.contains(&shown.keyring))
    })?;
    broken.answer(at, refused("revoked"));
    Some(())
}

pub fn silence(broken: &mut Broken<'_>, answer: Answer) -> Option<()> {
    let at = broken.place(|entry| shown(entry).is_some_and(|shown| shown.edge == SOUND))?;
    broken.answer(at, answer);
    Some(())
}

pub fn refuse_twice(broken: &mut Broken<'_>) -> Option<()> {
    let at = live(broken)?;
    broken.answer(at, refused("retired"));
    let Entry::Request { answered, keyring, version, why, .. } = &mut broken.entries[at] else { return None };
    *why = Why::Newest;
    let (sent, keyring, version) = (*answered + 1, keyring.clone(), *version);
    broken.entries.push(request(sent, SOUND, &keyring, version, Why::Fallback, refused("retired")));
    Some(())
}

pub fn accept_late(broken: &mut Broken<'_>, code: &str) -> Option<()> {
    let messages = broken.messages();
    let at = broken.place(|entry| {
        let Some(shown) = shown(entry).filter(|shown| shown.answer == refused(code)) else { return false };
        let ends: Vec<_> =
            messages.iter().filter(|m| m.ends_or_revives(&shown.keyring, shown.version)).collect();
        ends.len() == 1 && ends[0].stored + STALE_MAX + SECOND < shown.sent
    })?;
    let version = shown(&broken.entries[at])?.version;
    broken.answer(at, Answer::Accepted(version));
    Some(())
}

/// After a receipt, with or without edges that were not reached: at once after the last moment it names.
pub fn accept_receipted(broken: &mut Broken<'_>, unreached: bool) -> Option<()> {
    let at = broken.place(|entry| {
        let Entry::Receipt { open_until, .. } = entry else { return false };
        open_until.is_some() == unreached
    })?;
    let Entry::Receipt { read, keyring, versions, open_until, .. } = broken.entries[at].clone() else {
        return None;
    };
    let version = *versions.first()?;
    let sent = open_until.map_or(read, |open| read.max(open + 100_000)) + 1;
    let revived = broken.messages().iter().any(|message| {
        message.kind() == "RolledBack"
            && message.ends_or_revives(&keyring, version)
            && message.stored < sent + SECOND
    });
    let answer = Answer::Accepted(version);
    broken.entries.push(request(sent, SOUND, &keyring, version, Why::Probe, answer));
    (!revived).then_some(())
}

pub fn mistake(broken: &mut Broken<'_>) -> Option<()> {
    let at = live(broken)?;
    let version = shown(&broken.entries[at])?.version;
    broken.answer(at, Answer::Accepted(version + 1));
    Some(())
}

pub fn accept_unborn(broken: &mut Broken<'_>) -> Option<()> {
    let issued = broken.message(|message| message.kind() == "KeyIssued" && message.stored > SECOND)?;
    let version = u32::try_from(issued.event["body"]["version"].as_u64()?).ok()?;
    let (sent, answer) = (issued.stored - SECOND / 2, Answer::Accepted(version));
    broken.entries.push(request(sent, SOUND, &issued.keyring, version, Why::Newest, answer));
    Some(())
}

pub fn accept_stranger(broken: &mut Broken<'_>) -> Option<()> {
    let answer = Answer::Accepted(999);
    broken.entries.push(request(SECOND, SOUND, "t0/c0", 999, Why::Newest, answer));
    Some(())
}

pub fn accept_expired(broken: &mut Broken<'_>) -> Option<()> {
    let at = broken.place(|entry| shown(entry).is_some_and(|shown| shown.answer == refused("expired")))?;
    let shown = shown(&broken.entries[at])?;
    // Long enough after the first refusal that the tolerance has passed.
    let (sent, answer) = (shown.sent + SECOND, Answer::Accepted(shown.version));
    broken.entries.push(request(sent, SOUND, &shown.keyring, shown.version, Why::Newest, answer));
    Some(())
}

pub fn accept_revoked(broken: &mut Broken<'_>) -> Option<()> {
    let at = broken.place(|entry| shown(entry).is_some_and(|shown| shown.answer == refused("revoked")))?;
    let shown = shown(&broken.entries[at])?;
    let (sent, answer) = (shown.sent + SECOND, Answer::Accepted(shown.version));
    broken.entries.push(request(sent, &shown.edge, &shown.keyring, shown.version, Why::Probe, answer));
    Some(())
}

pub fn use_quiet(broken: &mut Broken<'_>, why: Why) -> Option<()> {
    let proof = broken.message(|message| message.event["body"]["complete_through"].is_string())?;
    let version = u32::try_from(proof.event["body"]["version"].as_u64()?).ok()?;
    let through =
        keywheel_wire::text::parse_moment(proof.event["body"]["complete_through"].as_str()?).ok()?;
    // The window is a second long.
    let (sent, answer) = ((through.0 - WALL) * 1000 - SECOND / 2, Answer::Accepted(version));
    broken.entries.push(request(sent, SOUND, &proof.keyring, version, why, answer));
    Some(())
}
