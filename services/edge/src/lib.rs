//! The edge: replays the log into a table of its own and answers from it whether a key is valid, also
//! while the bus is away. Whose log it is, and how fresh the table is, it proves with every pulse.
//!
//! # Layout
//! - [`config`]: what it is told
//! - [`lease`]: how long it may count as fresh; [`note`]: what of that survives a restart
//! - [`verify`]: the check itself; [`address`]: where a request comes from; [`tally`]: what was accepted
//! - [`table`]: the one lock that the answers, the lease and the tally's closing stand under
//! - [`storage`]: its database, opened or set aside; [`follow`]: from the log into the table
//! - [`pulse`], [`report`]: what it says of itself
//! - [`http`] and its parts, [`envoy`]: what others ask it; [`metrics`]: what operators watch
//! - [`listen`], [`serve`], [`pace`], [`wiped`]: where they ask, within which bounds, and what is left of it
//! - [`run()`]: all of it together

pub mod address;
pub mod config;
pub mod envoy;
pub mod follow;
pub mod http;
pub mod lease;
pub mod listen;
pub mod metrics;
pub mod note;
pub mod pace;
pub mod pulse;
pub mod report;
mod run;
pub mod serve;
pub mod storage;
pub mod table;
pub mod tally;
pub mod verify;
pub mod wiped;

#[cfg(test)]
mod scene;

pub use config::Config;
pub use run::run;
