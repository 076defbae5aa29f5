//! Snapshots and signed heads on a real nats-server: how an edge begins, and which log it refuses.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

#[expect(dead_code, reason = "the edge's own tests need more of it")]
#[path = "../../../services/edge/tests/live/history.rs"]
mod history;
mod odd;
#[expect(dead_code, reason = "the edge's own tests need more of it")]
#[path = "../../../services/edge/tests/live/process.rs"]
mod process;
#[path = "../../../services/edge/tests/live/server.rs"]
mod server;
mod starting;
mod store;
mod witness;

use history::History;
use keywheel_bus::{Bus, topology};
use keywheel_domain::EdgeId;
use server::Server;
use std::path::Path;

/// A server with everything made, an empty log, and a folder for the edge.
async fn begin(folder: &Path) -> (Server, Bus, History) {
    let server = Server::start(folder).expect(
        "these tests run a real nats-server: set KEYWHEEL_TEST_NATS to its path, as tests/run.sh does",
    );
    let admin = server.admin().await;
    topology::ensure(&admin, 1, 1).await.unwrap();
    topology::ensure_edge(&admin, &EdgeId::parse("e1").unwrap()).await.unwrap();
    let history = History::new(&server).await;
    (server, admin, history)
}
