//! The log folded here and now, by pages: one address as it grows, or everything at once.

use crate::failure::Failure;
use keywheel_bus::Bus;
use keywheel_domain::{Address, At, Recorded, State, Version};
use keywheel_table::{Message, Replay};
use keywheel_wire::belief::Doubt;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An address's state, with what a person wants to know beside it.
pub(crate) struct Told {
    replay: Replay,
    /// Since when each version is in its state.
    pub since: BTreeMap<Version, At>,
    /// The position of each version's `KeyIssued`.
    pub issued: BTreeMap<Version, u64>,
    /// The messages that do not count, by position.
    pub doubts: BTreeMap<u64, Doubt>,
}

impl Told {
    /// Of an address of which nothing was read yet, by a reader that believes `signers`.
    pub fn new(signers: &Arc<Signers>) -> Self {
        let replay = Replay::new(Arc::clone(signers));
        Self { replay, since: BTreeMap::new(), issued: BTreeMap::new(), doubts: BTreeMap::new() }
    }

    /// The state so far.
    pub fn state(&self) -> &State {
        &self.replay.state
    }

    /// Goes on by what is known of signers now.
    pub fn believe(&mut self, signers: &Arc<Signers>) {
        self.replay.believe(signers);
    }

    /// Takes the address's next message; gives the event if it was believed, else why not.
    pub fn take(&mut self, message: &Message) -> Result<Recorded, Doubt> {
        let words =
            |state: &State| state.keys.iter().map(|(v, key)| (*v, key.state.word())).collect::<Vec<_>>();
        let before = words(self.state());
        let taken = self.replay.take(message);
        let recorded = taken.inspect_err(|doubt| drop(self.doubts.insert(message.seq, doubt.clone())))?;
        let changed = words(self.state()).into_iter().filter(|entry| !before.contains(entry));
        for (version, _) in changed {
            self.since.insert(version, recorded.event.at);
            self.issued.entry(version).or_insert(recorded.seq);
        }
        Ok(recorded)
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
    pub fn new(bus: &Bus, address: Address) -> Self {
        Self { address, from: 1, told: Told::new(&bus.signers()) }
    }

    /// From the beginning to the end of what the log has now.
    pub async fn read(bus: &Bus, address: Address) -> Result<Self, Failure> {
        let mut followed = Self::new(bus, address);
        followed.advance(bus).await?;
        Ok(followed)
    }

    /// Takes what is new, and gives the events.
    pub async fn advance(&mut self, bus: &Bus) -> Result<Vec<Recorded>, Failure> {
        let mut events = Vec::new();
        let told = &mut self.told;
        self.from = each_message(bus, Some(&self.address), self.from, |message, signers| {
            told.believe(signers);
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

/// Hands over each message at or after `from`, with those who are believed of what the log has by then, and gives the
/// position after the last one.
pub(crate) async fn each_message(
    bus: &Bus,
    address: Option<&Address>,
    mut from: u64,
    mut take: impl FnMut(&Message, &Arc<Signers>),
) -> Result<u64, Failure> {
    loop {
        let page = bus.page(from, address).await?;
        let Some(last) = page.last() else { return Ok(from) };
        from = last.seq + 1;
        let signers = bus.meet().await?;
        page.iter().for_each(|message| take(message, &signers));
    }
}

/// Everything that the log says, by address.
pub(crate) struct World {
    signers: Arc<Signers>,
    told: BTreeMap<Address, Told>,
    from: u64,
}

impl World {
    /// Of which nothing was read yet, by a reader that believes `signers`.
    pub fn new(signers: &Arc<Signers>) -> Self {
        Self { signers: Arc::clone(signers), told: BTreeMap::new(), from: 1 }
    }

    /// Replays the whole log.
    pub async fn read(bus: &Bus) -> Result<Self, Failure> {
        let mut world = World::new(&bus.signers());
        world.advance(bus, |_| ()).await?;
        Ok(world)
    }

    /// Takes what is new, and shows each event.
    pub async fn advance(&mut self, bus: &Bus, mut show: impl FnMut(&Recorded)) -> Result<(), Failure> {
        self.from = each_message(bus, None, self.from, |message, signers| {
            self.believe(signers);
            if let Ok(recorded) = self.take(message) {
                show(&recorded);
            }
        })
        .await?;
        Ok(())
    }

    /// Goes on by what is known of signers now.
    pub fn believe(&mut self, signers: &Arc<Signers>) {
        if self.signers.learned() != signers.learned() {
            self.signers = Arc::clone(signers);
            self.told.values_mut().for_each(|told| told.believe(signers));
        }
    }

    /// Takes the log's next message; gives the event if it was believed, else why not.
    pub fn take(&mut self, message: &Message) -> Result<Recorded, Doubt> {
        let address = subject::parse_event(&message.subject);
        let address = address.map_err(|error| Doubt::Skip(error.to_string()))?;
        self.told.entry(address).or_insert_with(|| Told::new(&self.signers)).take(message)
    }

    /// Reads what an address's history was before `message`, if nothing of it was taken yet.
    pub async fn catch_up(&mut self, bus: &Bus, message: &Message) -> Result<(), Failure> {
        let Ok(address) = subject::parse_event(&message.subject) else { return Ok(()) };
        if self.told.contains_key(&address) {
            return Ok(());
        }
        let mut told = Told::new(&self.signers);
        each_message(bus, Some(&address), 1, |earlier, _| {
            if earlier.seq < message.seq {
                drop(told.take(earlier));
            }
        })
        .await?;
        self.told.insert(address, told);
        Ok(())
    }

    /// An address's state, where the log has one.
    pub fn state(&self, address: &Address) -> Option<&State> {
        self.told.get(address).map(Told::state)
    }

    /// Every address with its state.
    pub fn iter(&self) -> impl Iterator<Item = (&Address, &Told)> {
        self.told.iter()
    }
}
