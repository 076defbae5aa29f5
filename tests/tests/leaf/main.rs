//! A region: a leaf of the hub with a mirror of the log, and an edge that reads it. The configuration is the one that
//! `deploy/leaf` has.
#![allow(clippy::unwrap_used)]

mod away;
mod forged;
mod limits;
mod site;
