//! Up to when an edge's numbered reports tell everything: the rules of SAFETY 4 for one edge.
//!
//! All times are those at which the bus stored a report: one clock, and no edge's. Report n is cut only
//! after n − 1 was stored. So once n is here, every use up to the storing of n − 1 is known, and a use
//! that n carries happened no later than n was stored.

use keywheel_domain::At;

/// What came from an edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A report that could be read.
    Report(Cut),
    /// One that could not: what it counted is lost.
    Unreadable,
}

/// Where a report stands in its edge's sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The run of the edge's process.
    pub boot: u128,
    /// Counted per boot, from 0.
    pub number: u64,
    /// The boot and number that a report 0 says it follows without anything served between.
    pub continues: Option<(u128, u64)>,
    /// Whether the boot serves nothing after it.
    pub goodbye: bool,
}

/// A stretch of time in which every use is known. Of its first and of its last millisecond not all may
/// be: the bus tells no smaller times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its beginning.
    pub from: At,
    /// Its end.
    pub through: At,
}

/// The newest report of an edge's current boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Last {
    /// The boot.
    pub boot: u128,
    /// Its number.
    pub number: u64,
    /// When it was stored.
    pub stored_at: At,
    /// Whether it was a goodbye.
    pub goodbye: bool,
}

/// What is known of one edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The newest report in sequence.
    pub last: Option<Last>,
    /// Since when every use is known.
    pub from: At,
    /// Up to when; none until a second report confirms the first.
    pub through: Option<At>,
    /// The latest time at which anything of this edge was stored.
    pub newest: At,
    /// Whether a report could not be read since `last`.
    pub broken: bool,
}

/// How a report relates to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// The next one of its boot.
    Next,
    /// The first one of a boot that knows that nothing was served since the goodbye before it.
    Resumes,
    /// Something before it may be missing.
    Restarts,
    /// It was there before, or is older than what was.
    Late,
}

impl Coverage {
    /// Takes a report that was stored at `stored_at`. Gives the moment at which the uses that it carries
    /// count as seen; whether they were counted before is not decided here.
    pub fn take(&mut self, arrival: Arrival, stored_at: At) -> At {
        let place = match &arrival {
            Arrival::Report(cut) => self.place(cut, stored_at),
            Arrival::Unreadable => Place::Restarts,
        };
        if place == Place::Late {
            return stored_at;
        }
        // Should the bus's clock go back, uses are taken as late and coverage as early as can be.
        self.newest = self.newest.max(stored_at);
        match arrival {
            Arrival::Unreadable => self.broken = true,
            Arrival::Report(cut) => self.advance(&cut, place, stored_at),
        }
        self.newest
    }

    fn place(&self, cut: &Cut, stored_at: At) -> Place {
        let Some(last) = &self.last else { return Place::Restarts };
        if cut.boot == last.boot {
            return match cut.number {
                number if number <= last.number => Place::Late,
                number if number - 1 == last.number && !self.broken => Place::Next,
                _ => Place::Restarts,
            };
        }
        let resumes = cut.number == 0 && cut.continues == Some((last.boot, last.number));
        if stored_at < self.newest {
            Place::Late
        } else if resumes && last.goodbye && !self.broken {
            Place::Resumes
        } else {
            Place::Restarts
        }
    }

    fn advance(&mut self, cut: &Cut, place: Place, stored_at: At) {
        match place {
            Place::Next => self.through = self.last.map(|last| last.stored_at.min(stored_at)),
            Place::Restarts => {
                self.from = self.newest;
                self.through = None;
                self.broken = false;
            }
            Place::Resumes | Place::Late => {}
        }
        let Cut { boot, number, goodbye, continues: _ } = *cut;
        self.last = Some(Last { boot, number, stored_at, goodbye });
    }

    /// The time in which every use is known.
    pub fn stretch(&self) -> Option<Stretch> {
        self.through.map(|through| Stretch { from: self.from, through })
    }
}

#[cfg(test)]
mod tests;
