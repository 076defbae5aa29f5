//! Notices: receipts, alarms, barriers passed. For people and programs that watch.

use crate::Malformed;
use crate::text::{Hex32, Id, Moment};
use serde::{Deserialize, Serialize};

/// Largest notice that is read, in bytes: a receipt names every edge.
pub const NOTICE_BYTES_MAX: usize = 900 * 1024;

/// Something worth knowing that is no fact of the log itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// How far an ending (or a rollback) has reached the edges.
    Receipt(Receipt),
    /// Something needs a person.
    Alarm(Alarm),
    /// Where the log stood, as the propagator saw it.
    Head(SignedHead),
}

impl Notice {
    /// The last token of its subject.
    pub fn kind(&self) -> &'static str {
        match self {
            Notice::Receipt(_) => "receipt",
            Notice::Alarm(_) => "alarm",
            Notice::Head(_) => "head",
        }
    }
}

/// Evidence that an event is in effect: no request that arrives at an edge in `refused_on` after `at`
/// is answered by what held before; the edges in `unreached` stop by themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The event whose effect is proven.
    pub event_id: Id,
    /// Its type.
    pub event_type: String,
    /// Its position in the log.
    pub seq: u64,
    /// The command that led to it.
    pub command_id: Id,
    /// The version concerned, the newest of several.
    pub version: Option<u32>,
    /// When this was found.
    pub at: Moment,
    /// From the event's decision to here, in milliseconds.
    pub after_ms: u64,
    /// Edges on the roster.
    pub edges: u64,
    /// Those that have applied it.
    pub applied_on: Vec<String>,
    /// Those that could not be reached.
    pub unreached: Vec<Unreached>,
    /// From this moment on the receipt assumes nothing about disks: before it, that none was rolled back.
    pub final_at: Moment,
}

/// An edge that did not acknowledge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreached {
    /// Which.
    pub edge: String,
    /// The moment by which its serving horizon makes it refuse by itself.
    pub refuses_by: Moment,
}

/// Something needs a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// For programs.
    pub code: String,
    /// For people.
    pub detail: String,
    /// When.
    pub at: Moment,
    /// The event concerned, when there is one.
    pub seq: Option<u64>,
}

/// Where the log stood: who has seen it refuses a log whose history was another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedHead {
    /// Whose log.
    pub installation: Id,
    /// When that was created: another time is another log.
    pub log_created: Moment,
    /// The position.
    pub seq: u64,
    /// The running hash there.
    pub chain: Hex32,
    /// The digest there of the table of those who believe what the propagator believes.
    pub digest: Hex32,
    /// When, by the propagator's clock.
    pub at: Moment,
}

/// Reads a notice.
///
/// # Errors
/// When it is none.
pub fn read(payload: &[u8]) -> Result<Notice, Malformed> {
    if payload.len() > NOTICE_BYTES_MAX {
        return Err(Malformed::new("", format!("a notice has at most {NOTICE_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(payload).map_err(|error| Malformed::new("", format!("no notice: {error}")))
}
