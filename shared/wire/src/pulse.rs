//! An edge's sign of life: what it has applied, and proof that it could write.

use crate::Malformed;
use crate::text::{Hex32, Id, Moment};
use serde::{Deserialize, Serialize};

/// Largest pulse that is read, in bytes.
pub const PULSE_BYTES_MAX: usize = 4096;

/// A pulse, once a second and soon after an advance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The edge's name on the roster.
    pub id: String,
    /// One run of the edge's process.
    pub boot: Id,
    /// Counted per boot.
    pub number: u64,
    /// The smaller of what is committed and what answers (SAFETY 10).
    pub watermark: u64,
    /// The running hash at the watermark.
    pub chain: Hex32,
    /// The table digest at the watermark.
    pub digest: Hex32,
    /// The edge's wall clock: for an alarm only, it takes part in no proof.
    pub clock: Moment,
    /// Keys in the table.
    pub keys: u64,
    /// The edge's program version.
    pub version: String,
    /// The edge's lease length in milliseconds: one number for the whole fleet, checked by it.
    pub lease_ms: u64,
    /// The newest signed head of the log that its own history agrees with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agrees: Option<Agrees>,
}

/// A signed head that a witness agrees with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agrees {
    /// The position.
    pub seq: u64,
    /// The running hash there, by the witness's own account.
    pub chain: Hex32,
}

/// Reads a pulse.
///
/// # Errors
/// Names the field.
pub fn read(payload: &[u8]) -> Result<Pulse, Malformed> {
    if payload.len() > PULSE_BYTES_MAX {
        return Err(Malformed::new("", format!("a pulse has at most {PULSE_BYTES_MAX} bytes")));
    }
    crate::document::read(payload)
}
