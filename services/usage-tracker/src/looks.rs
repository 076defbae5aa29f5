//! Reports and looks for a quiet proof, counted for operators.

use crate::quiet::{Blocked, Why};
use keywheel_bus::reports::Taken;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

const FOUND: [&str; 6] = ["proved", "used", "not_covered", "covered_late", "covered_behind", "time"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Found {
    found: &'static str,
}

/// How often each thing was found.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    reports: Counter,
    unreadable: Counter,
    found: Family<Found, Counter>,
}

impl Looks {
    /// Puts them among a service's metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("reports", "Usage reports that were taken", self.reports.clone());
        registry.register("reports_unreadable", "Those of them that say nothing", self.unreadable.clone());
        registry.register("quiet_looks", "Looks for a quiet proof, by what was found", self.found.clone());
        for found in FOUND {
            self.found.get_or_create(&Found { found }).inc_by(0);
        }
    }

    /// Reports were taken off their queue.
    pub(crate) fn taken(&self, taken: &[Taken]) {
        self.reports.inc_by(taken.len() as u64);
        self.unreadable.inc_by(taken.iter().filter(|one| one.report.is_none()).count() as u64);
    }

    /// A version is proved quiet.
    pub fn proved(&self) {
        self.inc(0);
    }

    /// There is no proof now: one count for the look, by the first reason of those that weigh most.
    pub fn blocked(&self, blocked: &Blocked) {
        let whys = || blocked.edges.iter().map(|(_, why)| *why);
        let has = |is: fn(Why) -> bool| whys().any(is);
        self.inc(if blocked.used.is_some() {
            1
        } else if has(|why| why == Why::NotCovered) {
            2
        } else if has(|why| matches!(why, Why::CoveredFrom(_))) {
            3
        } else if has(|why| matches!(why, Why::CoveredThrough(_))) {
            4
        } else {
            5
        });
    }

    fn inc(&self, place: usize) {
        self.found.get_or_create(&Found { found: FOUND[place] }).inc();
    }
}
