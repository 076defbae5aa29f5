//! The fold of the log: the same however it is cut, restarted or replayed, and never over a doubt.
#![allow(clippy::unwrap_used)]

mod answering;
#[allow(dead_code, reason = "wire's tests use all of it")]
#[path = "../../../wire/tests/wire/anything.rs"]
mod anything;
mod belief;
mod cost;
mod damage;
mod folding;
mod keeping;
mod log;
mod many;
mod past;
mod signing;
mod snapshots;
mod storing;
