//! A running server's store is damaged: every edge and every service that follows it notices and applies nothing more,
//! and `keywheel audit verify` names it.
//!
//! Each kind runs several random cases, side by side, each on a nats-server of its own. `KEYWHEEL_DAMAGES` says how many
//! (5), `KEYWHEEL_DAMAGES_SEED` repeats them.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod case;
mod disk;
#[expect(dead_code, reason = "the edge's own tests need more of it")]
#[path = "../../../services/edge/tests/live/history.rs"]
mod history;
#[expect(dead_code, reason = "the edge's own tests need more of it")]
#[path = "../../../services/edge/tests/live/process.rs"]
mod process;
#[path = "../../../services/edge/tests/live/server.rs"]
mod server;
mod streams;
