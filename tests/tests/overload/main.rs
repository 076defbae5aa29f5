//! More than can be handled: what is bounded, who waits for whom, what is refused and how, and that it is over when it
//! is over. Figures are printed beside those of a quiet moment; what is asserted is generous.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod commands;
mod flood;
mod many;
mod scene;
mod trickle;
mod usage;
mod user;
