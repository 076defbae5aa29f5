//! Refusals of retired keys until a report carries them: of a key that was shown whole, so that nobody who knows
//! its public id alone can make it look wanted.

use keywheel_table::answers::Row;
use keywheel_wire::usage::VersionRefused;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most versions that are counted at once; others wait until these are reported.
const VERSIONS_MAX: usize = 10_000;

/// The counts of one process.
#[derive(Debug, Default)]
pub struct Refusals {
    /// By the kid's number, as rows have it.
    counts: Mutex<BTreeMap<u64, VersionRefused>>,
}

impl Refusals {
    /// Counts a refusal.
    pub fn count(&self, row: Row<'_>) {
        let mut counts = self.lock();
        let has_room = counts.len() < VERSIONS_MAX;
        match counts.get_mut(&row.number()) {
            Some(one) => one.refused = one.refused.saturating_add(1),
            None if has_room => {
                let (tenant, client) = row.names();
                let (tenant, client) = (tenant.to_owned(), client.to_owned());
                let one = VersionRefused { tenant, client, version: row.version().0, refused: 1 };
                counts.insert(row.number(), one);
            }
            None => {}
        }
    }

    /// Takes the counts of at most `most` versions; the rest stays counted. Says whether nothing was left.
    pub fn take(&self, most: usize) -> (Vec<VersionRefused>, bool) {
        let mut counts = self.lock();
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((_, one)) = counts.pop_first()
        {
            taken.push(one);
        }
        (taken, counts.is_empty())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, VersionRefused>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;

    #[test]
    fn counts_are_taken_once_and_not_more_at_a_time_than_a_report_holds() {
        let scene = Scene::new();
        let refusals = Refusals::default();
        for (name, times) in [("retired", 3), ("active", 1), ("strict", 2)] {
            (0..times).for_each(|_| refusals.count(scene.row(name)));
        }
        let (first, is_all) = refusals.take(2);
        assert_eq!((first.len(), is_all), (2, false));
        let (second, is_all) = refusals.take(2);
        assert_eq!((second.len(), is_all), (1, true));
        assert_eq!(first.iter().chain(&second).map(|one| one.refused).sum::<u64>(), 6);
        assert_eq!(refusals.take(2), (vec![], true));
    }
}
