//! The database: opened with every commit durable, created when it is new.

use crate::TableError;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

const SCHEMA: i64 = 2;

const CREATE: &str = "
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    watermark INTEGER NOT NULL,
    chain BLOB NOT NULL,
    chain_before BLOB NOT NULL,
    digest BLOB NOT NULL
);
INSERT INTO head VALUES (1, 0, zeroblob(32), zeroblob(32), zeroblob(32));
CREATE TABLE address (
    subject TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    prev BLOB,
    open INTEGER NOT NULL,
    frozen TEXT,
    state BLOB NOT NULL,
    hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX address_open ON address (open) WHERE open = 1;
CREATE TABLE command (
    subject TEXT NOT NULL,
    id BLOB NOT NULL,
    event BLOB NOT NULL,
    kind TEXT NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER,
    kid TEXT,
    rotation BLOB,
    PRIMARY KEY (subject, id)
) WITHOUT ROWID;
CREATE TABLE pending (seq INTEGER PRIMARY KEY, subject TEXT NOT NULL);
CREATE TABLE doubted (
    seq INTEGER PRIMARY KEY,
    subject TEXT NOT NULL,
    freezes INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
";

/// Opens the database at `path`, durable at every commit.
pub(crate) fn open(path: &Path) -> Result<Connection, TableError> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 20_000)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => {
            connection.execute_batch(&format!("BEGIN;{CREATE}PRAGMA user_version = {SCHEMA};COMMIT;"))?;
            Ok(connection)
        }
        SCHEMA => Ok(connection),
        found => Err(TableError::Schema { path: path.display().to_string(), found, known: SCHEMA }),
    }
}

/// Opens what another connection of this process has open, to read and nothing else.
pub(crate) fn open_to_look(path: &Path) -> Result<Connection, TableError> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}
