//! Where a history ends that somebody asks about.

use crate::event::Recorded;
use crate::time::At;

/// The end of the part of a history that is meant: a position, or a time.
///
/// A time means the longest beginning of an address's events in which none was decided after it. What counts
/// is the order of the log, because that is what edges apply; a later event whose service had a clock that was
/// behind does not come in by itself. It is the rule by which a rollback finds what it restores, and it stands
/// on what is signed: when the bus stored a message is not, and another time after a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Up to and with this position of the log.
    Seq(u64),
    /// Up to and with this moment.
    Time(At),
}

impl Cut {
    /// Whether the history that is meant ends before this event, the first one of its address for which that is so.
    pub fn ends_before(self, recorded: &Recorded) -> bool {
        match self {
            Cut::Seq(seq) => recorded.seq > seq,
            Cut::Time(at) => recorded.event.at > at,
        }
    }
}
