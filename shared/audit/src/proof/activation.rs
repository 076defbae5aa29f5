//! The activation proof: the secret was released only when every edge had applied the key, or could not refuse it.

use super::history::{Happened, History};
use keywheel_domain::event::{Activated, OverBasis};
use keywheel_domain::{Fact, Recorded, Version};
use keywheel_wire::text::Id;
use serde::Serialize;

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activation {
    /// `tenant/client`.
    pub keyring: String,
    /// The version that was handed out.
    pub version: u32,
    /// Its public lookup id.
    pub kid: String,
    /// The versions whose overlap began.
    pub supersedes: Vec<u32>,
    /// When it came to be.
    pub issued: Happened,
    /// When the barrier was passed.
    pub activated: Happened,
    /// The command that led to the key.
    pub command_id: Id,
    /// The position that every edge had applied or could not refuse.
    pub position: u64,
    /// The edges that had to: on the roster before the key was, and still on it.
    pub roster: Vec<String>,
    /// Those that showed that they had applied it.
    pub applied: Vec<String>,
    /// Those whose word was not waited for, and why that is safe.
    pub passed_over: Vec<PassedOver>,
    /// The reason of a person who passed the barrier by hand.
    pub by_hand: Option<String>,
    /// What is missing; nothing in a complete proof.
    pub lacks: Vec<String>,
}

/// An edge whose acknowledgement was not waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// Which.
    pub edge: String,
    /// `silent`: its lease had run out; `lease_waited`: a whole lease had passed since the event.
    pub basis: String,
}

/// The event that handed the key out.
pub(super) fn activated(history: &History) -> Result<(&Recorded, &Activated), String> {
    let (_, issued) = history.issued()?;
    let found = history.events.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::KeyActivated(activated) if activated.version == issued.version => Some((recorded, activated)),
        Fact::KeyActivated(_)
        | Fact::KeyIssued(_)
        | Fact::KeySeen(_)
        | Fact::KeyRetired(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    });
    found.ok_or_else(|| format!("{} was not activated", issued.version))
}

/// Where the proof ends.
pub fn end(history: &History) -> Result<u64, String> {
    activated(history).map(|(recorded, _)| recorded.seq)
}

/// What follows from the messages.
pub fn summary(history: &History) -> Result<Activation, String> {
    let (begin, issued) = history.issued()?;
    let (end, activated) = activated(history)?;
    let barrier = &activated.barrier;
    let roster = history.edges(begin.seq, |removed| removed.seq < end.seq);
    let told =
        |edge| barrier.edges.contains(edge) || barrier.passed_over.iter().any(|over| over.edge == *edge);
    let mut lacks: Vec<String> = roster
        .iter()
        .filter(|edge| !told(edge))
        .map(|edge| format!("{edge} was on the roster and is not named"))
        .collect();
    if barrier.by_hand.is_some() {
        lacks.push("a person passed the barrier by hand".to_owned());
    } else if barrier.position != begin.seq {
        lacks.push(format!(
            "the barrier is of position {}, the key stands at {}",
            barrier.position, begin.seq
        ));
    }
    let basis = |basis| match basis {
        OverBasis::Silent => "silent",
        OverBasis::LeaseWaited => "lease_waited",
    };
    let over = barrier.passed_over.iter();
    Ok(Activation {
        keyring: history.address.to_string(),
        version: issued.version.0,
        kid: issued.kid.to_string(),
        supersedes: activated.supersedes.iter().map(|Version(version)| *version).collect(),
        issued: begin.into(),
        activated: end.into(),
        command_id: Id(begin.event.command.0),
        position: barrier.position,
        roster: roster.iter().map(ToString::to_string).collect(),
        applied: barrier.edges.iter().map(ToString::to_string).collect(),
        passed_over: over
            .map(|over| PassedOver { edge: over.edge.to_string(), basis: basis(over.basis).to_owned() })
            .collect(),
        by_hand: barrier.by_hand.clone(),
        lacks,
    })
}
