//! What an auditor gets from a running stack, and that damage to it shows.
#![allow(clippy::unwrap_used)]

mod desk;
mod exported;
mod proofs;
