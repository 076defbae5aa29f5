//! Which messages were not believed, kept in the same transaction until somebody has told of them: an
//! alarm must survive a restart as the rows do.

use crate::TableError;
use keywheel_wire::belief::Doubt;
use rusqlite::{Connection, Row, Transaction, params};

/// A message that was not believed, and of which nobody has told yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubted {
    /// Its position.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Why it does not count.
    pub doubt: Doubt,
}

pub(crate) fn put(
    transaction: &Transaction<'_>,
    seq: u64,
    subject: &str,
    doubt: &Doubt,
) -> Result<(), TableError> {
    transaction.prepare_cached("INSERT OR IGNORE INTO doubted VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        seq,
        subject,
        doubt.freezes(),
        doubt.reason()
    ])?;
    Ok(())
}

pub(crate) fn oldest(connection: &Connection, most: usize) -> Result<Vec<Doubted>, TableError> {
    let mut select = connection
        .prepare_cached("SELECT seq, subject, freezes, reason FROM doubted ORDER BY seq LIMIT ?1")?;
    let read = |row: &Row<'_>| {
        let (freezes, reason): (bool, String) = (row.get(2)?, row.get(3)?);
        let doubt = if freezes { Doubt::Freeze(reason) } else { Doubt::Skip(reason) };
        Ok(Doubted { seq: row.get(0)?, subject: row.get(1)?, doubt })
    };
    let found = select.query_map([u64::try_from(most).unwrap_or(u64::MAX)], read)?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(crate) fn forget(connection: &Connection, seq: u64) -> Result<(), TableError> {
    connection.execute("DELETE FROM doubted WHERE seq = ?1", [seq])?;
    Ok(())
}
