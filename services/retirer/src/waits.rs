//! What retiring versions wait for, counted for operators.

use keywheel_domain::due::{Waiting, retirement};
use keywheel_domain::{At, State};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

const REASONS: [&str; 3] = ["overlap_min", "successor", "quiet"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// How many versions wait, by what for.
#[derive(Clone, Debug, Default)]
pub struct Waits(Family<Reason, Gauge>);

impl Waits {
    /// Puts it among a service's metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("retiring", "Versions in their overlap, by what they wait for", self.0.clone());
    }

    /// Counts anew over all open keyrings.
    pub fn show<'a>(&self, states: impl Iterator<Item = &'a State>, now: At) {
        let mut counts = [0; REASONS.len()];
        for state in states {
            let waiting = state.keys.keys().filter_map(|version| retirement(state, *version, now).err());
            for place in waiting.filter_map(place) {
                counts[place] += 1;
            }
        }
        for (reason, count) in REASONS.into_iter().zip(counts) {
            self.0.get_or_create(&Reason { reason }).set(count);
        }
    }
}

fn place(waiting: Waiting) -> Option<usize> {
    match waiting {
        Waiting::NotRetiring => None,
        Waiting::OverlapMin { .. } => Some(0),
        Waiting::Successor => Some(1),
        Waiting::Quiet { .. } => Some(2),
    }
}
