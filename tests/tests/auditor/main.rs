//! What an auditor gets from a running stack, and that damage to it shows.

mod desk;
mod exported;
mod proofs;
