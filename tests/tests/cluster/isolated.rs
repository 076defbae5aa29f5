//! A server that lost both others still takes clients. They have to leave it by themselves: nothing else tells them that
//! nobody is behind it.

use crate::deposed::pulse;
use crate::nodes::{Nodes, edge};
use keywheel_stack::permissions::Role;
use std::time::{Duration, Instant};

/// The silence that is borne, a question that nobody answers, an election, and a pulse that was under way.
const SOON: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn a_client_leaves_a_server_that_lost_the_others() {
    let nodes = Nodes::start().await;
    let role = Role::Edge(edge());
    let bus = nodes.connect(&role, &[0, 1, 2]).await;
    bus.put_pulse(&edge(), &pulse(1)).await.unwrap();
    let mut at = 0;
    while !nodes.has(at, &role).await {
        at += 1;
    }
    nodes.isolate(at);
    let began = Instant::now();
    let mut number = 1;
    let shaken = async {
        loop {
            number += 1;
            // The first may get through before anybody knows.
            let stored = bus.put_pulse(&edge(), &pulse(number)).await.is_ok();
            if stored && bus.head_and_age().await.is_ok() && !nodes.has(at, &role).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(SOON, shaken).await.expect("the edge stays where it reaches nobody");
    println!("elsewhere after {:?}", began.elapsed());
}
