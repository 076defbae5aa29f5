//! What can go wrong on the bus.

use keywheel_table::TableError;
use keywheel_wire::Malformed;
use std::fmt::Display;
use thiserror::Error;

/// Why something on the bus did not happen.
#[derive(Debug, Error)]
pub enum BusError {
    /// No connection could be made.
    #[error("cannot reach the bus at {url}: {detail}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        detail: String,
    },
    /// The credential file cannot be used.
    #[error("{0}")]
    Credentials(Malformed),
    /// The certificates cannot be used, or one side does not accept the other's.
    #[error("{0}")]
    Tls(Malformed),
    /// The credential lacks a permission that the role needs.
    #[error("the bus denied this role something that it needs: {0}")]
    Denied(String),
    /// No reader would believe this service: its key is neither in the signers file nor introduced, not in that role, or
    /// withdrawn.
    #[error("nobody would believe it: {0}")]
    NotEntitled(String),
    /// The bus did not do it, or it is not known whether it did.
    #[error("{what}: {detail}")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// What the bus or the client said.
        detail: String,
    },
    /// As many as may wait do so already. Nothing was stored; there is room again when some are decided.
    #[error("{what}: as many as may wait there do so already; nothing was stored, try again in a while")]
    Full {
        /// What was tried.
        what: &'static str,
    },
    /// Other writers kept coming first.
    #[error("gave up after {0} attempts: others kept writing to the same keyring")]
    Contended(u32),
    /// The address is frozen: its newest event cannot be understood by this version.
    #[error("frozen: {0}")]
    Frozen(String),
    /// The fold failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// Something could not be written or read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Another stream stands in the place of the log that was followed.
    #[error("the log is not the one that was followed: {0}")]
    OtherLog(String),
    /// The process is shutting down.
    #[error("shutting down")]
    Stopped,
}

impl BusError {
    /// Of trying `what`.
    pub(crate) fn failed(what: &'static str) -> impl FnOnce(&dyn Display) -> BusError {
        move |detail| BusError::Failed { what, detail: detail.to_string() }
    }
}

/// Turns any error into [`BusError::Failed`] with the name of what was tried.
pub(crate) trait Trying<T> {
    fn trying(self, what: &'static str) -> Result<T, BusError>;
}

impl<T, E: Display> Trying<T> for Result<T, E> {
    fn trying(self, what: &'static str) -> Result<T, BusError> {
        self.map_err(|error| BusError::failed(what)(&error))
    }
}
