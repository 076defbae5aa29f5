//! The parts that rows of one database share, each kept once. Their numbers are this database's own.

use crate::TableError;
use crate::fold::damaged;
use crate::part::Part;
#[cfg(test)]
use keywheel_domain::KeySpec;
use rusqlite::{Connection, Transaction, params};
use std::collections::HashMap;
use std::sync::Arc;

/// How many are kept by number; what comes later stands in its row. So that what is different in every
/// row does not fill the memory.
const PARTS_MAX: usize = 1 << 16;

/// Every part that has a number, from 1.
#[derive(Default)]
pub(crate) struct Parts {
    known: Vec<Part>,
    numbers: HashMap<Arc<[u8]>, u64>,
}

/// How a row counts a part.
pub(crate) struct Counted {
    /// By which the row names it; none where it stands in the row itself.
    pub(crate) number: Option<u64>,
    /// SHA-256 of its content.
    pub(crate) hash: [u8; 32],
}

impl Parts {
    /// Those of a database.
    pub(crate) fn load(connection: &Connection) -> Result<Self, TableError> {
        let mut parts = Self::default();
        let mut select = connection.prepare("SELECT id, bytes FROM part ORDER BY id")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            let (id, bytes): (u64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let part = Part::read(&bytes).map_err(|error| damaged("of shared parts", &error))?;
            if parts.push(part) != id {
                return Err(damaged("of shared parts", &"one is missing or stands twice"));
            }
        }
        Ok(parts)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    /// Forgets those that were added after there were `count`: they were not committed.
    pub(crate) fn forget_after(&mut self, count: usize) {
        for part in self.known.drain(count..) {
            self.numbers.remove(&part.bytes);
        }
    }

    /// By its number.
    pub(crate) fn get(&self, number: u64) -> Option<&Part> {
        self.known.get(usize::try_from(number).ok()?.checked_sub(1)?)
    }

    /// How a row names a part and counts it. A new one is kept.
    pub(crate) fn count_in(
        &mut self,
        transaction: &Transaction<'_>,
        bytes: &[u8],
    ) -> Result<Counted, TableError> {
        if let Some(number) = self.numbers.get(bytes)
            && let Some(part) = self.get(*number)
        {
            return Ok(Counted { number: Some(*number), hash: part.hash });
        }
        let part = Part::read(bytes).map_err(|error| damaged("of shared parts", &error))?;
        let hash = part.hash;
        if self.known.len() >= PARTS_MAX {
            return Ok(Counted { number: None, hash });
        }
        let number = self.push(part);
        transaction.prepare_cached("INSERT INTO part VALUES (?1, ?2)")?.execute(params![number, bytes])?;
        Ok(Counted { number: Some(number), hash })
    }

    /// As many as are kept.
    #[cfg(test)]
    pub(crate) fn fill(&mut self) {
        for n in 0..PARTS_MAX {
            let spec = KeySpec { scopes: vec![format!("scope-{n}")], ..KeySpec::default() };
            self.push(Part::read(&crate::part::grant(&spec)).unwrap());
        }
    }

    fn push(&mut self, part: Part) -> u64 {
        let number = self.known.len() as u64 + 1;
        self.numbers.insert(Arc::clone(&part.bytes), number);
        self.known.push(part);
        number
    }
}
