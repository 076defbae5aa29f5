//! The log folded into SQLite, and the table in memory that answers.
//!
//! # Layout
//! - [`fold`]: applies messages of the log in order; rows, watermark and chain hash in one transaction
//! - [`replay`]: one address folded in memory
//! - [`stored`]: how a state is kept in a row
//! - [`answers`]: the edge's table in memory, from which every verification is answered
//! - [`TableError`]: what can go wrong

pub mod answers;
mod error;
pub mod fold;
pub mod replay;
mod schema;
pub mod stored;

pub use answers::Answers;
pub use error::TableError;
pub use fold::{Applied, Fold, Loaded, Message, Options};
pub use replay::Replay;
