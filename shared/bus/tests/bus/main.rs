//! The bus on a real nats-server, whose path `KEYWHEEL_TEST_NATS` names.
#![allow(clippy::unwrap_used)]

mod appending;
mod counting;
mod following;
mod gates;
mod groups;
mod identity;
mod intake;
mod intents;
mod reading;
#[path = "../server/mod.rs"]
mod server;
mod stage;
mod topologies;
