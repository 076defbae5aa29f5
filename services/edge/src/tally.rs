//! Accepted uses until a report carries them. A count is made before its answer is sent, so that no
//! report can be cut that covers the answer and misses the use.

use crate::stripes::Stripes;
use keywheel_table::Answers;
use keywheel_table::answers::Row;
use keywheel_wire::usage::{VersionRefused, VersionUse};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The keys with uses that no report has carried yet; the counts themselves lie in the rows.
#[derive(Debug, Default)]
pub struct Tally {
    /// By number ([`keywheel_domain::Kid::number`]), as rows have them.
    used: Stripes<Mutex<Vec<u64>>>,
}

/// What a report may carry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Uses by version.
    pub uses: Vec<VersionUse>,
    /// Refusals by retired version.
    pub refused: Vec<VersionRefused>,
    /// Whether nothing was left.
    pub is_all: bool,
}

impl Tally {
    /// Counts a use.
    pub fn count(&self, row: Row<'_>) {
        if row.count_use() {
            lock(self.used.own()).push(row.number());
        }
    }

    /// Takes the counts of at most `most` versions; the rest stays counted.
    pub fn take(&self, answers: &Answers, most: usize) -> Taken {
        let mut used: Vec<u64> = Vec::new();
        let mut is_all = true;
        for stripe in self.used.all() {
            let mut stripe = lock(stripe);
            let taken = stripe.len().min(most - used.len());
            used.extend(stripe.drain(..taken));
            is_all &= stripe.is_empty();
        }
        let rows = used.into_iter().filter_map(|kid| answers.by_number(kid));
        Taken { uses: rows.filter_map(taken).collect(), refused: Vec::new(), is_all }
    }

    /// Goes on with the counts of `old` in `new`, whose place it takes. Nobody may count meanwhile.
    pub fn keep(&self, old: &Answers, new: &mut Answers) {
        for stripe in self.used.all() {
            new.keep_uses(old, lock(stripe).iter().copied());
        }
    }

    /// How many versions wait for a report.
    pub fn waiting(&self) -> usize {
        self.used.all().map(|stripe| lock(stripe).len()).sum()
    }
}

fn lock(used: &Mutex<Vec<u64>>) -> MutexGuard<'_, Vec<u64>> {
    used.lock().unwrap_or_else(PoisonError::into_inner)
}

fn taken(row: Row<'_>) -> Option<VersionUse> {
    let uses = row.take_uses();
    let (tenant, client) = row.names();
    (uses > 0).then(|| VersionUse {
        tenant: tenant.to_owned(),
        client: client.to_owned(),
        version: row.version().0,
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
        assert_eq!(tally.take(&scene.answers, 2), Taken { is_all: true, ..Taken::default() });
    }

    #[test]
    fn what_other_threads_counted_is_taken_too() {
        let scene = Scene::new();
        let tally = Tally::default();
        std::thread::scope(|threads| {
            for name in ["active", "retiring", "strict"] {
                let (scene, tally) = (&scene, &tally);
                threads.spawn(move || (0..50).for_each(|_| tally.count(scene.row(name))));
            }
        });
        assert_eq!(tally.waiting(), 3);
        let first = tally.take(&scene.answers, 2);
        assert_eq!((first.uses.len(), first.is_all), (2, false));
        let second = tally.take(&scene.answers, 2);
        let uses = first.uses.iter().chain(&second.uses).map(|each| each.uses);
        assert_eq!((uses.collect::<Vec<_>>(), second.is_all), (vec![50; 3], true));
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
