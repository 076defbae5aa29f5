//! Facts and states as short text, so that rows and tables can be read.

use keywheel_domain::event::{Ended, Evidence, Fact, IssueReason, Restored};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::{Event, KeyState, Rejection, State, Version};

/// What a command came to: the event's effect, "already so" or "no: code".
pub fn decided(decided: &Result<Option<Event>, Rejection>) -> String {
    match decided {
        Ok(Some(event)) => effect(&event.fact),
        Ok(None) => "already so".to_owned(),
        Err(rejection) => format!("no: {}", rejection.code()),
    }
}

/// A fact's effect.
pub fn effect(fact: &Fact) -> String {
    match fact {
        Fact::KeyIssued(issued) => {
            let verb = match issued.origin {
                Origin::Minted => "issue",
                Origin::Imported => "import",
            };
            let place = match &issued.reason {
                IssueReason::Issue => String::new(),
                IssueReason::Rotate { supersedes } if supersedes.is_empty() => " for all".to_owned(),
                IssueReason::Rotate { supersedes } => format!(" for {}", list(supersedes)),
            };
            format!("{verb} {}{place}{}", issued.version, suffix(", cancel ", &issued.cancels))
        }
        Fact::KeyActivated(activated) => {
            format!("activate {}{}", activated.version, suffix(" over ", &activated.supersedes))
        }
        Fact::KeySeen(used) if used.seen.quiet.is_some() => format!("{} was quiet", used.version),
        Fact::KeySeen(used) => format!("{} was used", used.version),
        Fact::KeyRetired(ended) => end(ended),
        Fact::RolledBack(restored) => roll_back(restored),
        Fact::PolicySet(_) => "set policy".to_owned(),
        Fact::EdgeAdded(edge) => format!("add {edge}"),
        Fact::EdgeRemoved(edge) => format!("remove {edge}"),
        Fact::SignerAdded(asked) => format!("introduce a {}", asked.role.name()),
        Fact::SignerWithdrawn(_) => "withdraw a signer".to_owned(),
    }
}

fn end(ended: &Ended) -> String {
    let mut all = ended.also.clone();
    all.push(ended.version);
    let verb = match ended.cause {
        Cause::Revoked => "revoke",
        Cause::Cancelled => "cancel",
        Cause::Superseded | Cause::Requested | Cause::Expired | Cause::RolledBack => "retire",
    };
    let evidence = match &ended.evidence {
        None => String::new(),
        Some(Evidence::Quiet { successor, .. }) => format!(": quiet, {successor} in use"),
        Some(Evidence::Deadline { .. }) => ": deadline".to_owned(),
        Some(Evidence::Expired { .. }) => ": expired".to_owned(),
    };
    format!("{verb} {}{evidence}", list(&all))
}

fn roll_back(restored: &Restored) -> String {
    let back = restored.restored.iter().map(|version| format!("{version} active"));
    let away = restored.withdrawn.iter().map(|(version, to)| format!("{version} {}", state(to)));
    format!("back: {}", back.chain(away).collect::<Vec<_>>().join(", "))
}

/// A key's state with its cause.
pub fn state(state: &KeyState) -> String {
    match state {
        KeyState::Retired { cause, .. } => format!("retired ({})", cause_word(*cause)),
        KeyState::Issued | KeyState::Active | KeyState::Retiring(_) | KeyState::Revoked { .. } => {
            state.word().to_owned()
        }
    }
}

pub fn cause_word(cause: Cause) -> &'static str {
    match cause {
        Cause::Superseded => "superseded",
        Cause::Requested => "requested",
        Cause::Revoked => "revoked",
        Cause::Expired => "expired",
        Cause::Cancelled => "cancelled",
        Cause::RolledBack => "rolled back",
    }
}

/// Every version of a keyring with its state.
pub fn keyring(of: &State) -> String {
    let each = of.keys.iter().map(|(version, key)| format!("{version} {}", state(&key.state)));
    each.collect::<Vec<_>>().join(", ")
}

fn suffix(before: &str, versions: &[Version]) -> String {
    if versions.is_empty() { String::new() } else { format!("{before}{}", list(versions)) }
}

fn list(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
