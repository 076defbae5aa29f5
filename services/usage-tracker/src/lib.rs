//! The usage-tracker: folds the edges' numbered usage reports into exact counts and quiet proofs, and
//! says in the log what the other services decide on.
//!
//! The log grows with rotations, never with requests. It is told of a version's first use, which lets the
//! version before it retire; of a quiet proof, when nothing else is missing for a retirement; and of a
//! use that voids such a proof. All other use stays in the ledger and is told to whoever asks.
//!
//! One tracker runs at a time. Were there two, each would take a part of the reports, see gaps in their
//! numbers and prove nothing: that fails on the safe side, and only delays.
//!
//! # Layout
//! - [`coverage`]: up to when an edge's reports tell everything
//! - [`counted`]: which reports were counted
//! - [`quiet`]: whether what is known proves that a version was unused
//! - [`agenda`], [`removals`]: what to look at when, and until when a removed edge still counts
//! - [`ledger`]: what is known, durable; a report changes coverage and counts in one transaction
//! - [`looks`]: reports and looks for a proof, counted
//! - `run`: the loop: take reports, commit, acknowledge, void, record, prove
//! - `witness`, [`answer`]: what it asks the bus, and what others ask it

pub mod agenda;
pub mod answer;
pub mod counted;
pub mod coverage;
pub mod ledger;
pub mod looks;
pub mod quiet;
pub mod removals;
mod run;
mod witness;

pub use run::run;

/// The usage-tracker's configuration: that of every deciding service. One instance runs at a time.
pub type Config = keywheel_bus::StationConfig<keywheel_runtime::log::LogConfig>;
