//! The machine's rules, one row each: what happened, what is asked, what comes of it.

mod ending;
mod issuing;
mod policies;
mod retiring;
mod rolling_back;
#[path = "../scene/mod.rs"]
mod scene;
mod scheduling;
mod serving;
mod signing;
mod superseding;
mod undoing;
