//! Waits until every edge answers that it is ready, and says who is awaited.

use crate::failure::{Failure, say};
use crate::monitor::Monitor;
use crate::settings::{Edge, Fleet};
use anyhow::Result;
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_millis(100);
const BETWEEN_LINES: Duration = Duration::from_secs(5);

/// Waits for all of them.
///
/// # Errors
/// When some are not ready after `patience`, with their names.
pub async fn await_edges(monitor: &Monitor, fleet: &Fleet, patience: Duration) -> Result<()> {
    let began = Instant::now();
    let mut next_line = BETWEEN_LINES;
    let mut awaited: Vec<&Edge> = fleet.edges.iter().collect();
    loop {
        awaited = unready(monitor, awaited).await;
        if awaited.is_empty() {
            return Ok(());
        }
        if began.elapsed() >= patience {
            let detail =
                format!("not ready after {patience:?}: {}; see their logs in the home", names(&awaited));
            return Err(Failure::unfinished(detail).into());
        }
        if began.elapsed() >= next_line {
            say(&format!("still waiting for {}", names(&awaited)));
            next_line += BETWEEN_LINES;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn unready<'a>(monitor: &Monitor, edges: Vec<&'a Edge>) -> Vec<&'a Edge> {
    let mut left = Vec::new();
    for edge in edges {
        if !monitor.is_ok(&format!("{}/readyz", edge.url())).await {
            left.push(edge);
        }
    }
    left
}

fn names(edges: &[&Edge]) -> String {
    edges.iter().map(|edge| edge.id.as_str()).collect::<Vec<_>>().join(", ")
}
