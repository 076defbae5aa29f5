//! The work that events leave behind, and when each piece of it may be done. No I/O: the same steps run
//! in the model test.

use crate::agreement::{Agreement, Finding};
use crate::fleet::Fleet;
use keywheel_domain::event::{Barrier, OverBasis, PassedOver};
use keywheel_domain::{Address, At, EdgeId, Event, Fact, KeyringId, Kid, Recorded, Span, Version};
use keywheel_table::fold::Head;
use keywheel_wire::pulse::Pulse;
use std::collections::BTreeMap;

/// Most effects that are in hand at once.
const IN_HAND_MAX: usize = 1000;

/// What an event left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Task {
    /// Pass the barrier for a key that was issued.
    Activate { keyring: KeyringId, version: Version },
    /// Release a key that was activated.
    Deliver { keyring: KeyringId, version: Version },
    /// Prove that an ending or a rollback is in effect.
    Prove { event: Box<Event> },
    /// Wait until a removed edge counts no more.
    Forget { edge: EdgeId },
}

/// What a piece of work waits for; of one kind the older is never ready later than the newer. What ends a
/// key goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Awaits {
    Reach,
    Nothing,
    Barrier,
    Leaving,
}

fn awaits(task: &Task) -> Awaits {
    match task {
        Task::Prove { .. } => Awaits::Reach,
        Task::Deliver { .. } => Awaits::Nothing,
        Task::Activate { .. } => Awaits::Barrier,
        Task::Forget { .. } => Awaits::Leaving,
    }
}

#[derive(Clone, Debug)]
struct Work {
    task: Task,
    /// When this propagator itself saw the event in the log, on its own clock.
    seen: u64,
}

/// Something to be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The barrier is passed.
    Activate {
        /// Position of the `KeyIssued`; names the work.
        seq: u64,
        /// Whose key.
        keyring: KeyringId,
        /// Which.
        version: Version,
        /// The evidence.
        barrier: Barrier,
    },
    /// The sealed secret may be released.
    Deliver {
        /// Position of the `KeyActivated`; names the work.
        seq: u64,
        /// Whose key.
        keyring: KeyringId,
        /// Which.
        version: Version,
    },
    /// The receipt can be written.
    Receipt {
        /// Position of the event; names the work.
        seq: u64,
        /// The event.
        event: Box<Event>,
        /// Edges that have applied it.
        applied_on: Vec<EdgeId>,
        /// Edges that have not, each with the watermark that it last showed.
        unreached: Vec<(EdgeId, u64)>,
    },
    /// Sealed secrets that nobody will need are to be removed.
    Withdraw {
        /// Whose keys.
        keyring: KeyringId,
        /// Which.
        versions: Vec<Version>,
    },
    /// Nothing is left to do for this event.
    Settle {
        /// Its position.
        seq: u64,
    },
}

/// The desk.
#[derive(Clone, Debug)]
pub struct Desk {
    fleet: Fleet,
    agreement: Agreement,
    /// What waits, by what it waits for, the oldest first: where that is not ready, nothing after it is.
    waiting: BTreeMap<Awaits, BTreeMap<u64, Work>>,
    in_hand: BTreeMap<u64, Work>,
    withdrawals: Vec<(KeyringId, Vec<Version>)>,
}

impl Desk {
    /// An empty desk of a fleet whose lease is `lease`.
    pub fn new(lease: Span) -> Self {
        Self {
            fleet: Fleet::new(lease),
            agreement: Agreement::default(),
            waiting: BTreeMap::new(),
            in_hand: BTreeMap::new(),
            withdrawals: Vec::new(),
        }
    }

    /// Of a log whose old head may be told for so long after an append.
    pub fn told_late(&mut self, heads_late: Span) {
        self.fleet.told_late(heads_late);
    }

    /// The live picture.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// The roster as of everything applied so far.
    pub fn set_roster(&mut self, roster: BTreeMap<EdgeId, u64>, now: u64) {
        self.agreement.keep_only(&roster);
        self.fleet.set_roster(roster, now);
    }

