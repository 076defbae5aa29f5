//! The local stack: `keywheel up` runs everything on one machine, `keywheel edge add|remove|snapshot|mirror` changes its fleet,
//! `keywheel doctor` says what is wrong with it.
//!
//! # Layout
//! - [`up`], [`edge_cli`], [`mirror_cli`], [`snapshot_cli`], [`doctor`], [`restore`]: the commands
//! - [`plan`]: what a start will run, from what the [`home`] remembers ([`settings`]) and the command line says
//! - [`accounts`], [`permissions`], [`nats_conf`]: who may do what on the bus, as a server configuration
//! - [`leaf`]: a region's own server beside the hub; [`leaf_folder`]: what its machine is given
//! - [`certificates`], [`tls_flags`]: TLS on the bus
//! - [`nats`]: the server; [`monitor`]: what it and the edges say over HTTP
//! - [`children`], [`spawn`]: processes that are restarted when they die and end when we do
//! - [`secrets`], [`process_config`], [`ports`], [`context`]: what is written into the home
//! - [`place`]: which installation an `edge` command is about
//! - [`installation`]: topology and roster, at the bus; [`admission`]: who is let in there
//! - [`ready`], [`added`], [`summary`], [`verify`]: waiting and telling
//! - [`failure`]: exit codes

pub mod accounts;
pub mod added;
pub mod admission;
pub mod certificates;
pub mod children;
pub mod context;
pub mod doctor;
pub mod edge_cli;
pub mod failure;
pub mod home;
pub mod installation;
pub mod leaf;
pub mod leaf_folder;
pub mod mirror_cli;
pub mod monitor;
pub mod nats;
pub mod nats_conf;
pub mod permissions;
pub mod place;
pub mod plan;
pub mod ports;
pub mod process_config;
pub mod ready;
pub mod restore;
pub mod secrets;
pub mod settings;
pub mod snapshot_cli;
pub mod spawn;
pub mod summary;
pub mod tls_flags;
pub mod up;
pub mod verify;

pub use doctor::Doctor;
pub use edge_cli::EdgeCommand;
pub use failure::{Options, Output};
pub use restore::Restore;
pub use up::Up;
