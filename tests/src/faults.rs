//! The fault campaign: a fleet under traffic, an operator, a nemesis, and a judge who reads what they wrote down.
//!
//! # Layout
//! - [`settings`], [`campaign`]: what is run, from its beginning to its end
//! - [`fleet`], [`process`], [`clocks`], [`routes`]: the installation, process by process
//! - [`plan`], [`nemesis`]: which faults are done when, and how
//! - [`ring`], [`scene`]: what everybody shares
//! - [`clients`], [`operator`], [`watch`]: who uses keys, who sends commands, who follows the bus
//! - [`ledger`], [`moments`]: what is written down, and by which clock
//! - [`rest`], [`leaks`]: the end: the log, the tables, what lies about
//! - [`check`], [`summary`]: the judge, and the figures

pub mod campaign;
pub mod check;
pub mod clients;
pub mod clocks;
pub mod fleet;
pub mod leaks;
pub mod ledger;
pub mod moments;
pub mod nemesis;
pub mod operator;
pub mod plan;
pub mod process;
pub mod rest;
pub mod ring;
pub mod routes;
pub mod scene;
pub mod settings;
pub mod summary;
pub mod watch;