    /// This propagator's own fold stands at `head`.
    pub fn stand(&mut self, head: Head) {
        self.agreement.own(head);
    }

    /// A pulse was heard as it was published. Gives who was found to differ from the others by it.
    pub fn hear(&mut self, edge: &EdgeId, pulse: &Pulse, now: u64) -> Vec<Finding> {
        self.fleet.hear(edge, pulse, now);
        self.agreement.hear(edge, pulse)
    }

    /// This pulse (or none) was found stored by a reading that began at `began`.
    pub fn find_stored(&mut self, edge: &EdgeId, pulse: Option<&Pulse>, began: u64, now: u64) {
        self.fleet.find_stored(edge, pulse, began, now);
    }

    /// An event was seen in the log at `now` on this propagator's clock. After a restart the clock
    /// begins anew with the restart, which only makes the wait longer.
    pub fn take(&mut self, recorded: &Recorded, now: u64) {
        let event = &recorded.event;
        let task = match (&event.fact, &event.address) {
            (Fact::KeyIssued(issued), Address::Keyring(keyring)) => {
                if !issued.cancels.is_empty() {
                    self.withdrawals.push((keyring.clone(), issued.cancels.clone()));
                }
                Task::Activate { keyring: keyring.clone(), version: issued.version }
            }
            (Fact::KeyActivated(activated), Address::Keyring(keyring)) => {
                Task::Deliver { keyring: keyring.clone(), version: activated.version }
            }
            (Fact::KeyRetired(_) | Fact::RolledBack(_), Address::Keyring(keyring)) => {
                self.withdrawals.push((keyring.clone(), ended(&event.fact)));
                Task::Prove { event: Box::new(event.clone()) }
            }
            (Fact::EdgeRemoved(edge), _) => {
                self.fleet.removed(edge, now);
                Task::Forget { edge: edge.clone() }
            }
            (
                Fact::KeyIssued(_)
                | Fact::KeyActivated(_)
                | Fact::KeyRetired(_)
                | Fact::RolledBack(_)
                | Fact::KeySeen(_)
                | Fact::PolicySet(_)
                | Fact::EdgeAdded(_)
                | Fact::SignerAdded(_)
                | Fact::SignerWithdrawn(_),
                _,
            ) => return,
        };
        if !self.knows(recorded.seq) {
            self.put(recorded.seq, Work { task, seen: now });
        }
    }

    fn put(&mut self, seq: u64, work: Work) {
        self.waiting.entry(awaits(&work.task)).or_default().insert(seq, work);
    }

    /// Whether work for this event is here already.
    pub fn knows(&self, seq: u64) -> bool {
        self.in_hand.contains_key(&seq) || self.waiting.values().any(|waiting| waiting.contains_key(&seq))
    }

    /// What may be done now, with what is in hand at most `IN_HAND_MAX`. Each effect is given once, until
    /// it is [`Desk::done`] or [`Desk::again`]. Costs what it gives, however much waits.
    pub fn step(&mut self, now: u64) -> Vec<Effect> {
        let mut effects: Vec<Effect> = std::mem::take(&mut self.withdrawals)
            .into_iter()
            .map(|(keyring, versions)| Effect::Withdraw { keyring, versions })
            .collect();
        for waiting in self.waiting.values_mut() {
            while self.in_hand.len() < IN_HAND_MAX
                && let Some(oldest) = waiting.first_entry()
                && let Some(effect) = ready(&self.fleet, *oldest.key(), oldest.get(), now)
            {
                let (seq, work) = oldest.remove_entry();
                self.in_hand.insert(seq, work);
                effects.push(effect);
            }
        }
        effects
    }

    /// An effect was carried out for good. Gives when its event was seen.
    pub fn done(&mut self, seq: u64) -> Option<u64> {
        self.in_hand.remove(&seq).map(|work| work.seen)
    }

    /// How much waits, and how much is in hand.
    pub fn load(&self) -> (usize, usize) {
        (self.waiting.values().map(BTreeMap::len).sum(), self.in_hand.len())
    }

