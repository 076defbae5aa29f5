//! Carries out what the desk says may be done.

use crate::SharedDesk;
use crate::desk::{Effect, kids, refuses_by};
use crate::figures::{Carried, Figures};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use keywheel_bus::batch::BATCH_MAX;
use keywheel_bus::gate::Order;
use keywheel_bus::parcel::Parcel;
use keywheel_bus::{BusError, Executed, Gate};
use keywheel_domain::command::Retirement;
use keywheel_domain::event::{Barrier, CommandId};
use keywheel_domain::key::{Origin, Replaces};
use keywheel_domain::{Act, Actor, Address, EdgeId, Event, KeyringId, Kid, Policy, Span, State, Version};
use keywheel_runtime::{Shutdown, clock};
use keywheel_token::id::derived;
use keywheel_wire::body::type_word;
use keywheel_wire::delivery::Sealed;
use keywheel_wire::notice::{Notice, Receipt, Unreached};
use keywheel_wire::subject;
use keywheel_wire::text::{Id, Moment, id};
use std::collections::BTreeMap;
use std::time::Duration;

/// How often the desk is looked through when nobody rings: what only time makes ready waits this long at most.
const EVERY: Duration = Duration::from_millis(100);
/// How many things that stand alone are under way at once.
const AT_ONCE: usize = 64;

/// A key whose barrier is passed: the position of its `KeyIssued`, whose it is, which, and the evidence.
type Activation = (u64, KeyringId, Version, Barrier);

/// A key that was activated: the position of its `KeyActivated`, whose it is, which.
type Activated = (u64, KeyringId, Version);

/// Carries out what stands alone, some of it at once; answers in order.
async fn side_by_side<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    futures_util::stream::iter(futures).buffered(AT_ONCE).collect().await
}

/// Carries effects out.
pub struct Carrier {
    /// Its gate to the log.
    pub gate: Gate,
    /// The desk.
    pub desk: SharedDesk,
    /// What is counted.
    pub figures: Figures,
    /// The fleet's lease.
    pub lease: Span,
}

impl Carrier {
    /// Works until `shutdown`.
    ///
    /// # Errors
    /// When the database fails; the bus being away is waited for.
    pub async fn run(&self, shutdown: &Shutdown) -> Result<(), BusError> {
        self.take_up(shutdown).await?;
        let mut carried = FuturesUnordered::new();
        while !shutdown.is_requested() {
            tokio::select! {
                Some(result) = carried.next(), if !carried.is_empty() => result?,
                () = self.desk.rung() => {}
                _ = shutdown.pause(EVERY) => {}
            }
            let effects = self.desk.lock().step(clock::boot_ms());
            if !effects.is_empty() {
                carried.push(self.carry_all(effects));
            }
        }
        while let Some(result) = carried.next().await {
            result?;
        }
        Ok(())
    }

    /// Work that was left when this propagator stopped: its clock begins anew.
    async fn take_up(&self, shutdown: &Shutdown) -> Result<(), BusError> {
        let pending = self.gate.fold().lock().pending()?;
        let taken = pending.iter().map(|(seq, address)| self.take_up_one(*seq, address, shutdown)).collect();
        side_by_side(taken).await.into_iter().collect()
    }

    async fn take_up_one(&self, seq: u64, address: &Address, shutdown: &Shutdown) -> Result<(), BusError> {
        while !shutdown.is_requested() && !self.desk.lock().knows(seq) {
            match self.gate.bus().event_at(seq, address).await {
                Ok(Some(recorded)) => self.desk.lock().take(&recorded, clock::boot_ms()),
                Ok(None) => return Ok(self.gate.fold().lock().settle(seq)?),
                Err(error) => {
                    tracing::warn!(%error, "cannot read what was left to do; trying again");
                    shutdown.pause(Duration::from_millis(500)).await;
                }
            }
        }
        Ok(())
    }

