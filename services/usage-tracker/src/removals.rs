//! Edges that were removed. A removed edge's credential was withdrawn before, so it cannot be asked any
//! more; but what it served until then, and for one lease after, is part of every window that reaches
//! back there (SAFETY 2, 3). It stays a witness whose last contact is its removal.

use crate::coverage::Coverage;
use crate::quiet::{Silence, Witness};
use keywheel_domain::{At, EdgeId, Span};
use std::collections::BTreeMap;

/// No window reaches back further than this, unless its policy asks for more than a month of quiet.
const REACH: Span = Span::days(31);

/// Removals that a window may still reach back to.
#[derive(Debug)]
pub struct Removals {
    lease: Span,
    removed: BTreeMap<u64, (EdgeId, At)>,
}

impl Removals {
    /// For a fleet whose edges have this lease.
    pub fn new(lease: Span) -> Self {
        Self { lease, removed: BTreeMap::new() }
    }

    /// Whether the removal at this position is known.
    pub fn knows(&self, seq: u64) -> bool {
        self.removed.contains_key(&seq)
    }

    /// An edge was removed at a position of the log that the bus stored at `stored_at`.
    pub fn notice(&mut self, seq: u64, edge: EdgeId, stored_at: At) {
        self.removed.insert(seq, (edge, stored_at));
    }

    /// Forgets the removals to which no window reaches back any more, and gives their positions.
    pub fn forget(&mut self, now: At) -> Vec<u64> {
        let reach = self.lease.0.saturating_add(REACH.0);
        let is_over = |(_, stored_at): &(EdgeId, At)| now.since(*stored_at) > Span(reach);
        let over: Vec<u64> =
            self.removed.iter().filter(|(_, removal)| is_over(removal)).map(|(seq, _)| *seq).collect();
        self.removed.retain(|_, removal| !is_over(removal));
        over
    }

    /// What is known of each removed edge that is not on the roster again.
    pub fn witnesses(
        &self,
        is_on_roster: impl Fn(&EdgeId) -> bool,
        coverage: &BTreeMap<EdgeId, Coverage>,
    ) -> Vec<Witness> {
        let last: BTreeMap<&EdgeId, At> =
            self.removed.values().map(|(edge, stored_at)| (edge, *stored_at)).collect();
        let witness = |(edge, contact): (&EdgeId, At)| Witness {
            edge: edge.clone(),
            covered: coverage.get(edge).and_then(Coverage::stretch),
            silence: Some(Silence { contact, horizon: self.lease }),
        };
        last.into_iter().filter(|(edge, _)| !is_on_roster(edge)).map(witness).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quiet::{Asked, prove};
    use keywheel_domain::event::CoverBasis;

    fn edge(name: &str) -> EdgeId {
        EdgeId::parse(name).unwrap()
    }

    #[test]
    fn a_removed_edge_counts_for_a_lease_and_a_margin() {
        let mut removals = Removals::new(Span::secs(15));
        removals.notice(7, edge("e1"), At(100_000));
        assert!(removals.knows(7));
        let edges = removals.witnesses(|_| false, &BTreeMap::new());
        let quiet = Span::secs(60);
        let asked = |now| Asked { quiet, last_use: None, now: At(now), edges: &edges };
        assert!(prove(&asked(100_000 + 16_015 + 60_000 + 1_999)).is_err(), "the window reaches back to it");
        let proof = prove(&asked(100_000 + 16_015 + 60_000 + 2_000)).unwrap();
        assert_eq!(proof.from, At(116_015));
        assert_eq!(proof.edges[0].basis, CoverBasis::PastHorizon);
    }

    #[test]
    fn an_edge_that_is_back_on_the_roster_is_not_a_removed_one() {
        let mut removals = Removals::new(Span::secs(15));
        removals.notice(7, edge("e1"), At(1000));
        removals.notice(9, edge("e1"), At(2000));
        let found = removals.witnesses(|_| false, &BTreeMap::new());
        assert_eq!(found[0].silence.map(|silence| silence.contact), Some(At(2000)), "the last one counts");
        assert!(removals.witnesses(|on| *on == edge("e1"), &BTreeMap::new()).is_empty());
    }

    #[test]
    fn a_removal_is_forgotten_when_no_window_reaches_back_to_it() {
        let mut removals = Removals::new(Span::secs(15));
        removals.notice(7, edge("e1"), At(1000));
        let reach = Span::days(31).0 + 15_000;
        assert!(removals.forget(At(1000 + reach)).is_empty());
        assert_eq!(removals.forget(At(1001 + reach)), [7]);
        assert!(!removals.knows(7));
    }
}
