//! The campaign's own time: microseconds since it began, by a clock that no fault reaches.

use super::ledger::{Entry, Micros};
use keywheel_domain::At;
use keywheel_runtime::clock;
use std::time::Instant;

/// When the campaign began, by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    began: Instant,
    wall_ms: u64,
}

impl Moments {
    /// From here on.
    pub fn begin() -> Moments {
        Moments { began: Instant::now(), wall_ms: clock::wall_ms() }
    }

    /// Now.
    pub fn now(&self) -> Micros {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// When a moment of the machine's own clock was; 0 where that was before.
    pub fn of(&self, at: At) -> Micros {
        at.0.saturating_sub(self.wall_ms).saturating_mul(1000)
    }

    /// What the machine's clock says now.
    pub fn clock(&self) -> Entry {
        Entry::Clock { at: self.now(), wall: clock::wall_ms() }
    }
}