    /// Carries out what became ready together: activations in one batch, and one note of all that is done.
    async fn carry_all(&self, effects: Vec<Effect>) -> Result<(), BusError> {
        let counted: BTreeMap<u64, Carried> = effects.iter().filter_map(Carried::of).collect();
        let (mut activations, mut deliveries, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for effect in effects {
            match effect {
                Effect::Activate { seq, keyring, version, barrier } => {
                    activations.push((seq, keyring, version, barrier));
                }
                Effect::Deliver { seq, keyring, version } => deliveries.push((seq, keyring, version)),
                Effect::Receipt { .. } | Effect::Settle { .. } | Effect::Withdraw { .. } => rest.push(effect),
            }
        }
        let rest = side_by_side(rest.into_iter().map(|effect| self.carry(effect)).collect());
        let (activated, delivered, rest) =
            tokio::join!(self.activate_all(activations), self.deliver_all(deliveries), rest);
        let (mut done, mut again) = (Vec::new(), Vec::new());
        for (seq, carried) in activated.into_iter().chain(delivered).chain(rest.into_iter().flatten()) {
            match carried {
                Ok(()) => done.push(seq),
                Err(BusError::Table(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!(seq, %error, "some work waits; it is tried again");
                    again.push(seq);
                }
            }
        }
        self.gate.fold().lock().settle_all(&done)?;
        self.finish(&done, &counted);
        if !again.is_empty() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            again.iter().for_each(|seq| self.desk.lock().again(*seq));
        }
        Ok(())
    }

    fn finish(&self, done: &[u64], counted: &BTreeMap<u64, Carried>) {
        let now = clock::boot_ms();
        for seq in done {
            let seen = self.desk.lock().done(*seq);
            if let (Some(seen), Some(carried)) = (seen, counted.get(seq)) {
                self.figures.carried(carried, Duration::from_millis(now.saturating_sub(seen)));
            }
        }
    }

    async fn carry(&self, effect: Effect) -> Option<(u64, Result<(), BusError>)> {
        match effect {
            Effect::Activate { seq, keyring, version, barrier } => {
                self.activate_all(vec![(seq, keyring, version, barrier)]).await.pop()
            }
            Effect::Deliver { seq, keyring, version } => {
                self.deliver_all(vec![(seq, keyring, version)]).await.pop()
            }
            Effect::Receipt { seq, event, applied_on, unreached } => {
                Some((seq, self.receipt(seq, &event, applied_on, unreached).await))
            }
            Effect::Settle { seq } => Some((seq, Ok(()))),
            Effect::Withdraw { keyring, versions } => {
                if let Err(error) = self.withdraw(&keyring, &versions).await {
                    tracing::warn!(%keyring, %error, "a cancelled key's sealed secret lies on");
                }
                None
            }
        }
    }

    fn state(&self, address: &Address) -> Result<State, BusError> {
        Ok(self.gate.load(address, CommandId(0))?.state)
    }

    async fn activate_all(&self, ready: Vec<Activation>) -> Vec<(u64, Result<(), BusError>)> {
        let orders = side_by_side(ready.iter().map(|ready| self.activation(ready)).collect()).await;
        let (mut results, mut seqs, mut together) = (Vec::new(), Vec::new(), Vec::new());
        for ((seq, ..), order) in ready.iter().zip(orders) {
            match order {
                Ok(Some(order)) => {
                    seqs.push(*seq);
                    together.push(order);
                }
                Ok(None) => results.push((*seq, Ok(()))),
                Err(error) => results.push((*seq, Err(error))),
            }
        }
        for (seqs, orders) in seqs.chunks(BATCH_MAX).zip(together.chunks(BATCH_MAX)) {
            let executed = self.gate.execute_all(orders).await;
            for ((seq, order), executed) in seqs.iter().zip(orders).zip(executed) {
                if let Ok(Executed::Rejected(rejection)) = &executed {
                    tracing::info!(address = %order.address, %rejection, "not activated");
                }
                results.push((*seq, executed.map(|_| ())));
            }
        }
        results
    }

    /// Never without a sealed secret that its owner can be given (SAFETY 7).
    async fn activation(&self, ready: &Activation) -> Result<Option<Order>, BusError> {
        let (_, keyring, version, barrier) = ready;
        let address = Address::Keyring(keyring.clone());
        let state = self.state(&address)?;
        let Some(key) = state.keys.get(version) else { return Ok(None) };
        let deliverable = key.origin == Origin::Imported || self.gate.bus().staged(key.kid).await?.is_some();
        let (word, act) = if deliverable {
            ("activate", Act::Activate { version: *version, barrier: barrier.clone() })
        } else {
            let why = Retirement::Cancelled("no sealed secret was staged".to_owned());
            ("cancel", Act::Retire { version: *version, why })
        };
        let parts = [word, &subject::event(&address), &version.0.to_string()];
        let id = CommandId(derived(&parts));
        Ok(Some(Order { address, id, actor: Actor::service("propagator"), act }))
    }

    /// Puts sealed secrets where their owners find them, then takes them from where they were staged. Done twice it is
    /// the same delivery.
    async fn deliver_all(&self, ready: Vec<Activated>) -> Vec<(u64, Result<(), BusError>)> {
        let parcels = side_by_side(ready.iter().map(|one| self.parcel(one)).collect()).await;
        let (mut results, mut seqs, mut kids, mut together) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((seq, ..), parcel) in ready.iter().zip(parcels) {
            match parcel {
                Ok(Some((kid, parcel))) => {
                    seqs.push(*seq);
                    kids.push(kid);
                    together.push(parcel);
                }
                Ok(None) => results.push((*seq, Ok(()))),
                Err(error) => results.push((*seq, Err(error))),
            }
        }
        let mut delivered = Vec::new();
        for some in together.chunks(BATCH_MAX) {
            delivered.extend(self.gate.bus().deliver_all(some).await);
        }
        let withdraw = kids.into_iter().zip(delivered).map(async |(kid, delivered)| match delivered {
            Ok(()) => self.gate.bus().withdraw(kid).await,
            Err(error) => Err(error),
        });
        results.extend(seqs.into_iter().zip(side_by_side(withdraw.collect()).await));
        results
    }

    /// What is to be put where, with the kid under which it is staged; nothing where there is nothing to hand out.
    async fn parcel(&self, activated: &Activated) -> Result<Option<(Kid, Parcel)>, BusError> {
        let (_, keyring, version) = activated;
        let state = self.state(&Address::Keyring(keyring.clone()))?;
        let Some(key) = state.keys.get(version) else { return Ok(None) };
        if key.origin == Origin::Imported {
            // Its owner has it.
            return Ok(None);
        }
        if !key.state.is_live() {
            // It ended meanwhile: its owner has no use for it.
            return self.gate.bus().withdraw(key.kid).await.map(|()| None);
        }
        let Some(staged) = self.gate.bus().staged(key.kid).await? else { return Ok(None) };
        let sealed = Sealed { version: version.0, ..staged };
        let kept = match &key.replaces {
            Some(Replaces { policy, .. }) => policy.delivery_kept,
            None => self.policy(keyring, &state)?.delivery_kept,
        };
        Ok(Some((key.kid, Parcel { keyring: keyring.clone(), version: *version, sealed, kept })))
    }

    fn policy(&self, keyring: &KeyringId, state: &State) -> Result<Policy, BusError> {
        Ok(state.policy_within(&self.state(&Address::Tenant(keyring.tenant.clone()))?))
    }

    async fn withdraw(&self, keyring: &KeyringId, versions: &[Version]) -> Result<(), BusError> {
        let state = self.state(&Address::Keyring(keyring.clone()))?;
        for kid in kids(&state, versions) {
            if let Err(error) = self.gate.bus().withdraw(kid).await {
                tracing::warn!(%keyring, %kid, %error, "a cancelled key's sealed secret lies on");
            }
        }
        Ok(())
    }

    async fn receipt(
        &self,
        seq: u64,
        event: &Event,
        applied_on: Vec<EdgeId>,
        unreached: Vec<(EdgeId, u64)>,
    ) -> Result<(), BusError> {
        let Address::Keyring(keyring) = &event.address else { return Ok(()) };
        let state = self.state(&event.address)?;
        let tenant = self.state(&Address::Tenant(keyring.tenant.clone()))?;
        // The bus's clock: one of ours that is behind would promise too early. It is read after the barrier, so that on a
        // cluster the time in which an old head may be told is over.
        let bus_time = self.gate.bus().clock().await?;
        let mut named = Vec::new();
        for (edge, watermark) in &unreached {
            let stored = self.gate.bus().last_contact(edge).await?;
            // Where nothing is stored nothing is known of it.
            let contact = stored.map_or(bus_time, |(at, _)| at);
            let horizon = state.horizon_since(&tenant, *watermark, self.lease);
            named
                .push(Unreached { edge: edge.to_string(), refuses_by: Moment(refuses_by(contact, horizon)) });
        }
        let now = self.gate.now();
        let longest = state.horizon_since(&tenant, 0, self.lease);
        let receipt = Receipt {
            event_id: Id(event.id.0),
            event_type: type_word(event.fact.kind()).to_owned(),
            seq,
            command_id: Id(event.command.0),
            version: event.fact.version().map(|version| version.0),
            at: Moment(now),
            after_ms: now.since(event.at).0,
            edges: (applied_on.len() + named.len()) as u64,
            applied_on: applied_on.iter().map(ToString::to_string).collect(),
            unreached: named,
            final_at: Moment(refuses_by(bus_time, longest)),
        };
        let id = format!("receipt-{}", id(event.id.0));
        self.gate.bus().notify(&event.address, &id, &Notice::Receipt(receipt)).await
    }
}
