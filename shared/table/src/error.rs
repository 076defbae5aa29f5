//! What can go wrong between the log and the table.

use thiserror::Error;

/// Why messages could not be applied, or a row could not be read.
#[derive(Debug, Error)]
pub enum TableError {
    /// SQLite said no.
    #[error("the database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A message is missing before this one; nothing after the gap was applied.
    #[error("the log has a gap: expected sequence {expected}, got {got}")]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        got: u64,
    },
    /// The log does not continue what was applied: cut, restored, recreated or altered.
    #[error("the log at sequence {seq} is not the log that was applied before: {detail}")]
    Diverged {
        /// Where it was noticed.
        seq: u64,
        /// What differs.
        detail: String,
    },
    /// A row cannot be read back.
    #[error("row {subject} is damaged: {detail}")]
    Damaged {
        /// Which row.
        subject: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A snapshot is not what was promised of it; nothing of it was taken over.
    #[error("the snapshot cannot be used: {0}")]
    Snapshot(String),
    /// A file beside the database, or a snapshot, cannot be read or written.
    #[error("a file: {0}")]
    Io(#[from] std::io::Error),
    /// The database belongs to another program or a newer version.
    #[error(
        "{path} was written by schema {found}, this program knows {known}; set it aside, it is rebuilt from the log"
    )]
    Schema {
        /// The file.
        path: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
}

impl TableError {
    /// Whether the file's content is to blame, so that setting it aside and reading the log again
    /// helps. A full disk, a lock or missing rights are not of that kind.
    pub fn is_damage(&self) -> bool {
        match self {
            TableError::Damaged { .. } | TableError::Schema { .. } => true,
            TableError::Gap { .. }
            | TableError::Diverged { .. }
            | TableError::Snapshot(_)
            | TableError::Io(_) => false,
            TableError::Sqlite(error) if is_cut_off(error) => true,
            TableError::Sqlite(error) => !error.sqlite_error_code().is_some_and(is_of_the_machine),
        }
    }
}

/// It ends before what it says it holds.
fn is_cut_off(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ)
}

fn is_of_the_machine(code: rusqlite::ErrorCode) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        code,
        Code::PermissionDenied
            | Code::DatabaseBusy
            | Code::DatabaseLocked
            | Code::OutOfMemory
            | Code::ReadOnly
            | Code::OperationInterrupted
            | Code::SystemIoFailure
            | Code::DiskFull
            | Code::CannotOpen
            | Code::FileLockingProtocolFailed
            | Code::NoLargeFileSupport
    )
}
