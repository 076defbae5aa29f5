//! One who sends commands faster than they can be handled, and does not wait for outcomes.

use crate::scene::Scene;
use keywheel_domain::Address;
use keywheel_token::id;
use keywheel_wire::subject::{self, Verb};
use keywheel_wire::text;
use serde_json::json;
use std::collections::BTreeMap;
use std::future::IntoFuture as _;

/// As many as one connection has under way at once.
const UNDER_WAY: usize = 500;

/// What became of what was sent.
#[derive(Default)]
pub struct Sent {
    /// Ids of the commands that the bus took.
    pub taken: Vec<u128>,
    /// What it said to the others, and how often.
    pub refused: BTreeMap<String, u64>,
}

/// Sends `times` rotations, one keyring after another.
pub async fn rotations(scene: &Scene, keyrings: &[Address], times: usize) -> Sent {
    let mut sent = Sent::default();
    let all: Vec<&Address> = keyrings.iter().cycle().take(times).collect();
    for some in all.chunks(UNDER_WAY) {
        let mut under_way = Vec::new();
        for address in some {
            let id = id::fresh();
            let document =
                json!({ "id": text::id(id), "actor": "loop", "recipient": scene.operator.recipient() });
            let subject = subject::command(address, Verb::Rotate);
            let published = scene.bus.publish(subject, document.to_string().into()).await.unwrap();
            under_way.push((id, published.into_future()));
        }
        for (id, acknowledged) in under_way {
            match acknowledged.await {
                Ok(_) => sent.taken.push(id),
                Err(error) => *sent.refused.entry(error.to_string()).or_default() += 1,
            }
        }
    }
    sent
}
