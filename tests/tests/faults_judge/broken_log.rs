//! Ways in which the log, outcomes and what was found at the end break a promise.

use crate::broken::{Broken, Message};
use crate::world::{event_of, logged};
use keywheel_domain::event::{Evidence, Restored};
use keywheel_domain::{Fact, Span, Version};
use keywheel_tests::faults::ledger::{Entry, Why};
use keywheel_wire::event::{Link, Read, read, write};
use keywheel_wire::signers::Installation;
use keywheel_wire::{chain, subject};

fn is_due(message: &Message) -> bool {
    message.kind() == "KeyRetired" && message.event["body"]["evidence"]["basis"] == "quiet"
        || message.event["body"]["cause"] == "superseded"
}

fn bytes_of(entry: &Entry) -> Vec<u8> {
    let Entry::Logged { payload, .. } = entry else { panic!("a message") };
    let pair = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).unwrap();
    (0..payload.len()).step_by(2).map(pair).collect()
}

fn is_at(entry: &Entry, position: u64) -> bool {
    matches!(entry, Entry::Logged { sequence, .. } if *sequence == position)
}

/// Writes the message at this position anew, with another fact.
fn rewrite(broken: &mut Broken<'_>, position: u64, change: impl FnOnce(&mut Fact)) -> Option<()> {
    let at = broken.entries.iter().position(|entry| is_at(entry, position))?;
    let bytes = bytes_of(&broken.entries[at]);
    let Entry::Logged { sequence, stored, keyring, .. } = broken.entries[at].clone() else { return None };
    let Read { mut event, link } = read(&subject::event_at(&keyring.replace('/', ".")), &bytes).ok()?;
    change(&mut event.fact);
    broken.entries[at] = logged(&keyring, sequence, stored, &write(&event, link, Installation(7)).ok()?);
    Some(())
}

pub fn forget_successor(broken: &mut Broken<'_>) -> Option<()> {
    let retired = broken.message(is_due)?;
    let successor = retired.event["body"]["evidence"]["successor"].as_u64()?;
    broken.entries.retain(|entry| {
        let Entry::Request { keyring, version, why, .. } = entry else { return true };
        *keyring != retired.keyring || u64::from(*version) != successor || *why == Why::Probe
    });
    Some(())
}

pub fn retire_early(broken: &mut Broken<'_>) -> Option<()> {
    let retired = broken.message(is_due)?;
    rewrite(broken, retired.sequence, |fact| {
        if let Fact::KeyRetired(ended) = fact
            && let Some(Evidence::Quiet { from, .. }) = &mut ended.evidence
        {
            *from = from.after(Span(1));
        }
    })
}

pub fn prove_ahead(broken: &mut Broken<'_>) -> Option<()> {
    let proof = broken.message(|message| !message.event["body"]["complete_through"].is_null())?;
    rewrite(broken, proof.sequence, |fact| {
        if let Fact::KeySeen(used) = fact
            && let Some(quiet) = &mut used.seen.quiet
        {
            quiet.complete_through = quiet.complete_through.after(Span::secs(60));
        }
    })
}

pub fn retire_unproven(broken: &mut Broken<'_>) -> Option<()> {
    let retired = broken.message(is_due)?;
    rewrite(broken, retired.sequence, |fact| {
        if let Fact::KeyRetired(ended) = fact {
            ended.evidence = None;
        }
    })
}

fn acknowledged(entry: &Entry) -> bool {
    matches!(entry, Entry::Command { acknowledged: Some(_), .. })
}

fn id_of(entry: &Entry) -> Option<&str> {
    if let Entry::Command { id, .. } | Entry::Outcome { id, .. } = entry { Some(id) } else { None }
}

fn is_accepted(entry: &Entry) -> bool {
    matches!(entry, Entry::Outcome { outcome, .. } if outcome == "accepted")
}

pub fn lose_outcome(broken: &mut Broken<'_>) -> Option<()> {
    let at = broken.place(acknowledged)?;
    let lost = id_of(&broken.entries[at])?.to_owned();
    broken
        .entries
        .retain(|entry| !matches!(entry, Entry::Outcome { .. }) || id_of(entry) != Some(lost.as_str()));
    Some(())
}

