//! `execute`: the one way for a fact to enter the log. Load, decide, append if nobody else appended to
//! this address meanwhile, else decide again.

use crate::log::Appended;
use crate::queue::side_by_side;
use crate::{Bus, BusError, SharedFold};
use keywheel_domain::event::CommandId;
use keywheel_domain::state::Done;
use keywheel_domain::{Act, Actor, Address, At, Command, Event, Rejection, decide};
use keywheel_table::{Loaded, TableError};
use keywheel_wire::event::Link;
use std::collections::BTreeSet;
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

/// An act that a service decided by itself.
#[derive(Clone, Debug)]
pub struct Order {
    /// What it concerns.
    pub address: Address,
    /// Derived from what it is about, so that replicas which decide the same thing do it once.
    pub id: CommandId,
    /// Who decided it.
    pub actor: Actor,
    /// What is to be done.
    pub act: Act,
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

    /// Executes acts that a service decided by itself about different addresses, in one batch where that is
    /// possible; each as [`Gate::execute`] would, and answered in order. At most [`crate::batch::BATCH_MAX`] at a time.
    pub async fn execute_all<'a>(&self, orders: &'a [Order]) -> Vec<Result<Executed, BusError>> {
        let mut addresses = BTreeSet::new();
        let mut decide = |order: &'a Order| {
            let decision = self.decide(&order.address, order.id, &order.actor, order.act.clone()).ok()?;
            match decision.outcome {
                Decided::Append(event) if addresses.insert(&order.address) => Some((event, decision.loaded)),
                Decided::Append(_) | Decided::Settled(_) => None,
            }
        };
        let decided: Vec<_> = orders.iter().map(&mut decide).collect();
        let together: Vec<_> =
            decided.iter().flatten().map(|(event, loaded)| (event.as_ref(), loaded)).collect();
        let mut appended = self.append_all(&together).await.into_iter();
        let appended = decided.iter().map(|one| one.as_ref().and_then(|_| appended.next()));
        let finish =
            orders.iter().zip(appended).map(|(order, appended)| self.finish(order, appended)).collect();
        side_by_side(finish).await
    }

    /// What became of an order whose batch said `appended`; nothing where it was in none.
    async fn finish(
        &self,
        order: &Order,
        appended: Option<Result<Option<Done>, BusError>>,
    ) -> Result<Executed, BusError> {
        match appended {
            Some(Ok(Some(done))) => {
                self.applied(done.seq).await?;
                self.bus.demand_standing(done.seq).map(|()| Executed::Done(done))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(None)) | None => {
                self.execute(&order.address, order.id, &order.actor, order.act.clone()).await
            }
        }
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
        self.append_after(self.fold.head().watermark, event, loaded).await
    }

    /// The same for what was first sent when the fold stood at `known`: on the log that the fold follows it stands
    /// after that.
    async fn append_after(
        &self,
        known: u64,
        event: &Event,
        loaded: &Loaded,
    ) -> Result<Option<Done>, BusError> {
        self.confirmed().await?;
        match self.bus.append(event, link(loaded), loaded.seq).await? {
            Appended::Stored(seq) => {
                expect_after(known, seq)?;
                self.bus.counts().appended(event);
                self.applied(seq).await?;
                self.bus.demand_standing(seq)?;
                Ok(Some(done(event, seq, loaded)))
            }
            Appended::Conflict => {
                self.bus.counts().conflict();
                self.is_current(&event.address, loaded).await?;
                Ok(None)
            }
        }
    }

    /// Appends decisions about different addresses together, each under its own condition; where that
    /// fails each is appended by itself, with the same event, which also finds one that was stored. The
    /// fold need not have applied them yet.
    pub(crate) async fn append_all(&self, all: &[(&Event, &Loaded)]) -> Vec<Result<Option<Done>, BusError>> {
        let linked: Vec<_> = all.iter().map(|(event, loaded)| (*event, link(loaded), loaded.seq)).collect();
        let known = self.fold.head().watermark;
        // Each of them says it itself where this cannot be waited for.
        if self.confirmed().await.is_ok()
            && let Some(first) = self.bus.append_batch(&linked).await
        {
            all.iter().for_each(|(event, _)| self.bus.counts().appended(event));
            let each = (first..).zip(all);
            return each
                .map(|(seq, (event, loaded))| {
                    expect_after(known, seq).map(|()| Some(done(event, seq, loaded)))
                })
                .collect();
        }
        let singly = all.iter().map(|(event, loaded)| self.append_after(known, event, loaded));
        side_by_side(singly.collect()).await
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

    /// Nothing is written to a log of which it is not known that it is the one that the fold follows.
    async fn confirmed(&self) -> Result<(), BusError> {
        let waited = tokio::time::timeout(CATCH_UP, self.fold.confirmed(&self.bus)).await;
        waited.map_err(|_| BusError::Failed {
            what: "writing to the log",
            detail: "it is not known yet whether it is the one that was followed before".to_owned(),
        })
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

/// What was written just now and stands where something was known to stand already is in another log.
fn expect_after(known: u64, seq: u64) -> Result<(), BusError> {
    if seq > known {
        return Ok(());
    }
    Err(TableError::Diverged { seq, detail: format!("it had {known} messages before") }.into())
}

fn link(loaded: &Loaded) -> Link {
    Link { revision: loaded.state.revision + 1, prev: loaded.prev }
}

fn done(event: &Event, seq: u64, loaded: &Loaded) -> Done {
    let version = event.fact.version();
    let issued = event.fact.issues();
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