    /// An effect could not be carried out; it is to be tried again.
    pub fn again(&mut self, seq: u64) {
        if let Some(work) = self.in_hand.remove(&seq) {
            self.put(seq, work);
        }
    }

    /// How the barrier at `seq` stands, for passing it by hand: who has applied it and who has not.
    pub fn standing(&self, seq: u64, now: u64) -> (Vec<EdgeId>, Vec<EdgeId>) {
        self.fleet.members(now).into_iter().partition(|edge| self.fleet.has_applied(edge, seq))
    }
}

/// The versions that a fact ends, whose staged secrets (if they were never released) nobody will need.
fn ended(fact: &Fact) -> Vec<Version> {
    match fact {
        Fact::KeyRetired(ended) => ended.also.iter().copied().chain([ended.version]).collect(),
        Fact::RolledBack(restored) => {
            let over = restored.withdrawn.iter().filter(|(_, state)| !state.is_accepted());
            over.map(|(version, _)| *version).collect()
        }
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => Vec::new(),
    }
}

fn ready(fleet: &Fleet, seq: u64, work: &Work, now: u64) -> Option<Effect> {
    match &work.task {
        Task::Activate { keyring, version } => {
            let barrier = barrier(fleet, seq, work.seen, now)?;
            Some(Effect::Activate { seq, keyring: keyring.clone(), version: *version, barrier })
        }
        Task::Deliver { keyring, version } => {
            Some(Effect::Deliver { seq, keyring: keyring.clone(), version: *version })
        }
        Task::Prove { event } => {
            let barrier = reach(fleet, seq, work.seen, now)?;
            let unreached = barrier.passed_over.iter().map(|over| {
                let watermark = fleet.watermark(&over.edge);
                (over.edge.clone(), watermark)
            });
            let unreached = unreached.collect();
            Some(Effect::Receipt { seq, event: event.clone(), applied_on: barrier.edges, unreached })
        }
        Task::Forget { edge } => fleet.is_gone(edge, now).then_some(Effect::Settle { seq }),
    }
}

/// The barrier at `seq`, if it is passed (SAFETY 2): every edge has shown a watermark at or past it or
/// is silent; or a whole lease has passed since the event was seen, after which every edge has applied
/// it or is stale.
fn barrier(fleet: &Fleet, seq: u64, seen: u64, now: u64) -> Option<Barrier> {
    let waited = now >= seen + fleet.patience();
    let mut barrier = Barrier { position: seq, edges: Vec::new(), passed_over: Vec::new(), by_hand: None };
    for edge in fleet.members(now) {
        if fleet.has_applied(&edge, seq) {
            barrier.edges.push(edge);
        } else if fleet.is_silent(&edge, seen) {
            barrier.passed_over.push(PassedOver { edge, basis: OverBasis::Silent });
        } else if waited {
            barrier.passed_over.push(PassedOver { edge, basis: OverBasis::LeaseWaited });
        } else {
            return None;
        }
    }
    Some(barrier)
}

/// For a receipt an edge that is merely silent is waited for as long as any other: a stale edge may go
/// on serving an available keyring, and the receipt should name as few of them as possible.
fn reach(fleet: &Fleet, seq: u64, seen: u64, now: u64) -> Option<Barrier> {
    let waited = now >= seen + fleet.patience();
    let all = fleet.members(now).iter().all(|edge| fleet.has_applied(edge, seq));
    if all || waited { barrier(fleet, seq, seen, now) } else { None }
}

/// The moment by which an edge that was last in contact at `contact` refuses by itself: a thousandth and
/// a second later than its horizon says, since its clock may run slower than the bus's.
pub fn refuses_by(contact: At, horizon: Span) -> At {
    let margin = Span((horizon.0 / 1000).saturating_add(1000));
    contact.after(horizon).after(margin)
}

/// The kids of `versions`, for those who handle what is staged under them.
pub fn kids(state: &keywheel_domain::State, versions: &[Version]) -> Vec<Kid> {
    versions.iter().filter_map(|version| state.keys.get(version)).map(|key| key.kid).collect()
}

#[cfg(test)]
mod tests;
