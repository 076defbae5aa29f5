//! What the bus keeps beside the log: the newest pulse of each edge, the queue of usage reports, and the
//! sealed secrets on their way.

use keywheel_domain::{At, EdgeId, KeyringId, Kid, Version};
use keywheel_wire::pulse::Pulse;
use keywheel_wire::usage::Report;
use std::collections::{BTreeMap, BTreeSet};

/// A report in the queue.
pub struct Queued {
    pub edge: EdgeId,
    pub report: Report,
    pub stored_at: At,
    /// Not given out again before.
    pub next_at: u64,
}

#[derive(Default)]
pub struct Bus {
    /// `KW_PULSE`: the newest of each edge, with the time of its storing.
    pub pulses: BTreeMap<EdgeId, (Pulse, At)>,
    pub pulses_kept_since: At,
    /// `KW_USAGE`: what was not acknowledged yet.
    pub usage: Vec<Queued>,
    pub staged: BTreeSet<Kid>,
    pub delivered: BTreeMap<(KeyringId, Version), u64>,
}

impl Bus {
    /// `KW_PULSE` lies in memory, and a restart of the bus begins it anew.
    pub fn forget_pulses(&mut self, now: u64) {
        self.pulses.clear();
        self.pulses_kept_since = At(now);
    }
}
