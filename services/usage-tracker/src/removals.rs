//! How long a removed edge still counts. Its credential was withdrawn before, so it cannot be asked any
//! more, and for one lease from its removal on it may serve as fresh: nothing is proved until then.

use keywheel_domain::Span;
use std::collections::BTreeMap;

/// Removals that are younger than a lease by this process's own clock; after a restart, all that were
/// not seen to become older.
#[derive(Debug)]
pub struct Removals {
    lease: Span,
    noticed: BTreeMap<u64, u64>,
}

impl Removals {
    /// For a fleet whose edges have this lease.
    pub fn new(lease: Span) -> Self {
        Self { lease, noticed: BTreeMap::new() }
    }

    /// Takes the positions of all removals that are not settled. Gives those that are to be settled now.
    /// `elapsed_ms` is a clock that nobody can set.
    pub fn notice(&mut self, open: &[u64], elapsed_ms: u64) -> Vec<u64> {
        for seq in open {
            self.noticed.entry(*seq).or_insert(elapsed_ms);
        }
        // A thousandth and a second more than the lease: the edge's clock may run slower than ours.
        let wait = self.lease.0.saturating_add(self.lease.0 / 1000).saturating_add(1000);
        let is_over = |since: &u64| elapsed_ms.saturating_sub(*since) >= wait;
        let over = self.noticed.iter().filter(|(_, since)| is_over(since)).map(|(seq, _)| *seq).collect();
        self.noticed.retain(|_, since| !is_over(since));
        over
    }

    /// Whether a removed edge still counts.
    pub fn is_holding(&self) -> bool {
        !self.noticed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_edge_counts_for_a_lease_and_a_margin() {
        let mut removals = Removals::new(Span::secs(15));
        assert!(!removals.is_holding());
        assert!(removals.notice(&[7], 1_000).is_empty());
        assert!(removals.notice(&[7, 9], 10_000).is_empty());
        assert!(removals.notice(&[7, 9], 17_014).is_empty());
        assert_eq!(removals.notice(&[7, 9], 17_015), [7]);
        assert!(removals.is_holding());
        assert_eq!(removals.notice(&[9], 26_015), [9]);
        assert!(!removals.is_holding());
    }
}
