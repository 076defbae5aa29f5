//! Where a fold stands, as it is kept in its database.

use crate::TableError;
use crate::fold::{damaged, read_note};
use keywheel_wire::chain::Chain;
use rusqlite::Connection;
use sha2::{Digest, Sha256};

/// The note that holds [`Head::hash`].
pub(crate) const HASH: &str = "head";

/// Where a fold stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Everything up to this sequence is applied.
    pub watermark: u64,
    /// The running hash there.
    pub chain: Chain,
    /// The running hash one before, so that the message at the watermark can be checked again.
    pub chain_before: Chain,
    /// The table digest: every row's hash, combined without order.
    pub digest: [u8; 32],
}

impl Head {
    /// Kept beside it: a flipped bit in the position must not look like another log.
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.watermark.to_be_bytes());
        hash.update(self.chain.0);
        hash.update(self.chain_before.0);
        hash.update(self.digest);
        hash.finalize().into()
    }
}

pub(crate) fn read(connection: &Connection) -> Result<Head, TableError> {
    let head =
        connection.query_row("SELECT watermark, chain, chain_before, digest FROM head", [], |row| {
            Ok(Head {
                watermark: row.get(0)?,
                chain: Chain(row.get(1)?),
                chain_before: Chain(row.get(2)?),
                digest: row.get(3)?,
            })
        })?;
    let kept: Option<Vec<u8>> = read_note(connection, HASH)?;
    let fits = kept.map_or(head == Head::default(), |kept| kept == head.hash());
    if fits { Ok(head) } else { Err(damaged("of the position", &"its hash does not match")) }
}
