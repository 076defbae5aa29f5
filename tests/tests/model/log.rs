//! The log: events in order, appended on the condition that nobody else wrote to the address meanwhile.

use keywheel_domain::{Address, At, Event, Recorded, State, evolve};
use std::collections::BTreeMap;
use std::sync::Arc;

/// When the log was created; there is no other log in this world.
pub const CREATED: At = At(1_799_999_999_000);

/// The log with the state of each address after each of its events. A service's or an edge's own fold is
/// a watermark into it: folding is deterministic, which other tests show.
#[derive(Default)]
pub struct Log {
    events: Vec<Recorded>,
    stored_at: Vec<At>,
    states: BTreeMap<Address, Vec<(u64, Arc<State>)>>,
}

impl Log {
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// The event's position; none when the address has moved past `expects`.
    pub fn append(&mut self, event: Event, expects: u64, now: u64) -> Option<u64> {
        if self.last_of(&event.address, self.head()) != expects {
            return None;
        }
        let seq = self.head() + 1;
        let before = self.state(&event.address, seq);
        let recorded = Recorded { seq, event };
        let after = Arc::new(evolve((*before).clone(), &recorded));
        self.states.entry(recorded.event.address.clone()).or_default().push((seq, after));
        self.events.push(recorded);
        self.stored_at.push(At(now));
        Some(seq)
    }

    /// The newest position of an address up to `watermark`; 0 when it has none.
    pub fn last_of(&self, address: &Address, watermark: u64) -> u64 {
        self.entry(address, watermark).map_or(0, |(seq, _)| *seq)
    }

    /// An address as a fold at `watermark` has it.
    pub fn state(&self, address: &Address, watermark: u64) -> Arc<State> {
        self.entry(address, watermark).map(|(_, state)| Arc::clone(state)).unwrap_or_default()
    }

    /// An address as the whole log has it.
    pub fn now(&self, address: &Address) -> Arc<State> {
        self.state(address, self.head())
    }

    /// What stands after `from`, up to `to`.
    pub fn between(&self, from: u64, to: u64) -> Vec<Recorded> {
        self.events[from as usize..to.max(from) as usize].to_vec()
    }

    pub fn at(&self, seq: u64) -> &Recorded {
        &self.events[seq as usize - 1]
    }

    /// When the bus stored it.
    pub fn stored_at(&self, seq: u64) -> At {
        self.stored_at[seq as usize - 1]
    }

    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.states.keys()
    }

    fn entry(&self, address: &Address, watermark: u64) -> Option<&(u64, Arc<State>)> {
        let states = self.states.get(address)?;
        states[..states.partition_point(|(seq, _)| *seq <= watermark)].last()
    }
}
