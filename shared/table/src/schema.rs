//! The database: opened with every commit durable, created when it is new.

use crate::TableError;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

const SCHEMA: i64 = 3;

const CREATE: &str = "
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    watermark INTEGER NOT NULL,
    chain BLOB NOT NULL,
    chain_before BLOB NOT NULL,
    digest BLOB NOT NULL
);
INSERT INTO head VALUES (1, 0, zeroblob(32), zeroblob(32), zeroblob(32));
CREATE TABLE part (id INTEGER PRIMARY KEY, bytes BLOB NOT NULL);
CREATE TABLE address (place TEXT PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE open (place TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE frozen (place TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
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
    // In KiB, taken only when needed: a transaction of many rows in no order changes a page for each.
    connection.pragma_update(None, "cache_size", -32_768)?;
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

/// Renames a database, with what SQLite keeps beside it: a journal left behind would be applied to the next.
pub(crate) fn set_aside(path: &Path, schema: i64) -> Result<PathBuf, TableError> {
    let named = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let old = format!(".schema-{schema}");
    for beside in ["", "-wal", "-shm"] {
        match std::fs::rename(named(beside), named(&format!("{old}{beside}"))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(named(&old))
}

/// Opens what another connection of this process has open, to read and nothing else.
pub(crate) fn open_to_look(path: &Path) -> Result<Connection, TableError> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}