pub fn contradict_outcome(broken: &mut Broken<'_>) -> Option<()> {
    let at = broken.place(|entry| matches!(entry, Entry::Outcome { .. }))?;
    let mut other = broken.entries[at].clone();
    let Entry::Outcome { code, .. } = &mut other else { return None };
    *code = Some("another".to_owned());
    broken.entries.push(other);
    Some(())
}

pub fn invent_outcome(broken: &mut Broken<'_>) -> Option<()> {
    let at = broken.place(acknowledged)?;
    let invented = id_of(&broken.entries[at])?.to_owned();
    broken
        .entries
        .retain(|entry| !matches!(entry, Entry::Command { .. }) || id_of(entry) != Some(invented.as_str()));
    Some(())
}

/// One of the accepted outcomes.
fn accepted(broken: &mut Broken<'_>) -> Option<(String, u64)> {
    let at = broken.place(is_accepted)?;
    let Entry::Outcome { id, sequence, .. } = &broken.entries[at] else { return None };
    Some((id.clone(), (*sequence)?))
}

pub fn lose_effect(broken: &mut Broken<'_>) -> Option<()> {
    let (_, position) = accepted(broken)?;
    let at = broken.entries.iter().position(|entry| is_at(entry, position))?;
    let Entry::Logged { event, .. } = &mut broken.entries[at] else { return None };
    *event = serde_json::Value::Null;
    Some(())
}

/// Changes each outcome of one accepted command.
fn change_outcomes(broken: &mut Broken<'_>, change: impl Fn(&mut Entry)) -> Option<()> {
    let (id, _) = accepted(broken)?;
    let outcomes = broken.entries.iter_mut().filter(|entry| is_accepted(entry));
    outcomes.filter(|entry| id_of(entry) == Some(id.as_str())).for_each(change);
    Some(())
}

pub fn deny_effect(broken: &mut Broken<'_>) -> Option<()> {
    change_outcomes(broken, |entry| {
        if let Entry::Outcome { outcome, sequence, .. } = entry {
            (*outcome, *sequence) = ("rejected".to_owned(), None);
        }
    })
}

pub fn misplace_effect(broken: &mut Broken<'_>) -> Option<()> {
    change_outcomes(broken, |entry| {
        if let Entry::Outcome { sequence: Some(sequence), .. } = entry {
            *sequence += 1;
        }
    })
}

pub fn mistake_effect(broken: &mut Broken<'_>) -> Option<()> {
    change_outcomes(broken, |entry| {
        if let Entry::Outcome { version, .. } = entry {
            *version = Some(version.unwrap_or_default() + 1);
        }
    })
}

/// The last position, and where a keyring stands there.
fn end_of(broken: &Broken<'_>, of: &str) -> Option<(u64, Link)> {
    let mut logged: Vec<(u64, &Entry)> = Vec::new();
    for entry in &broken.entries {
        if let Entry::Logged { sequence, keyring, .. } = entry
            && (keyring == of || of.is_empty())
        {
            logged.push((*sequence, entry));
        }
    }
    let (last, entry) = logged.iter().max_by_key(|(sequence, _)| *sequence)?;
    let revision = logged.len() as u64;
    Some((*last, Link { revision, prev: Some(chain::payload_hash(&bytes_of(entry))) }))
}

/// One more event of this keyring, as good as any other's to whoever looks at its place alone.
fn append(broken: &mut Broken<'_>, keyring: &str, id: u128, fact: Fact) -> Option<()> {
    let (last, _) = end_of(broken, "")?;
    let (_, link) = end_of(broken, keyring)?;
    let link = Link { revision: link.revision + 1, ..link };
    let payload = write(&event_of(keyring, id, fact), link, Installation(7)).ok()?;
    broken.entries.push(logged(keyring, last + 1, 33_000_000, &payload));
    Some(())
}

