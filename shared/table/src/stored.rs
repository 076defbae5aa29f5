//! How an address is kept in a row: packed without names, most of it what no packing makes smaller. The
//! commands that had an effect are rows of their own.

mod read;
mod write;

pub use read::{StoredKey, StoredRow, read};
pub use write::write;

/// An address as bytes, with what it has in common with others ([`crate::part::Part`]), in the order in
/// which its keys name them. Both together are determined by the log alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Sequence, hashes, keys, policies, roster; whether it is frozen, but not why.
    pub body: Vec<u8>,
    /// The packed parts.
    pub parts: Vec<Vec<u8>>,
}

/// What a row has beside its keys, as bits; the number of keys stands above them.
mod row_mark {
    pub const PREV: u64 = 1;
    pub const FROZEN: u64 = 2;
    pub const POLICIES: u64 = 4;
    pub const EDGES: u64 = 8;
    pub const KEYS_SHIFT: u32 = 4;
}

/// What a key has, as bits above the three of its state. What most keys have stands in the first seven.
mod key_mark {
    pub const ISSUED: u64 = 0;
    pub const ACTIVE: u64 = 1;
    pub const RETIRING: u64 = 2;
    pub const RETIRED: u64 = 3;
    pub const REVOKED: u64 = 4;
    pub const STATE: u64 = 7;
    pub const ACTIVATED: u64 = 8;
    pub const SEEN: u64 = 16;
    pub const REPLACES: u64 = 32;
    pub const EXPIRES: u64 = 64;
    pub const IMPORTED: u64 = 128;
    pub const META: u64 = 256;
    pub const QUIET: u64 = 512;
    pub const ALL: u64 = 1023;
}
