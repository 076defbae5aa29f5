//! The log folded into SQLite, and the table in memory that answers.
//!
//! # Layout
//! - [`fold`]: applies messages of the log in order; rows, watermark and chain hash in one transaction
//! - `head`: where it stands, guarded against flipped bits
//! - [`Record`]: a message with all that is stored of it
//! - [`replay`]: one address folded in memory; what is believed of a message
//! - `done`: what each command did
//! - [`target`]: the state that a rollback goes back to
//! - [`history`]: one address's events, and its state at any moment between them
//! - [`doubts`]: messages that were not believed, until somebody has told of them
//! - [`weigh`]: what a message says by itself: signature, author, content
//! - `work`: a transaction that is being filled
//! - `rows`, `parts`: the rows of addresses and what many of them share, as they stand in the database
//! - [`stored`], [`part`], `pack`: how both are packed
//! - [`snapshot`]: a fold as one stream of bytes, for a reader that begins with it
//! - `loading`: the table in memory filled from the database
//! - [`answers`]: the edge's table in memory, from which every verification is answered
//! - [`TableError`]: what can go wrong

pub mod answers;
mod done;
pub mod doubts;
mod error;
pub mod fold;
mod head;
pub mod history;
mod loading;
mod pack;
pub mod part;
mod parts;
mod record;
pub mod replay;
mod rows;
mod schema;
pub mod snapshot;
pub mod stored;
pub mod target;
pub mod weigh;
mod work;

pub use answers::Answers;
pub use doubts::Doubted;
pub use error::TableError;
pub use fold::{Applied, Fold, Loaded, Message, Options, look_over};
pub use history::History;
pub use record::Record;
pub use replay::Replay;
pub use weigh::Weighed;
