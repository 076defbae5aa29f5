//! What is known of each edge. Time is this propagator's own elapsed milliseconds: no edge's clock
//! takes part (SAFETY 2).

use keywheel_domain::{EdgeId, Span};
use keywheel_wire::pulse::Pulse;
use std::collections::BTreeMap;

/// What was heard of one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which run of the edge, and its pulse's number: these change whenever it pulses.
    mark: (u128, u64),
    /// Since when the mark has not changed, on our clock.
    unchanged_since: u64,
    /// The last time at which that was seen in what is stored, on our clock.
    confirmed: u64,
    /// Everything up to here is applied and visible there.
    pub watermark: u64,
}

/// The live picture of the roster.
#[derive(Clone, Debug)]
pub struct Fleet {
    lease: Span,
    /// How long an old head may be told after an append.
    heads_late: Span,
    roster: BTreeMap<EdgeId, u64>,
    /// Removed from the roster; each counts for a lease more, from when we saw it.
    leaving: BTreeMap<EdgeId, u64>,
    heard: BTreeMap<EdgeId, Heard>,
}

impl Fleet {
    /// A picture of nobody yet, for a fleet whose lease is `lease`.
    pub fn new(lease: Span) -> Self {
        Self {
            lease,
            heads_late: Span(0),
            roster: BTreeMap::new(),
            leaving: BTreeMap::new(),
            heard: BTreeMap::new(),
        }
    }

    /// Of a log whose old head may be told for so long after an append.
    pub fn told_late(&mut self, heads_late: Span) {
        self.heads_late = heads_late;
    }

    /// A whole lease, as from the last moment at which a head can have been an old one, with a margin for clocks that
    /// run at different rates, in milliseconds.
    pub fn patience(&self) -> u64 {
        self.heads_late.0 + self.lease.0 + self.lease.0 / 50 + 100
    }

    /// Takes a new roster over. Edges that are no longer on it go on counting for a lease.
    pub fn set_roster(&mut self, roster: BTreeMap<EdgeId, u64>, now: u64) {
        for edge in self.roster.keys().filter(|edge| !roster.contains_key(*edge)) {
            self.leaving.insert(edge.clone(), now);
        }
        self.leaving.retain(|edge, _| !roster.contains_key(edge));
        self.roster = roster;
    }

    /// An edge was removed, as an event says that this propagator may have missed the roster before.
    pub fn removed(&mut self, edge: &EdgeId, now: u64) {
        if !self.roster.contains_key(edge) {
            self.leaving.insert(edge.clone(), now);
        }
    }

    /// Whether a removed edge counts no more.
    pub fn is_gone(&self, edge: &EdgeId, now: u64) -> bool {
        self.leaving.get(edge).is_none_or(|since| now >= since + self.patience())
    }

    /// Every edge whose word is needed now: those on the roster, and those that left it just now.
    pub fn members(&self, now: u64) -> Vec<EdgeId> {
        let leaving = self.leaving.keys().filter(|edge| !self.is_gone(edge, now));
        self.roster.keys().chain(leaving).cloned().collect()
    }

    /// A pulse was heard as it was published. That shows life, never silence: what is heard may be old.
    /// An edge configured with a longer lease lengthens ours.
    pub fn hear(&mut self, edge: &EdgeId, pulse: &Pulse, now: u64) {
        self.lease = self.lease.max(Span(pulse.lease_ms));
        let mark = (pulse.boot.0, pulse.number);
        if self.heard.get(edge).is_some_and(|heard| heard.mark == mark) {
            return;
        }
        let heard = Heard { mark, unchanged_since: now, confirmed: now, watermark: pulse.watermark };
        self.heard.insert(edge.clone(), heard);
    }

    /// This pulse (or none) was found stored by a reading that began at `began` and ended at `now`.
    pub fn find_stored(&mut self, edge: &EdgeId, pulse: Option<&Pulse>, began: u64, now: u64) {
        let mark = pulse.map_or((0, 0), |pulse| (pulse.boot.0, pulse.number));
        match (self.heard.get_mut(edge).filter(|heard| heard.mark == mark), pulse) {
            (Some(heard), _) => heard.confirmed = heard.confirmed.max(began),
            (None, Some(pulse)) => {
                self.hear(edge, pulse, now);
            }
            // A stream that was emptied is no sign of silence: begin to count anew.
            (None, None) => {
                let none = Heard { mark, unchanged_since: now, confirmed: now, watermark: 0 };
                self.heard.insert(edge.clone(), none);
            }
        }
    }

    /// Edges of which nothing was heard for `quiet` milliseconds: what is stored of them is to be read.
    pub fn unheard(&self, quiet: u64, now: u64) -> Vec<EdgeId> {
        let quiet_for = |edge: &EdgeId| {
            self.heard.get(edge).is_none_or(|heard| now >= heard.confirmed.saturating_add(quiet))
        };
        self.members(now).into_iter().filter(|edge| quiet_for(edge)).collect()
    }

    /// Whether an edge has applied everything up to `seq`.
    pub fn has_applied(&self, edge: &EdgeId, seq: u64) -> bool {
        self.heard.get(edge).is_some_and(|heard| heard.watermark >= seq)
    }

    /// Whether an edge's lease has run out without its having been in contact since `since`: its stored
    /// pulse did not change for a whole lease on our clock, as a reading that began after `since` showed, and after the
    /// last moment at which an older head can have been told. A pulse that it stores later is followed by a look at a
    /// head that is past `since`.
    pub fn is_silent(&self, edge: &EdgeId, since: u64) -> bool {
        self.heard.get(edge).is_some_and(|heard| {
            heard.confirmed >= since + self.heads_late.0
                && heard.confirmed.saturating_sub(heard.unchanged_since) >= self.patience()
        })
    }

    /// The newest watermark that an edge has shown; 0 when it has shown none.
    pub fn watermark(&self, edge: &EdgeId) -> u64 {
        self.heard.get(edge).map_or(0, |heard| heard.watermark)
    }
}
