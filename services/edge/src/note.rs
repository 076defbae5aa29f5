//! What an edge keeps beside its rows, in the same transactions: when it was last known to be fresh,
//! and that its last process ended with its usage complete.

use keywheel_token::{digest_foreign, digest_hex};
use keywheel_wire::usage::LastReport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Name of the note that holds a [`FreshnessNote`].
pub const FRESHNESS: &str = "freshness";
/// Name of the note that holds the last report of a boot that ended by a goodbye; empty when it is void.
pub const GOODBYE: &str = "goodbye";

/// Name of the note that holds what is known of signed heads of the log.
pub const HEADS: &str = "signed-heads";

/// When the rows were last known to be fresh. Counted on by the next process (SAFETY 9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreshnessNote {
    /// Which run of the machine `boot_ms` belongs to.
    pub machine_boot: String,
    /// `CLOCK_BOOTTIME` when the handshake began.
    pub boot_ms: u64,
    /// The wall clock at that moment.
    pub wall_ms: u64,
    /// The latest moment that the wall clock ever showed: expiry never goes back behind it.
    pub wall_high_ms: u64,
}

/// Writes a note as JSON, with its hash before it: a flipped bit must not make an old table look young.
pub fn write<T: Serialize>(value: &T) -> Vec<u8> {
    let json = serde_json::to_string(value).expect("a note has only text and numbers");
    format!("{} {json}", digest_hex(&digest_foreign(&json))).into_bytes()
}

/// Reads a note.
///
/// # Errors
/// Says what is wrong with it: the database is damaged.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    let (hash, json) = text.split_once(' ').ok_or("it has no hash")?;
    if hash != digest_hex(&digest_foreign(json)) {
        return Err("its hash does not match".to_owned());
    }
    serde_json::from_str(json).map_err(|error| error.to_string())
}

/// The note that a boot ended with `last`.
pub fn goodbye(last: LastReport) -> (&'static str, Vec<u8>) {
    (GOODBYE, write(&last))
}

/// The note that voids an earlier goodbye.
pub fn no_goodbye() -> (&'static str, Vec<u8>) {
    (GOODBYE, Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::text::Id;

    #[test]
    fn a_note_is_read_back_and_a_damaged_one_is_not() {
        let note =
            FreshnessNote { machine_boot: "b".to_owned(), boot_ms: 7, wall_ms: 1 << 40, wall_high_ms: 9 };
        let bytes = write(&note);
        assert_eq!(read(&bytes), Ok(note));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(read::<FreshnessNote>(&damaged).is_err(), "byte {at}");
        }
        assert!(read::<FreshnessNote>(b"").is_err());
        let last = LastReport { boot: Id(5), number: 3 };
        assert_eq!(read(&goodbye(last).1), Ok(last));
    }
}
