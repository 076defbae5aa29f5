//! The rows themselves, and how they are found: one cache line each, and a small number per index entry.

use hashbrown::{DefaultHashBuilder, HashTable};
use keywheel_domain::Digest;
use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::AtomicU64;

/// Rows lie in pieces, so that no growth copies what is there: whoever verifies would wait for it.
const PIECE_BITS: u32 = 14;
const PIECE_ROWS: usize = 1 << PIECE_BITS;
/// An index grows by one shard at a time, for the same reason.
const SHARD_BITS: u32 = 9;

/// One version: 64 bytes.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Cells {
    pub kid: u64,
    pub digest: Digest,
    /// Accepted uses that no report has carried yet.
    pub uses: AtomicU64,
    /// Its keyring's place among the names.
    pub name: u32,
    /// Its place among the terms.
    pub terms: u32,
    /// Its place among the lives.
    pub life: u32,
    pub version: u32,
}

/// Rows by their number, which stays.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pieces: Vec<Vec<Cells>>,
}

impl Rows {
    pub fn push(&mut self, cells: Cells) -> u32 {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE_ROWS) {
            self.pieces.push(Vec::with_capacity(PIECE_ROWS));
        }
        let number = self.count();
        self.pieces.last_mut().expect("there is room in the last piece").push(cells);
        u32::try_from(number).expect("a table has no 2^32 rows")
    }

    pub fn at(&self, row: u32) -> &Cells {
        &self.pieces[(row >> PIECE_BITS) as usize][row as usize & (PIECE_ROWS - 1)]
    }

    pub fn at_mut(&mut self, row: u32) -> &mut Cells {
        &mut self.pieces[(row >> PIECE_BITS) as usize][row as usize & (PIECE_ROWS - 1)]
    }

    pub fn count(&self) -> usize {
        let full = self.pieces.len().saturating_sub(1) * PIECE_ROWS;
        full + self.pieces.last().map_or(0, Vec::len)
    }
}

/// Entries by the hash of something in the row that they name. Seeded: kids and digests are also shown,
/// and imported, by strangers.
#[derive(Debug)]
pub(super) struct Index<E> {
    shards: Vec<HashTable<E>>,
    seed: DefaultHashBuilder,
    count: usize,
}

impl<E> Default for Index<E> {
    fn default() -> Self {
        let shards = (0..1 << SHARD_BITS).map(|_| HashTable::new()).collect();
        Self { shards, seed: DefaultHashBuilder::default(), count: 0 }
    }
}

impl<E> Index<E> {
    /// The low and the highest bits are the shard's own.
    fn shard(hash: u64) -> usize {
        (hash >> 40) as usize & ((1 << SHARD_BITS) - 1)
    }

    pub fn find(&self, by: impl Hash, is_it: impl FnMut(&E) -> bool) -> Option<&E> {
        let hash = self.seed.hash_one(by);
        self.shards[Self::shard(hash)].find(hash, is_it)
    }

    pub fn find_mut(&mut self, by: impl Hash, is_it: impl FnMut(&E) -> bool) -> Option<&mut E> {
        let hash = self.seed.hash_one(by);
        self.shards[Self::shard(hash)].find_mut(hash, is_it)
    }

    /// Adds an entry that is not there; `by_of` says by what an entry is found.
    pub fn insert<B: Hash>(&mut self, by: B, entry: E, by_of: impl Fn(&E) -> B) {
        let (seed, hash) = (&self.seed, self.seed.hash_one(by));
        self.shards[Self::shard(hash)].insert_unique(hash, entry, |entry| seed.hash_one(by_of(entry)));
        self.count += 1;
    }

    pub fn count(&self) -> usize {
        self.count
    }
}
