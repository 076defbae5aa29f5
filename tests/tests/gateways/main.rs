//! The shipped gateway configurations on the real gateways, before a real stack: what a client is answered, what
//! reaches the service behind, and what happens when the edge cannot say or is away. `KEYWHEEL_TEST_GATEWAYS` names
//! the folder that `deploy/get-gateways.sh` prints; without it, or without a gateway in it, that one is not tested.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, missing_docs)]

mod promises;
mod site;
mod upstream;

use keywheel_tests::gateway::{Kind, program};
use keywheel_tests::stack::nats_server;
use site::Site;

async fn keeps_its_promises(kind: Kind) {
    let Some(program) = program(kind).filter(|_| nats_server().is_some()) else {
        eprintln!("KEYWHEEL_TEST_GATEWAYS has no {}, or there is no nats-server: not tested", kind.name());
        return;
    };
    let site = Site::start(kind, &program).await;
    promises::identity(&site).await;
    promises::forgery(&site).await;
    promises::refusals(&site).await;
    promises::doubled(&site).await;
    promises::scopes(&site).await;
    promises::requests(&site).await;
    promises::addresses(&site).await;
    promises::kept_connections(&site).await;
    promises::stale_edge(&site).await;
    promises::edge_away(&site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx() {
    keeps_its_promises(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy() {
    keeps_its_promises(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy() {
    keeps_its_promises(Kind::Haproxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy() {
    keeps_its_promises(Kind::Envoy).await;
}
