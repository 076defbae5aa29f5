//! Events as sentences.

use crate::await_activation::proof_words;
use crate::words::{count, list, second};
use keywheel_domain::event::{
    Activated, CoverBasis, Covered, Ended, Evidence, Fact, IssueReason, Issued, Restored, Used,
};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::signer::{Introduced, Withdrawn};
use keywheel_domain::{KeyState, PolicyPatch, Recorded, Version};
use keywheel_runtime::plain;
use keywheel_wire::body::{cause_word, type_word};
use keywheel_wire::policy::WirePatch;
use serde_json::Value;

/// One event on one line: time, position, address, type, what happened, who asked.
pub(crate) fn line(recorded: &Recorded) -> String {
    let event = &recorded.event;
    format!(
        "{}  {:>6}  {}  {}  {} (by {})",
        second(event.at),
        recorded.seq,
        event.address,
        type_word(event.fact.kind()),
        fact_words(&event.fact),
        event.actor.as_str()
    )
}

/// What happened, without when and by whom.
pub(crate) fn fact_words(fact: &Fact) -> String {
    // Reasons and scopes in the log are as whoever wrote them wrote them.
    plain::line(&words(fact)).into_owned()
}

fn words(fact: &Fact) -> String {
    match fact {
        Fact::KeyIssued(issued) => issued_words(issued),
        Fact::KeyActivated(activated) => activated_words(activated),
        Fact::KeySeen(used) => used_words(used),
        Fact::KeyRetired(ended) => ended_words(ended),
        Fact::RolledBack(restored) => restored_words(restored),
        Fact::PolicySet(patch) => format!("policy: {}", patch_words(patch)),
        Fact::EdgeAdded(edge) => format!("{edge} is on the roster"),
        Fact::EdgeRemoved(edge) => format!("{edge} is off the roster"),
        Fact::SignerAdded(Introduced { key, role, warrant }) => {
            format!("{key} signs as {} from here on; by the word of {}", role.name(), warrant.by)
        }
        Fact::SignerWithdrawn(Withdrawn { key, reason, warrant }) => {
            format!("{key} is not believed from here on ({reason}); by the word of {}", warrant.by)
        }
    }
}

fn issued_words(issued: &Issued) -> String {
    let how = match (&issued.reason, issued.origin) {
        (IssueReason::Issue, Origin::Minted) => "issued".to_owned(),
        (IssueReason::Issue, Origin::Imported) => "imported".to_owned(),
        (IssueReason::Rotate { supersedes }, _) if supersedes.is_empty() => "issued by a rotation".to_owned(),
        (IssueReason::Rotate { supersedes }, _) => {
            format!("issued by a rotation, to supersede {}", list(supersedes))
        }
    };
    let mut text = format!("{} {how}, kid {}", issued.version, issued.kid);
    if !issued.spec.scopes.is_empty() {
        text.push_str(&format!(", scopes {}", issued.spec.scopes.join(" ")));
    }
    if let Some(end) = issued.spec.expires_at {
        text.push_str(&format!(", expires {}", second(end)));
    }
    if !issued.cancels.is_empty() {
        text.push_str(&format!("; cancels {}", list(&issued.cancels)));
    }
    text
}

fn activated_words(activated: &Activated) -> String {
    let supersedes = match activated.supersedes.as_slice() {
        [] => String::new(),
        versions => format!("; supersedes {}", list(versions)),
    };
    format!("{} activated, {}{supersedes}", activated.version, proof_words(activated))
}

fn used_words(used: &Used) -> String {
    let seen = &used.seen;
    let mut text = used.version.to_string();
    match (seen.first_use, seen.last_use) {
        (Some(first), Some(last)) => text.push_str(&format!(
            " seen in use: {}, first {}, last {}",
            count(usize::try_from(seen.uses).unwrap_or(usize::MAX), "time"),
            second(first),
            second(last)
        )),
        (None, _) | (_, None) => text.push_str(" never seen in use"),
    }
    if let Some(proof) = &seen.quiet {
        let (from, through) = (second(proof.from), second(proof.complete_through));
        let edges = list(proof.edges.iter().map(covered_words));
        text.push_str(&format!("; unused after {from} until {through} on every edge: {edges}"));
    }
    text
}

fn covered_words(covered: &Covered) -> String {
    match covered.basis {
        CoverBasis::Reported => format!("{} reported", covered.edge),
        CoverBasis::PastHorizon => format!("{} past its horizon", covered.edge),
    }
}

/// The end of versions, with the evidence.
pub(crate) fn ended_words(ended: &Ended) -> String {
    let versions: Vec<Version> = ended.also.iter().chain([&ended.version]).copied().collect();
    let mut text = format!("{} {}", list(versions), ending(ended.cause));
    if let Some(reason) = &ended.reason {
        text.push_str(&format!(": {reason}"));
    }
    match ended.evidence {
        None => {}
        Some(Evidence::Quiet { from, through, successor }) => text.push_str(&format!(
            ": unused after {} until {} on every edge, {successor} in use",
            second(from),
            second(through)
        )),
        Some(Evidence::Deadline { deadline }) => {
            text.push_str(&format!(": its overlap_max ended {}", second(deadline)));
        }
        Some(Evidence::Expired { expires_at }) => {
            text.push_str(&format!(": its end was {}", second(expires_at)))
        }
    }
    text
}

fn ending(cause: Cause) -> String {
    match cause {
        Cause::Revoked => "revoked".to_owned(),
        Cause::Superseded | Cause::Requested | Cause::Expired | Cause::Cancelled | Cause::RolledBack => {
            format!("retired ({})", cause_word(cause))
        }
    }
}

fn restored_words(restored: &Restored) -> String {
    let mut parts = Vec::new();
    if !restored.restored.is_empty() {
        parts.push(format!("{} active again", list(&restored.restored)));
    }
    parts.extend(restored.withdrawn.iter().map(|(version, state)| match state {
        KeyState::Retiring(overlap) => {
            format!("{version} retiring, until {} at most", second(overlap.deadline))
        }
        KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. } => {
            format!("{version} {}", state.word())
        }
    }));
    format!("rolled back to position {}: {}", restored.to_seq, parts.join(", "))
}

fn patch_words(patch: &PolicyPatch) -> String {
    let Ok(Value::Object(fields)) = serde_json::to_value(WirePatch::from(patch)) else {
        return String::new();
    };
    if fields.is_empty() {
        return "nothing set, all falls back".to_owned();
    }
    let field = |(name, value): (&String, &Value)| {
        format!("{name} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    fields.iter().map(field).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
