//! Edges' wall clocks beside the bus's: a key's own end depends on them, so one that is off is told.
//! They take part in no proof.

use keywheel_domain::EdgeId;
use std::collections::BTreeMap;

/// How far a clock may be off, in milliseconds.
pub const OFF_MS_MAX: u64 = 2000;

/// What is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is ahead of the bus's clock by so many milliseconds, or behind.
    Off(i64),
    /// It was off and is right again.
    Right,
}

/// What was found of each clock.
#[derive(Clone, Debug, Default)]
pub struct Clocks(BTreeMap<EdgeId, Clock>);

#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    mark: (u128, u64),
    was_off: bool,
    is_told: bool,
}

impl Clocks {
    /// A stored pulse (which run of the edge, and its number) whose clock stood at `clock_ms` when the
    /// bus's stood at `bus_ms`. A slow bus stores a pulse late, so that one alone shows nothing.
    pub fn look(&mut self, edge: &EdgeId, mark: (u128, u64), clock_ms: u64, bus_ms: u64) -> Option<Finding> {
        let clock = self.0.entry(edge.clone()).or_default();
        if clock.mark == mark {
            return None;
        }
        clock.mark = mark;
        let is_off = clock_ms.abs_diff(bus_ms) > OFF_MS_MAX;
        let is_sure = is_off == std::mem::replace(&mut clock.was_off, is_off);
        if !is_sure || is_off == clock.is_told {
            return None;
        }
        clock.is_told = is_off;
        let ahead = i128::from(clock_ms) - i128::from(bus_ms);
        let ahead = i64::try_from(ahead).unwrap_or(if ahead > 0 { i64::MAX } else { i64::MIN });
        Some(if is_off { Finding::Off(ahead) } else { Finding::Right })
    }

    /// Forgets edges that are gone.
    pub fn keep_only(&mut self, edges: &[EdgeId]) {
        self.0.retain(|edge, _| edges.contains(edge));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_once_and_again_when_it_is_right() {
        let (edge, mut clocks, mut number) = (EdgeId::parse("e1").unwrap(), Clocks::default(), 0);
        let mut look = |clock| {
            number += 1;
            clocks.look(&edge, (1, number), clock, 100_000)
        };
        assert_eq!(look(102_000), None, "as far as it may be");
        assert_eq!(look(102_001), None, "one pulse alone");
        assert_eq!(look(102_001), Some(Finding::Off(2001)));
        assert_eq!(look(90_000), None, "once");
        assert_eq!(look(100_000), None);
        assert_eq!(look(100_000), Some(Finding::Right));
        assert_eq!(look(90_000), None);
        assert_eq!(look(90_000), Some(Finding::Off(-10_000)));
        assert_eq!(look(u64::MAX), None);
    }

    #[test]
    fn the_same_pulse_is_no_second_one() {
        let (edge, mut clocks) = (EdgeId::parse("e1").unwrap(), Clocks::default());
        assert_eq!(clocks.look(&edge, (1, 1), 0, 100_000), None);
        assert_eq!(clocks.look(&edge, (1, 1), 0, 100_000), None);
        assert_eq!(clocks.look(&edge, (2, 1), 0, 100_000), Some(Finding::Off(-100_000)));
    }
}
