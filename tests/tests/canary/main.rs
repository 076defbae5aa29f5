//! No key text outside its owner's hands: a thousand keys are minted, used and misused on a whole stack,
//! then every file, every answer and the memory of every process is searched for each of them.
//!
//! # Layout
//! - [`promise`]: the test itself
//! - [`minting`]: keys by the hundred, each opened as its owner would
//! - [`showing`]: keys shown to edges, in the right places and in all the wrong ones
//! - [`pasting`]: keys put by mistake where commands have other fields
//! - [`needles`]: what is searched for, in each form
//! - [`places`]: where: files, what the edges tell, environments, arguments and memory of processes
#![allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm, missing_docs)]

mod minting;
mod needles;
mod pasting;
mod places;
mod promise;
mod showing;
