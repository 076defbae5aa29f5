//! What is answered to a command, and the intent that is written before an event is appended.

use crate::Malformed;
use crate::body::type_word;
use crate::text::Id;
use keywheel_domain::state::Done;
use serde::{Deserialize, Serialize};

/// Largest outcome or intent that is read, in bytes.
pub const OUTCOME_BYTES_MAX: usize = 16 * 1024;

/// The last message of a command's result subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Result {
    /// The command is decided.
    Final(Outcome),
    /// Somebody is about to append (SAFETY 12).
    Intent(Intent),
}

/// An intent to append: a promise that the append will be conditional on `expects`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The command.
    pub command_id: Id,
    /// The subject's last sequence on which the acceptance was decided.
    pub intent: u64,
}

/// A command's outcome: the same word for word for the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The command.
    pub command_id: Id,
    /// What became of it.
    pub outcome: Word,
    /// The event that it made.
    pub event: Option<EventRef>,
    /// Why it was refused.
    pub rejection: Option<RejectionRef>,
    /// The version concerned.
    pub version: Option<u32>,
    /// That version's public id.
    pub kid: Option<String>,
    /// The rotation concerned.
    pub rotation_id: Option<Id>,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Word {
    /// It made an event.
    Accepted,
    /// It was so already.
    Unchanged,
    /// It was refused.
    Rejected,
}

/// The event that a command made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRef {
    /// Its id.
    pub id: Id,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its position in the log.
    pub seq: u64,
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionRef {
    /// For programs.
    pub code: String,
    /// For people.
    pub detail: String,
}

impl Outcome {
    /// Accepted, as the state remembers it for ever.
    pub fn accepted(command: u128, done: &Done) -> Self {
        Self {
            command_id: Id(command),
            outcome: Word::Accepted,
            event: Some(EventRef {
                id: Id(done.event.0),
                kind: type_word(done.kind).to_owned(),
                seq: done.seq,
            }),
            rejection: None,
            version: done.version.map(|version| version.0),
            kid: done.kid.map(|kid| kid.to_string()),
            rotation_id: done.rotation.map(|rotation| Id(rotation.0)),
        }
    }

    /// Already so.
    pub fn unchanged(command: u128) -> Self {
        Self {
            command_id: Id(command),
            outcome: Word::Unchanged,
            event: None,
            rejection: None,
            version: None,
            kid: None,
            rotation_id: None,
        }
    }

    /// Refused.
    pub fn rejected(command: u128, code: &str, detail: &str) -> Self {
        let rejection = RejectionRef { code: code.to_owned(), detail: detail.to_owned() };
        Self { outcome: Word::Rejected, rejection: Some(rejection), ..Self::unchanged(command) }
    }
}

/// Reads the last message of a result subject.
///
/// # Errors
/// When it is neither an outcome nor an intent.
pub fn read(payload: &[u8]) -> std::result::Result<Result, Malformed> {
    if payload.len() > OUTCOME_BYTES_MAX {
        return Err(Malformed::new("", format!("an outcome has at most {OUTCOME_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(payload).map_err(|error| Malformed::new("", format!("no outcome: {error}")))
}
