//! The rows themselves, and how they are found: a row lies on two neighbouring cache lines, and an index
//! says its number in one word.

use super::names::Label;
use hashbrown::DefaultHashBuilder;
use keywheel_domain::{At, Digest};
use std::hash::{BuildHasher as _, Hash};

/// Rows lie in pieces, so that no growth copies what is there: whoever verifies would wait for it.
const PIECE_BITS: u32 = 14;
const PIECE_ROWS: usize = 1 << PIECE_BITS;
/// An index grows by one shard at a time, for the same reason.
const SHARD_BITS: u32 = 9;
const SHARD_SLOTS_MIN: usize = 8;

/// One version: 96 bytes.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Cells {
    pub kid: u64,
    /// When it was issued, where it is an imported one.
    pub imported_at: At,
    pub digest: Digest,
    /// Its keyring.
    pub label: Label,
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

/// Rows by the hash of something in them. Seeded: kids and digests are also shown, and imported, by
/// strangers.
#[derive(Debug)]
pub(super) struct Index {
    shards: Vec<Shard>,
    seed: DefaultHashBuilder,
    is_empty: bool,
}

/// Open addressing, with a step of one: who looks for a row finds it on one cache line, nearly always.
/// Between three eighths and three quarters of the slots are taken.
#[derive(Debug, Default)]
struct Shard {
    slots: Box<[Slot]>,
    taken: usize,
}

/// The upper half of the hash, which also says where the slot is, and the row's number plus one; a free
/// one is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot(u64);

impl Default for Index {
    fn default() -> Self {
        let shards = (0..1 << SHARD_BITS).map(|_| Shard::default()).collect();
        Self { shards, seed: DefaultHashBuilder::default(), is_empty: true }
    }
}

impl Index {
    fn place(&self, by: impl Hash) -> (usize, u32) {
        let hash = self.seed.hash_one(by);
        (hash as usize & ((1 << SHARD_BITS) - 1), (hash >> 32) as u32)
    }

    pub fn find(&self, by: impl Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let (shard, mark) = self.place(by);
        self.shards[shard].find(mark, is_it).map(|(_, row)| row)
    }

    /// Adds a row that is not there.
    pub fn insert(&mut self, by: impl Hash, row: u32) {
        let (shard, mark) = self.place(by);
        self.shards[shard].insert(mark, row);
        self.is_empty = false;
    }

    /// Has `row` found instead of the one that is found now.
    pub fn replace(&mut self, by: impl Hash, old: u32, row: u32) {
        let (shard, mark) = self.place(by);
        let shard = &mut self.shards[shard];
        if let Some((place, _)) = shard.find(mark, |known| known == old) {
            shard.slots[place] = Slot::new(mark, row);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.is_empty
    }
}

impl Shard {
    fn find(&self, mark: u32, is_it: impl Fn(u32) -> bool) -> Option<(usize, u32)> {
        let last = self.slots.len().checked_sub(1)?;
        let mut place = mark as usize & last;
        loop {
            let slot = self.slots[place];
            let row = slot.row()?;
            if slot.mark() == mark && is_it(row) {
                return Some((place, row));
            }
            place = (place + 1) & last;
        }
    }

    fn insert(&mut self, mark: u32, row: u32) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        self.put(Slot::new(mark, row));
        self.taken += 1;
    }

    /// By what the slots say: no row is looked at.
    fn grow(&mut self) {
        let slots = vec![Slot::default(); (self.slots.len() * 2).max(SHARD_SLOTS_MIN)];
        let old = std::mem::replace(&mut self.slots, slots.into());
        old.iter().filter(|slot| slot.row().is_some()).for_each(|slot| self.put(*slot));
    }

    fn put(&mut self, slot: Slot) {
        let last = self.slots.len() - 1;
        let mut place = slot.mark() as usize & last;
        while self.slots[place].row().is_some() {
            place = (place + 1) & last;
        }
        self.slots[place] = slot;
    }
}

impl Slot {
    fn new(mark: u32, row: u32) -> Self {
        Self(u64::from(mark) << 32 | (u64::from(row) + 1))
    }

    fn mark(self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn row(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_by_what_it_was_added_by_and_no_other() {
        let mut index = Index::default();
        assert!(index.is_empty());
        let by = |row: u32| u64::from(row) * 7;
        for row in 0..20_000 {
            index.insert(by(row), row);
        }
        for row in 0..20_000 {
            assert_eq!(index.find(by(row), |known| known == row), Some(row));
            assert_eq!(index.find(by(row), |_| false), None);
            assert_eq!(index.find(by(row) + 1, |known| by(known) == by(row) + 1), None);
        }
        assert!(!index.is_empty());
        for Shard { slots, taken } in &index.shards {
            assert!(taken * 4 <= slots.len() * 3 && slots.len() >= *taken, "a look always ends");
        }
    }

    #[test]
    fn another_row_is_found_in_the_place_of_one() {
        let mut index = Index::default();
        (0..100).for_each(|row| index.insert(row % 50, row));
        index.replace(7, 7, 1000);
        assert_eq!(index.find(7, |known| known == 7), None);
        assert_eq!(index.find(7, |known| known == 1000), Some(1000));
        assert_eq!(index.find(7, |known| known == 57), Some(57), "what shares its hash stays");
    }
}
