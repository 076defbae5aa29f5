//! Whole stacks of real processes on a real nats-server: a key's life, services killed in mid-rotation,
//! edges cut off, silent, late and damaged, several of each service.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs)]

mod cli;
mod clocks;
mod commands;
mod cut_off;
mod fleets;
mod forged;
mod forger;
mod importing;
mod kills;
mod offline;
mod past;
mod process;
mod replicas;
mod rotation;
mod scene;
mod schedule;
mod servers;
mod signers;
mod snapshots;
mod tables;
mod undoing;
mod undone;
