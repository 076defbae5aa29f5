//! Accepted uses until a report carries them. A count is made before its answer is sent, so that no
//! report can be cut that covers the answer and misses the use.

use crate::stripes::Stripes;
use keywheel_table::Answers;
use keywheel_table::answers::Row;
use keywheel_wire::usage::{VersionRefused, VersionUse};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PIECE_BITS: u32 = 14;
const PIECE_ROWS: usize = 1 << PIECE_BITS;

/// The keys with uses that no report has carried yet. Each thread counts for itself: a key that several
/// threads see often would else be a cache line that they wait for.
#[derive(Debug, Default)]
pub struct Tally {
    stripes: Stripes<Mutex<Counts>>,
}

/// Uses by a row's place in the table: one byte each, so that the counts of many keys lie close together,
/// and what did not fit.
#[derive(Debug, Default)]
struct Counts {
    pieces: Vec<Option<Box<[u8]>>>,
    beyond: HashMap<u32, u64>,
    /// The places whose count is not 0, in the order of their first use.
    used: VecDeque<u32>,
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
        lock(self.stripes.own()).add(row.place(), 1);
    }

    /// Takes the counts of at most `most` versions; the rest stays counted.
    pub fn take(&self, answers: &Answers, most: usize) -> Taken {
        let mut taken: BTreeMap<u32, u64> = BTreeMap::new();
        let mut is_all = true;
        for stripe in self.stripes.all() {
            let mut counts = lock(stripe);
            while taken.len() < most
                && let Some((place, uses)) = counts.pop()
            {
                *taken.entry(place).or_default() += uses;
            }
            is_all &= counts.used.is_empty();
        }
        let uses = taken.into_iter().map(|(place, uses)| used(answers.at(place), uses)).collect();
        Taken { uses, refused: Vec::new(), is_all }
    }

    /// Goes on with the counts of `old` in `new`, whose place it takes. Nobody may count meanwhile.
    pub fn keep(&self, old: &Answers, new: &Answers) {
        for stripe in self.stripes.all() {
            let mut counts = lock(stripe);
            let mut before = std::mem::take(&mut *counts);
            while let Some((place, uses)) = before.pop() {
                if let Some(row) = new.by_number(old.at(place).number()) {
                    counts.add(row.place(), uses);
                }
            }
        }
    }

    /// How many versions wait for a report; one that several threads saw may count several times.
    pub fn waiting(&self) -> usize {
        self.stripes.all().map(|stripe| lock(stripe).used.len()).sum()
    }
}

impl Counts {
    fn add(&mut self, place: u32, uses: u64) {
        let count = cell(&mut self.pieces, place);
        let is_first = *count == 0;
        match u8::try_from(u64::from(*count) + uses) {
            Ok(sum) => *count = sum,
            // The cell stays above 0: its place is among the used ones already.
            Err(_) => {
                *self.beyond.entry(place).or_default() += u64::from(*count) + uses - 1;
                *count = 1;
            }
        }
        if is_first {
            self.used.push_back(place);
        }
    }

    fn pop(&mut self) -> Option<(u32, u64)> {
        let place = self.used.pop_front()?;
        let count = std::mem::take(cell(&mut self.pieces, place));
        Some((place, u64::from(count) + self.beyond.remove(&place).unwrap_or(0)))
    }
}

fn cell(pieces: &mut Vec<Option<Box<[u8]>>>, place: u32) -> &mut u8 {
    let piece = (place >> PIECE_BITS) as usize;
    if piece >= pieces.len() {
        pieces.resize(piece + 1, None);
    }
    let cells = pieces[piece].get_or_insert_with(|| vec![0; PIECE_ROWS].into());
    &mut cells[place as usize & (PIECE_ROWS - 1)]
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

fn used(row: Row<'_>, uses: u64) -> VersionUse {
    let (tenant, client) = row.names();
    VersionUse { tenant: tenant.to_owned(), client: client.to_owned(), version: row.version().0, uses }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::Scene;

    fn sum(taken: &Taken) -> u64 {
        taken.uses.iter().map(|each| each.uses).sum()
    }

    #[test]
    fn counts_are_taken_once_and_not_more_at_a_time_than_a_report_holds() {
        let scene = Scene::new();
        let tally = Tally::default();
        for (name, times) in [("active", 3), ("retiring", 1), ("strict", 2)] {
            (0..times).for_each(|_| tally.count(scene.row(name)));
        }
        let first = tally.take(&scene.answers, 2);
        assert_eq!((first.uses.len(), sum(&first), first.is_all), (2, 4, false), "what was used first");
        tally.count(scene.row("active"));
        let second = tally.take(&scene.answers, 2);
        assert_eq!((second.uses.len(), sum(&second), second.is_all), (2, 3, true));
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
    fn one_key_that_several_threads_saw_is_reported_once_with_all_its_uses() {
        let scene = Scene::new();
        let tally = Tally::default();
        std::thread::scope(|threads| {
            for times in [1, 254, 255, 256, 1000] {
                let (scene, tally) = (&scene, &tally);
                threads.spawn(move || (0..times).for_each(|_| tally.count(scene.row("active"))));
            }
        });
        let taken = tally.take(&scene.answers, 10);
        assert_eq!((taken.uses.len(), sum(&taken), taken.is_all), (1, 1766, true));
        assert_eq!((tally.waiting(), tally.take(&scene.answers, 10).uses), (0, Vec::new()));
    }

    #[test]
    fn another_table_goes_on_with_the_counts_wherever_its_rows_are() {
        let scene = Scene::new();
        let tally = Tally::default();
        for (name, times) in [("active", 700), ("retiring", 2)] {
            (0..times).for_each(|_| tally.count(scene.row(name)));
        }
        let mut other = Answers::default();
        scene.states.iter().for_each(|(address, state)| other.update(address, state));
        let other_row = |name| other.by_kid(scene.row(name).kid()).unwrap();
        assert_ne!(other_row("active").place(), scene.row("active").place());
        tally.keep(&scene.answers, &other);
        let taken = tally.take(&other, 10);
        let of = |name| taken.uses.iter().find(|each| each.client == name).map(|each| each.uses);
        assert_eq!((of("active"), of("retiring"), taken.uses.len()), (Some(700), Some(2), 2));
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
