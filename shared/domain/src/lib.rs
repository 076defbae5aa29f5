//! The state machine of a keyring: which commands are allowed, what they make true, what is due next.
//!
//! Everything here is a plain, synchronous, total function over plain data. Nothing in this crate
//! reads a clock, draws a random number, knows an encoding or waits for anything; what a decision
//! needs is put into the [`Command`] by whoever asks for it.
//!
//! # Layout
//! - [`name`]: tenants, clients, edges, keyrings, actors: what is addressed, and by which alphabet
//! - [`key`]: one version of a key and the states that it passes through
//! - [`time`]: instants and spans
//! - [`policy`]: how long things last, and the defaults
//! - [`command`]: what can be asked for
//! - [`event`]: what can have happened
//! - [`state`]: what is true now, of a keyring, a tenant or the installation
//! - [`decide()`], [`evolve()`], [`due`]: the machine
//! - [`signer`]: whose word counts from which position on
//! - [`rollback`]: what going back does, and what it cannot do
//! - [`mod@undo`]: when a rotation is undone by itself
//! - [`schedule`]: when a keyring is rotated by itself, and what keeps it from that
//! - [`rejection`]: why a command was refused
//! - [`verdict`]: what an edge answers when it is shown a key
//! - [`past`], [`hindsight`]: where a history ends that is asked about, and what edges can have answered then

pub mod command;
mod decide;
pub mod due;
pub mod event;
mod evolve;
pub mod hindsight;
pub mod key;
pub mod name;
pub mod past;
pub mod policy;
pub mod rejection;
pub mod rollback;
pub mod schedule;
pub mod signer;
pub mod state;
pub mod time;
pub mod undo;
pub mod verdict;

pub use command::{Act, Command};
pub use decide::decide;
pub use due::{next, wants_quiet_proof};
pub use event::{Event, Fact, Recorded};
pub use evolve::evolve;
pub use key::{Digest, Key, KeySpec, KeyState, Kid, Version};
pub use name::{Actor, Address, Client, EdgeId, KeyringId, LeafId, Service, Tenant};
pub use past::Cut;
pub use policy::{Policy, PolicyPatch};
pub use rejection::Rejection;
pub use signer::SignerKey;
pub use state::State;
pub use time::{At, Span};
