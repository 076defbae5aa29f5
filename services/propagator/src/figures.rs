//! What operators watch at a propagator: how long barriers and receipts take, on what they rest, what waits.

use crate::desk::{Desk, Effect};
use keywheel_bus::metrics::durations;
use keywheel_domain::event::{Barrier, OverBasis};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Duration;

const ACTIVATION: &str = "activation";
const DELIVERY: &str = "delivery";
const RECEIPT: &str = "receipt";
const BASES: [&str; 3] = ["applied", "silent", "lease_waited"];
const REACHES: [&str; 2] = ["all", "some"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Work {
    work: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Basis {
    basis: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reach {
    reach: &'static str,
}

/// The propagator's own metrics.
#[derive(Clone, Debug)]
pub struct Figures {
    took: Family<Work, Histogram, fn() -> Histogram>,
    barriers: Family<Basis, Counter>,
    receipts: Family<Reach, Counter>,
    waiting: Gauge,
    in_hand: Gauge,
    edges: Gauge,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            took: Family::new_with_constructor(durations),
            barriers: Family::default(),
            receipts: Family::default(),
            waiting: Gauge::default(),
            in_hand: Gauge::default(),
            edges: Gauge::default(),
        }
    }
}

impl Figures {
    /// Puts them among a service's metrics.
    pub fn register(&self, registry: &mut Registry) {
        let took = self.took.clone();
        registry.register("work_seconds", "From seeing an event to the end of the work that it left", took);
        let barriers = self.barriers.clone();
        registry.register("barriers", "Barriers passed, by the weakest evidence for an edge", barriers);
        registry.register("receipts", "Receipts, by whether all edges were reached", self.receipts.clone());
        registry.register("work_waiting", "Pieces of work that wait for edges", self.waiting.clone());
        registry.register("work_in_hand", "Pieces of work under way", self.in_hand.clone());
        registry.register("edges", "Edges whose word is needed", self.edges.clone());
        for basis in BASES {
            self.barriers.get_or_create(&Basis { basis }).inc_by(0);
        }
        for reach in REACHES {
            self.receipts.get_or_create(&Reach { reach }).inc_by(0);
        }
        for work in [ACTIVATION, DELIVERY, RECEIPT] {
            drop(self.took.get_or_create(&Work { work }));
        }
    }

    /// How the desk stands now.
    pub fn look(&self, desk: &Desk, now: u64) {
        let (waiting, in_hand) = desk.load();
        self.waiting.set(signed(waiting));
        self.in_hand.set(signed(in_hand));
        self.edges.set(signed(desk.fleet().members(now).len()));
    }

    /// An effect was carried out, so long after its event was seen.
    pub(crate) fn carried(&self, done: &Carried, took: Duration) {
        let work = match done {
            Carried::Activation(basis) => {
                self.barriers.get_or_create(&Basis { basis }).inc();
                ACTIVATION
            }
            Carried::Delivery => DELIVERY,
            Carried::Receipt(reach) => {
                self.receipts.get_or_create(&Reach { reach }).inc();
                RECEIPT
            }
        };
        self.took.get_or_create(&Work { work }).observe(took.as_secs_f64());
    }
}

/// An effect, as far as it is counted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carried {
    Activation(&'static str),
    Delivery,
    Receipt(&'static str),
}

impl Carried {
    /// What an effect counts as, and of which event; nothing where it is not counted.
    pub(crate) fn of(effect: &Effect) -> Option<(u64, Carried)> {
        match effect {
            Effect::Activate { seq, barrier, .. } => Some((*seq, Carried::Activation(basis(barrier)))),
            Effect::Deliver { seq, .. } => Some((*seq, Carried::Delivery)),
            Effect::Receipt { seq, unreached, .. } => {
                Some((*seq, Carried::Receipt(REACHES[usize::from(!unreached.is_empty())])))
            }
            Effect::Withdraw { .. } | Effect::Settle { .. } => None,
        }
    }
}

fn basis(barrier: &Barrier) -> &'static str {
    let has = |basis| barrier.passed_over.iter().any(|over| over.basis == basis);
    if has(OverBasis::LeaseWaited) {
        BASES[2]
    } else if has(OverBasis::Silent) {
        BASES[1]
    } else {
        BASES[0]
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
