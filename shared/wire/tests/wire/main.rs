//! What goes over the bus: round trips, golden samples, and whatever else comes by.
#![allow(clippy::unwrap_used)]

mod anything;
mod commands;
mod golden;
mod golden_documents;
mod hostile;
mod next_version;
mod round_trip;
mod samples;
mod signing;
mod subjects;
mod trust;
mod witness;
