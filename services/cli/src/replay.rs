//! The log folded here and now, by pages: one address as it grows, or everything at once.

use crate::failure::Failure;
use keywheel_bus::Bus;
use keywheel_domain::{Address, At, Recorded, State, Version};
use keywheel_table::{Message, Replay};
use keywheel_wire::subject;
use std::collections::BTreeMap;

/// An address's state, with what a person wants to know beside it.
#[derive(Default)]
pub(crate) struct Told {
    replay: Replay,
    /// Since when each version is in its state.
    pub since: BTreeMap<Version, At>,
    /// The position of each version's `KeyIssued`.
    pub issued: BTreeMap<Version, u64>,
}

impl Told {
    /// The state so far.
    pub fn state(&self) -> &State {
        &self.replay.state
    }

    /// Takes the address's next message; gives the event if it was believed.
    pub fn take(&mut self, message: &Message) -> Option<Recorded> {
        let words =
            |state: &State| state.keys.iter().map(|(v, key)| (*v, key.state.word())).collect::<Vec<_>>();
        let before = words(self.state());
        let recorded = self.replay.take(message)?;
        let changed = words(self.state()).into_iter().filter(|entry| !before.contains(entry));
        for (version, _) in changed {
            self.since.insert(version, recorded.event.at);
            self.issued.entry(version).or_insert(recorded.seq);
        }
        Some(recorded)
    }
}

/// One address as the log goes on.
pub(crate) struct Followed {
    address: Address,
    from: u64,
    told: Told,
}

impl Followed {
    /// From the beginning.
    pub fn new(address: Address) -> Self {
        Self { address, from: 1, told: Told::default() }
    }

    /// From the beginning to the end of what the log has now.
    pub async fn read(bus: &Bus, address: Address) -> Result<Self, Failure> {
        let mut followed = Self::new(address);
        followed.advance(bus).await?;
        Ok(followed)
    }

    /// Takes what is new, and gives the events.
    pub async fn advance(&mut self, bus: &Bus) -> Result<Vec<Recorded>, Failure> {
        let mut events = Vec::new();
        let told = &mut self.told;
        self.from = each_message(bus, Some(&self.address), self.from, |message| {
            events.extend(told.take(message));
        })
        .await?;
        Ok(events)
    }

    /// The state so far.
    pub fn state(&self) -> &State {
        self.told.state()
    }

    /// The position at which a version was issued.
    pub fn issued_at(&self, version: Version) -> Option<u64> {
        self.told.issued.get(&version).copied()
    }

    /// The state so far, with times.
    pub fn told(&self) -> &Told {
        &self.told
    }
}

/// Hands over each message at or after `from`, and gives the position after the last one.
pub(crate) async fn each_message(
    bus: &Bus,
    address: Option<&Address>,
    mut from: u64,
    mut take: impl FnMut(&Message),
) -> Result<u64, Failure> {
    loop {
        let page = bus.page(from, address).await?;
        let Some(last) = page.last() else { return Ok(from) };
        from = last.seq + 1;
        page.iter().for_each(&mut take);
    }
}

/// Everything that the log says, by address.
#[derive(Default)]
pub(crate) struct World {
    told: BTreeMap<Address, Told>,
}

impl World {
    /// Replays the whole log.
    pub async fn read(bus: &Bus) -> Result<Self, Failure> {
        let mut world = World::default();
        each_message(bus, None, 1, |message| world.take(message)).await?;
        Ok(world)
    }

    /// Takes the log's next message.
    pub fn take(&mut self, message: &Message) {
        if let Ok(address) = subject::parse_event(&message.subject) {
            self.told.entry(address).or_default().take(message);
        }
    }

    /// Every address with its state.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Told)> {
        self.told.iter()
    }
}
