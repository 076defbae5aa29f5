//! Accepted uses until a report carries them. A count is made before its answer is sent, so that no
//! report can be cut that covers the answer and misses the use.

use keywheel_domain::Kid;
use keywheel_table::Answers;
use keywheel_table::answers::Row;
use keywheel_wire::usage::VersionUse;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The keys with uses that no report has carried yet; the counts themselves lie in the rows.
#[derive(Debug, Default)]
pub struct Tally {
    used: Mutex<Vec<Kid>>,
}

/// What a report may carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Uses by version.
    pub uses: Vec<VersionUse>,
    /// Whether nothing was left.
    pub is_all: bool,
}

impl Tally {
    /// Counts a use.
    pub fn count(&self, row: &Row) {
        if row.uses.fetch_add(1, Ordering::AcqRel) == 0 {
            self.lock().push(row.kid);
        }
    }

    /// Takes the counts of at most `most` versions; the rest stays counted.
    pub fn take(&self, answers: &Answers, most: usize) -> Taken {
        let mut used = std::mem::take(&mut *self.lock());
        let left = used.split_off(most.min(used.len()));
        let is_all = left.is_empty();
        self.lock().extend(left);
        let uses = used.into_iter().filter_map(|kid| answers.by_kid(kid)).filter_map(taken).collect();
        Taken { uses, is_all }
    }

    /// How many versions wait for a report.
    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kid>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken(row: &Row) -> Option<VersionUse> {
    let uses = row.uses.swap(0, Ordering::AcqRel);
    (uses > 0).then(|| VersionUse {
        tenant: row.keyring.tenant.to_string(),
        client: row.keyring.client.to_string(),
        version: row.version.0,
        uses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;

    #[test]
    fn counts_are_taken_once_and_not_more_at_a_time_than_a_report_holds() {
        let scene = Scene::new();
        let tally = Tally::default();
        for (name, times) in [("active", 3), ("retiring", 1), ("strict", 2)] {
            (0..times).for_each(|_| tally.count(scene.row(name)));
        }
        let first = tally.take(&scene.answers, 2);
        assert_eq!(first.uses.iter().map(|each| each.uses).collect::<Vec<_>>(), [3, 1]);
        assert!(!first.is_all);
        tally.count(scene.row("active"));
        let second = tally.take(&scene.answers, 2);
        assert_eq!(second.uses.iter().map(|each| each.uses).sum::<u64>(), 3);
        assert!(second.is_all);
        assert_eq!(tally.take(&scene.answers, 2), Taken { uses: vec![], is_all: true });
    }

    #[test]
    fn a_change_of_the_key_keeps_its_counts() {
        let mut scene = Scene::new();
        let tally = Tally::default();
        tally.count(scene.row("active"));
        scene.retire("active");
        assert_eq!(tally.take(&scene.answers, 10).uses.len(), 1);
    }
}
