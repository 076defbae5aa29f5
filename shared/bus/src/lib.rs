//! The bus: the only crate that talks to NATS.
//!
//! # Layout
//! - [`connect`]: one connection per process, its identity, its permission alarms
//! - `lookout`: away from a server that lost the others
//! - [`topology`]: the streams and durables, created or checked
//! - [`mirror`]: a region's own copy of the log, on a leaf
//! - [`log`]: append under the exact-subject condition, read back, the head
//! - [`batch`]: many messages in one synced write
//! - [`follow`]: replay of the log into a fold, without a gap, for ever
//! - `ahead`: reads and weighs ahead of what is applied
//! - `acquaintance`: whom a process believes, as far as it knows the log
//! - `histories`: single addresses' histories
//! - [`gate`]: `execute`, the one way for a fact to enter the log
//! - [`commands`]: publishing commands, waiting for outcomes
//! - [`intake`]: commands from their queue to their outcomes; `group`: those that were taken together
//! - [`station`]: what every deciding service starts from
//! - [`metrics`]: what operators watch at a service
//! - [`records`]: the log as it is stored, header by header
//! - [`restore`]: a lost log put back from a copy
//! - [`results`]: outcomes and intents
//! - [`parcel`]: sealed secrets, staged and delivered
//! - [`pulses`], [`reports`], [`notices`]: what goes beside the log; [`heads`]: signed heads, held against it
//! - [`snapshots`]: of the table, put and read chunk by chunk
//! - [`survey`]: what there is, for whoever looks for what is wrong
//! - [`ask`]: micro service registration, questions and answers
//! - [`BusError`]: what can go wrong

mod acquaintance;
mod ahead;
pub mod ask;
pub mod batch;
pub mod commands;
pub mod connect;
mod error;
pub mod follow;
pub mod gate;
mod group;
pub mod heads;
mod histories;
pub mod intake;
pub mod log;
mod lookout;
pub mod metrics;
pub mod mirror;
pub mod notices;
mod overtake;
pub mod parcel;
pub mod pulses;
mod queue;
pub mod records;
pub mod reports;
pub mod restore;
pub mod results;
pub mod snapshots;
pub mod station;
pub mod survey;
mod tls;
pub mod topology;

pub use connect::{Bus, BusConfig, BusOptions};
pub use error::BusError;
pub use follow::{Follower, SharedFold};
pub use gate::{Executed, Gate};
pub use metrics::Watch;
pub use station::{Station, StationConfig};
pub use tls::TlsConfig;
