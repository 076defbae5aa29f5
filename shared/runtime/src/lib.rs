//! The one runtime of every service: configuration, logs, signals, clocks. Imports nothing of ours.
//!
//! A service's `main` reads its configuration, starts the logs and hands its body to [`service::run`];
//! bad configuration ends it with code 64 before any port opens.
//!
//! # Layout
//! - [`config`]: a TOML file overlaid by the environment; errors that say what to do
//! - [`log`]: text or JSON on standard error
//! - [`dumps`]: nobody looks into a process's memory; [`descriptors`]: how much it may have open
//! - `observe` (feature): `/livez`, `/readyz` and `/metrics` of a service
//! - [`plain`]: text from outside on a line of ours
//! - [`service`]: runs a body until it ends or is told to, with a bounded drain
//! - [`shutdown`]: how a body learns that it shall end
//! - [`exit`]: exit codes, and errors as one line
//! - [`clock`]: the only readers of clocks
//! - [`retry`]: how long to wait before the next attempt

pub mod clock;
pub mod config;
pub mod descriptors;
pub mod dumps;
mod error;
pub mod exit;
pub mod log;
#[cfg(feature = "observe")]
pub mod observe;
pub mod plain;
pub mod retry;
pub mod service;
pub mod shutdown;

pub use error::{ConfigError, Place};
pub use shutdown::Shutdown;
