//! Rotations by schedule on a real nats-server: several issuers, issuers killed at any moment, outages,
//! bursts, and what is said where a rotation cannot start. The services run in this process, so that they
//! can be cut off between any two steps; edges and retirers have no part in it.
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs)]

mod deaths;
mod held;
mod overtaken;
mod replicas;
mod rig;
mod server;
