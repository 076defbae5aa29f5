//! The model: a small world around the services' real step functions, in which everything that SAFETY
//! names can go wrong, and its promises held against every answer and every event.
//!
//! Real are: the state machine, the propagator's desk, the edge's table with lease, tally and reporter, the
//! tracker's ledger, coverage, proofs and removals. Simulated are the log and the bus, clocks, links,
//! crashes, and the shells that carry messages between them. Runs are random but for their seed:
//! `KEYWHEEL_MODEL_RUNS` says how many, `KEYWHEEL_MODEL_SEED` where the first begins.
//!
//! Left out: another log, snapshots, batches, imports, several trackers at a time, a bus whose clock goes
//! back, and a pulse that is stored again after a later one.
//!
//! # Layout
//! - [`world`]: true time and what happens in it; [`rng`]: chance
//! - [`log`], [`bus`]: what is kept; [`link`]: what goes between an edge and them
//! - [`edge`] with its [`replica`], [`propagator`], [`commands`], [`tracker`]: the processes;
//!   [`gate`]: how each decides
//! - [`clients`], [`operator`], [`storm`]: who uses all this, and what befalls it
//! - [`promises`], [`served`], [`reference`]: what must hold
//! - [`runs`]: random runs; [`rules`]: one scene for each rule's trace
#![allow(clippy::unwrap_used)]

mod bus;
mod clients;
mod commands;
mod edge;
mod gate;
mod happening;
mod link;
mod log;
mod operator;
mod promises;
mod propagator;
mod reference;
mod replica;
mod rng;
mod rules;
mod runs;
mod served;
mod storm;
mod tracker;
mod world;
