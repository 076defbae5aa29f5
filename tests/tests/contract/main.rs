//! The wire contract in `schemas/`, held against the code in both directions and against a live run.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../../../shared/wire/tests/wire/anything.rs"]
mod anything;
mod asyncapi;
mod bus_store;
mod cli;
mod documents;
mod edge_answers;
mod fields;
mod future;
mod live;
mod mutants;
mod openapi;
mod proofs;
mod schemas;
mod writers;