pub fn double_effect(broken: &mut Broken<'_>) -> Option<()> {
    let (id, position) = accepted(broken)?;
    let at = broken.entries.iter().position(|entry| is_at(entry, position))?;
    let Entry::Logged { keyring, .. } = broken.entries[at].clone() else { return None };
    let id = keywheel_wire::text::parse_id("id", &id).ok()?;
    append(broken, &keyring, id, Fact::PolicySet(keywheel_domain::PolicyPatch::NONE))
}

pub fn move_command(broken: &mut Broken<'_>) -> Option<()> {
    let (moved, _) = accepted(broken)?;
    for entry in &mut broken.entries {
        if let Entry::Command { id, keyring, .. } = entry
            && *id == moved
        {
            "t9/c9".clone_into(keyring);
        }
    }
    Some(())
}

pub fn lose_message(broken: &mut Broken<'_>) -> Option<()> {
    let (last, _) = end_of(broken, "")?;
    broken.lose(|entry| matches!(entry, Entry::Logged { sequence, .. } if *sequence < last))
}

pub fn swap_messages(broken: &mut Broken<'_>) -> Option<()> {
    let first = broken.message(|_| true)?;
    let second = broken.message(|other| other.keyring == first.keyring && other.sequence > first.sequence)?;
    for entry in &mut broken.entries {
        if let Entry::Logged { sequence, .. } = entry {
            if *sequence == first.sequence {
                *sequence = second.sequence;
            } else if *sequence == second.sequence {
                *sequence = first.sequence;
            }
        }
    }
    Some(())
}

pub fn change_message(broken: &mut Broken<'_>) -> Option<()> {
    let used = broken.message(|message| message.event["body"]["uses"] == 1)?;
    let continues = |other: &Message| other.keyring == used.keyring && other.sequence > used.sequence;
    broken.message(continues)?;
    rewrite(broken, used.sequence, |fact| {
        if let Fact::KeySeen(used) = fact {
            used.seen.uses = 2;
        }
    })
}

pub fn revive_revoked(broken: &mut Broken<'_>) -> Option<()> {
    let revoked = broken.message(|message| message.event["body"]["cause"] == "revoked")?;
    let version = Version(u32::try_from(revoked.event["body"]["version"].as_u64()?).ok()?);
    let restored = Restored { to_seq: 1, restored: vec![version], withdrawn: Vec::new() };
    append(broken, &revoked.keyring, 1 << 100, Fact::RolledBack(restored))
}

pub fn lose_receipt(broken: &mut Broken<'_>) -> Option<()> {
    let positions: Vec<u64> = broken
        .messages()
        .into_iter()
        .filter(|message| message.event["body"]["cause"] == "revoked")
        .map(|message| message.sequence)
        .collect();
    broken.lose(|entry| matches!(entry, Entry::Receipt { position, .. } if positions.contains(position)))
}

pub fn change_table(broken: &mut Broken<'_>, behind: bool) -> Option<()> {
    let at = broken.place(|entry| matches!(entry, Entry::Table { .. }))?;
    let Entry::Table { position, digest, .. } = &mut broken.entries[at] else { return None };
    if behind {
        *position -= 1;
    } else {
        digest.push('x');
    }
    Some(())
}

pub fn lose_table(broken: &mut Broken<'_>) -> Option<()> {
    broken.lose(|entry| matches!(entry, Entry::Table { .. }))
}

pub fn leak(broken: &mut Broken<'_>) -> Option<()> {
    broken.entries.push(Entry::Leak { place: "a log: v1 of t0/c0".to_owned() });
    Some(())
}

fn a_delivery(broken: &mut Broken<'_>) -> Option<usize> {
    broken.place(|entry| matches!(entry, Entry::Delivered { .. }))
}

pub fn deliver_early(broken: &mut Broken<'_>) -> Option<()> {
    let place = a_delivery(broken)?;
    let Entry::Delivered { at, .. } = &mut broken.entries[place] else { return None };
    *at = at.saturating_sub(1_000_000);
    Some(())
}

pub fn deliver_another(broken: &mut Broken<'_>) -> Option<()> {
    let place = a_delivery(broken)?;
    let Entry::Delivered { kid, .. } = &mut broken.entries[place] else { return None };
    kid.push('x');
    Some(())
}
