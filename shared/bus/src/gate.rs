//! `execute`: the one way for a fact to enter the log. Load, decide, append if nobody else appended to
//! this address meanwhile, else decide again.

use crate::log::Appended;
use crate::{Bus, BusError, SharedFold};
use keywheel_domain::event::CommandId;
use keywheel_domain::state::Done;
use keywheel_domain::{Act, Actor, Address, At, Command, Event, Rejection, decide};
use keywheel_table::Loaded;
use keywheel_wire::event::Link;
use std::time::Duration;
use tokio::sync::watch;

/// How often a decision is made anew after a conflict.
const ATTEMPTS: u32 = 16;
/// How long the own fold may take to catch up with what others wrote.
const CATCH_UP: Duration = Duration::from_secs(10);

/// What the shell passes in: clock and randomness are not this crate's.
#[derive(Clone, Copy)]
pub struct Sources {
    /// The wall clock.
    pub now: fn() -> At,
    /// A fresh UUID.
    pub fresh_id: fn() -> u128,
}

/// What became of a command at the gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It made this event, now or when it was first executed.
    Done(Done),
    /// It was so already.
    Unchanged,
    /// It was refused, on the state that still held when that was checked.
    Rejected(Rejection),
}

/// A decision on the newest state, not carried out yet.
pub(crate) struct Decision {
    pub loaded: Loaded,
    pub outcome: Decided,
}

pub(crate) enum Decided {
    Append(Box<Event>),
    Settled(Executed),
}

/// The gate to the log for one service.
#[derive(Clone)]
pub struct Gate {
    pub(crate) bus: Bus,
    pub(crate) fold: SharedFold,
    watermark: watch::Receiver<u64>,
    pub(crate) sources: Sources,
}

impl Gate {
    /// A gate that decides on `fold`, which a [`crate::Follower`] advances (`watermark`).
    pub fn new(bus: Bus, fold: SharedFold, watermark: watch::Receiver<u64>, sources: Sources) -> Self {
        Self { bus, fold, watermark, sources }
    }

    /// The fold on which it decides.
    pub fn fold(&self) -> &SharedFold {
        &self.fold
    }

    /// The connection.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// Now, by the clock that was passed in.
    pub fn now(&self) -> At {
        (self.sources.now)()
    }

    /// Executes an act that a service decided by itself. `id` is derived from what it is about, so that
    /// replicas which decide the same thing do it once.
    ///
    /// # Errors
    /// When the bus or the fold fails; nothing is known to be wrong then, and it may be tried again.
    pub async fn execute(
        &self,
        address: &Address,
        id: CommandId,
        actor: &Actor,
        act: Act,
    ) -> Result<Executed, BusError> {
        for _ in 0..ATTEMPTS {
            let decision = self.decide(address, id, actor, act.clone())?;
            match decision.outcome {
                Decided::Settled(executed) => {
                    if self.is_current(address, &decision.loaded).await? {
                        return Ok(executed);
                    }
                }
                Decided::Append(event) => {
                    if let Some(done) = self.append(&event, &decision.loaded).await? {
                        return Ok(Executed::Done(done));
                    }
                }
            }
        }
        Err(BusError::Contended(ATTEMPTS))
    }

    /// Decides on what the fold says now.
    pub(crate) fn decide(
        &self,
        address: &Address,
        id: CommandId,
        actor: &Actor,
        act: Act,
    ) -> Result<Decision, BusError> {
        let loaded = self.load(address, id)?;
        if let Some(done) = loaded.state.done.get(&id) {
            let outcome = Decided::Settled(Executed::Done(*done));
            return Ok(Decision { loaded, outcome });
        }
        let command = Command {
            id,
            address: address.clone(),
            actor: actor.clone(),
            at: self.now(),
            event_id: keywheel_domain::event::EventId((self.sources.fresh_id)()),
            act,
        };
        let outcome = match decide(&loaded.state, &command) {
            Ok(Some(event)) => Decided::Append(Box::new(event)),
            Ok(None) => Decided::Settled(Executed::Unchanged),
            Err(rejection) => Decided::Settled(Executed::Rejected(rejection)),
        };
        Ok(Decision { loaded, outcome })
    }

    /// The address as the fold has it.
    ///
    /// # Errors
    /// When it is frozen, or the fold fails.
    pub fn load(&self, address: &Address, id: CommandId) -> Result<Loaded, BusError> {
        let loaded = self.fold.lock().load(address, Some(id))?;
        match &loaded.frozen {
            Some(reason) => Err(BusError::Frozen(reason.clone())),
            None => Ok(loaded),
        }
    }

    /// Appends on the condition that nothing was appended since `loaded`. `None` is a conflict, after
    /// which the fold has caught up.
    pub(crate) async fn append(&self, event: &Event, loaded: &Loaded) -> Result<Option<Done>, BusError> {
        let link = Link { revision: loaded.state.revision + 1, prev: loaded.prev };
        match self.bus.append(event, link, loaded.seq).await? {
            Appended::Stored(seq) => {
                self.applied(seq).await?;
                Ok(Some(done(event, seq, loaded)))
            }
            Appended::Conflict => {
                self.is_current(&event.address, loaded).await?;
                Ok(None)
            }
        }
    }

    /// Whether what was loaded is still the newest, as the leader of the log says. If not, waits until
    /// the fold has it.
    pub(crate) async fn is_current(&self, address: &Address, loaded: &Loaded) -> Result<bool, BusError> {
        let last = self.bus.last_of(address).await?;
        if last <= loaded.seq {
            return Ok(true);
        }
        self.applied(last).await?;
        Ok(false)
    }

    /// Waits until the fold has applied `seq`.
    ///
    /// # Errors
    /// When that takes too long.
    pub async fn applied(&self, seq: u64) -> Result<(), BusError> {
        let mut watermark = self.watermark.clone();
        let reached = tokio::time::timeout(CATCH_UP, watermark.wait_for(|at| *at >= seq)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(BusError::Stopped),
            Err(_) => Err(BusError::Failed {
                what: "catching up with the log",
                detail: format!("not at {seq} yet"),
            }),
        }
    }
}

fn done(event: &Event, seq: u64, loaded: &Loaded) -> Done {
    let version = event.fact.version();
    let issued = match &event.fact {
        keywheel_domain::Fact::KeyIssued(issued) => Some(issued.kid),
        keywheel_domain::Fact::KeyActivated(_)
        | keywheel_domain::Fact::KeySeen(_)
        | keywheel_domain::Fact::KeyRetired(_)
        | keywheel_domain::Fact::RolledBack(_)
        | keywheel_domain::Fact::PolicySet(_)
        | keywheel_domain::Fact::EdgeAdded(_)
        | keywheel_domain::Fact::EdgeRemoved(_) => None,
    };
    let known = version.and_then(|version| loaded.state.keys.get(&version)).map(|key| key.kid);
    Done {
        event: event.id,
        kind: event.fact.kind(),
        seq,
        version,
        kid: issued.or(known),
        rotation: event.rotation,
    }
}
