//! From the log into an edge's table: rows commit, then they answer, then the watermark is told. Between
//! the halves the process may die.

use crate::edge::head_at;
use crate::log::CREATED;
use crate::world::{Happening, Who, World, Wrong};

impl World {
    /// Commits what came from the log, with what is to be noted; then it answers.
    pub fn follow_at_edge(&mut self, n: usize) {
        let head = self.log.head();
        let edge = &self.edges[n];
        let hears = edge.gets_in && !edge.is_stalled && !edge.is_banned;
        let from = edge.disk.watermark;
        if !hears || edge.process.as_ref().is_none_or(|process| process.is_committing) {
            return;
        }
        let to = if self.faults.strikes && from < head { self.rng.within(from + 1, head + 1) } else { head };
        let (wrong, life, now) = (self.wrong, edge.life, self.now);
        let pause = self.delay() + self.edges[n].visible_lag;
        let edge = &mut self.edges[n];
        if let Some(process) = edge.running(now) {
            process.is_committing = true;
        }
        if wrong == Wrong::AnswersBeforeCommit {
            self.show(n, to);
        } else {
            self.commit(n, to);
        }
        self.after(pause, Happening::Visible { edge: n, life, to });
    }

    /// The second half of what [`World::follow_at_edge`] began.
    pub fn make_visible(&mut self, n: usize, life: u32, to: u64) {
        if self.edges[n].life != life {
            return;
        }
        if self.wrong == Wrong::AnswersBeforeCommit {
            self.commit(n, to);
        } else {
            self.show(n, to);
        }
        if let Some(process) = self.edges[n].running(self.now) {
            process.is_committing = false;
        }
        if to < self.log.head() {
            let delay = self.delay();
            self.after(delay, Happening::Follow(Who::Edge(n), life));
        }
    }

    /// Rows and notes go to the disk in one transaction.
    fn commit(&mut self, n: usize, to: u64) {
        let now = self.now;
        let edge = &mut self.edges[n];
        let Some(process) = edge.running(now) else { return };
        let notes = process.table.notes();
        let fresh_at = process.reference.fresh_at();
        edge.disk.watermark = to.max(edge.disk.watermark);
        edge.disk.fresh_at = fresh_at;
        edge.disk.notes.extend(notes);
    }

    /// What changed up to `to` answers from now on, and a pulse soon says so.
    fn show(&mut self, n: usize, to: u64) {
        let now = self.now;
        let Some(process) = self.edges[n].running(now) else { return };
        let from = process.table.status().head.watermark;
        let changed = self.log.between(from, to).into_iter().map(|recorded| {
            let state = self.log.state(&recorded.event.address, to);
            (recorded.event.address, (*state).clone())
        });
        let changed = changed.collect();
        process.table.apply(&changed, head_at(to), Some(CREATED));
        process.reference.advanced(to);
        self.note_own_freshness(n);
        if to > from {
            self.begin_handshake(n);
        }
    }

    /// A process that proved itself fresh stands on an old disk no more.
    pub fn note_own_freshness(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        let is_proved = edge.process.as_ref().is_some_and(|process| process.reference.own().is_some());
        edge.is_rolled_back &= !is_proved;
    }

    /// What is to be noted is committed also while the log is quiet.
    pub fn keep(&mut self, n: usize) -> u64 {
        let is_committing = self.edges[n].process.as_ref().is_some_and(|process| process.is_committing);
        if !is_committing {
            self.commit(n, 0);
        }
        1000
    }
}
