//! The revocation receipt: which edges refuse the key since when, and by when the others do by themselves.

use super::history::{Happened, History};
use keywheel_domain::event::Ended;
use keywheel_domain::key::Cause;
use keywheel_domain::{EdgeId, Fact, Recorded};
use keywheel_wire::notice::{Receipt, Unreached};
use keywheel_wire::text::{Id, Moment};
use serde::Serialize;

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Revocation {
    /// `tenant/client`.
    pub keyring: String,
    /// The version that the rotation brought.
    pub version: u32,
    /// Its public lookup id.
    pub kid: String,
    /// The versions that were revoked together.
    pub revoked_versions: Vec<u32>,
    /// When, by whom.
    pub revoked: Happened,
    /// In the words of whoever asked.
    pub reason: String,
    /// The command.
    pub command_id: Id,
    /// When it was found that it is in effect.
    pub receipt_at: Moment,
    /// From the decision to there, in milliseconds.
    pub after_ms: u64,
    /// The edges that had to refuse it.
    pub roster: Vec<String>,
    /// Those that do.
    pub refused_on: Vec<String>,
    /// Those that could not be reached, each with the moment by which it refuses by itself.
    pub unreached: Vec<Unreached>,
    /// Before this moment the receipt assumes that no edge's disk was rolled back.
    pub final_at: Moment,
    /// What is missing; nothing in a complete proof.
    pub lacks: Vec<String>,
}

fn revoked(history: &History) -> Result<(&Recorded, &Ended), String> {
    let (_, issued) = history.issued()?;
    let found = history.events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::KeyRetired(ended)
            if ended.cause == Cause::Revoked
                && (ended.version == issued.version || ended.also.contains(&issued.version)) =>
        {
            Some((recorded, ended))
        }
        Fact::KeyRetired(_)
        | Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    });
    found.ok_or_else(|| format!("{} was not revoked", issued.version))
}

/// Where the proof ends.
pub fn end(history: &History) -> Result<u64, String> {
    revoked(history).map(|(recorded, _)| recorded.seq)
}

/// The events up to `end` about which a notice may be part of the proof.
pub fn event_ids(history: &History, end: u64) -> Vec<u128> {
    let within = history.events.iter().filter(|recorded| recorded.seq == end);
    within.map(|recorded| recorded.event.id.0).collect()
}

/// What follows from the messages.
pub fn summary(history: &History) -> Result<Revocation, String> {
    let (_, issued) = history.issued()?;
    let (recorded, ended) = revoked(history)?;
    let about = |receipt: &&Receipt| receipt.event_id.0 == recorded.event.id.0 && receipt.seq == recorded.seq;
    let receipt = history.receipts.iter().find(about);
    let receipt = receipt.ok_or_else(|| format!("{} is revoked, and has no receipt yet", issued.version))?;
    let roster = history.edges(recorded.seq, |removed| removed.event.at <= receipt.at.0);
    let told = |edge: &EdgeId| {
        let name = edge.as_str();
        receipt.applied_on.iter().any(|it| it == name) || receipt.unreached.iter().any(|it| it.edge == name)
    };
    let lacks = roster.iter().filter(|edge| !told(edge));
    let mut versions: Vec<u32> = ended.also.iter().chain([&ended.version]).map(|version| version.0).collect();
    versions.sort_unstable();
    Ok(Revocation {
        keyring: history.address.to_string(),
        version: issued.version.0,
        kid: issued.kid.to_string(),
        revoked_versions: versions,
        revoked: recorded.into(),
        reason: ended.reason.clone().unwrap_or_default(),
        command_id: Id(recorded.event.command.0),
        receipt_at: receipt.at,
        after_ms: receipt.after_ms,
        lacks: lacks.map(|edge| format!("{edge} was on the roster and is not named")).collect(),
        roster: roster.iter().map(ToString::to_string).collect(),
        refused_on: receipt.applied_on.clone(),
        unreached: receipt.unreached.clone(),
        final_at: receipt.final_at,
    })
}
