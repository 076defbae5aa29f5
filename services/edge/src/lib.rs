//! The edge: replays the log into a table of its own and answers from it whether a key is valid, also
//! while the bus is away. Whose log it is, and how fresh the table is, it proves with every pulse.
//!
//! A process (`keywheel run edge`, feature `server`) or, without features, a library: [`Verifier`]. The feature
//! `tower` adds [`AuthorizeLayer`], the feature `axum` an extractor of the [`Identity`] that the layer found.
//!
//! # Layout
//! - [`Verifier`]: the check inside a service; [`authorize`]: as a layer before its routes
//! - [`config`]: what it is told; [`place`]: where to listen
//! - [`lease`]: how long it may count as fresh; [`note`]: what of that survives a restart
//! - [`verify`]: the check itself; [`address`]: where a request comes from; [`tally`]: what was accepted;
//!   [`refusals`]: what was refused as retired
//! - [`table`]: the one lock that the answers, the lease and the tally's closing stand under; `stripes`:
//!   what threads have each for themselves
//! - [`storage`]: its database, opened or set aside; [`start`]: begun with a snapshot; [`follow`]: from the log into
//!   the table; [`witness`]: held against signed heads; [`turn`]: when it is read anew; [`copy`]: the log's copy;
//!   [`scrub`]: whether both are what they were
//! - [`pulse`], [`report`]: what it says of itself; [`upkeep`]: all that keeps a table
//! - [`http`] and its parts, [`envoy`]: what others ask it; [`metrics`]: what operators watch
//! - [`listen`], [`serve`], [`crowd`], [`pace`], [`wiped`]: where they ask, within which bounds, and what is left of it
//! - [`run()`]: all of it together as a process

pub mod address;
#[cfg(feature = "tower")]
pub mod authorize;
pub mod config;
pub mod copy;
#[cfg(feature = "server")]
pub mod crowd;
#[cfg(feature = "server")]
pub mod envoy;
#[cfg(feature = "axum")]
mod extract;
pub mod follow;
pub mod http;
pub mod lease;
#[cfg(feature = "server")]
pub mod listen;
pub mod metrics;
pub mod note;
#[cfg(feature = "server")]
pub mod pace;
pub mod place;
pub mod pulse;
pub mod refusals;
pub mod report;
#[cfg(feature = "server")]
mod run;
pub mod scrub;
#[cfg(feature = "server")]
pub mod serve;
pub mod start;
pub mod storage;
mod stripes;
pub mod table;
pub mod tally;
pub mod turn;
pub mod upkeep;
mod verifier;
pub mod verify;
#[cfg(feature = "server")]
pub mod wiped;
pub mod witness;

#[cfg(test)]
mod scene;

#[cfg(feature = "tower")]
pub use authorize::AuthorizeLayer;
pub use config::Config;
pub use keywheel_domain::verdict::Refusal;
#[cfg(feature = "server")]
pub use run::run;
pub use table::Answered;
pub use verifier::Verifier;
pub use verify::Identity;
