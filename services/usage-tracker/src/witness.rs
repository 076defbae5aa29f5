//! What is known of the edges in one round: coverage from the ledger, and last contacts from the bus,
//! which are asked for only where coverage does not do, and always after it.

use crate::ledger::Snapshot;
use crate::quiet::{Silence, Witness};
use keywheel_bus::{Bus, BusError};
use keywheel_domain::{At, EdgeId, Span, State};
use std::collections::{BTreeMap, BTreeSet};

/// An edge's last contact.
#[derive(Clone, Copy, Debug)]
struct Contact {
    at: At,
    watermark: u64,
    lease: Span,
}

/// The edges in one round.
pub(crate) struct Witnesses<'a> {
    bus: &'a Bus,
    bus_time: At,
    lease: Span,
    snapshot: &'a Snapshot,
    edges: Vec<Witness>,
    contacts: BTreeMap<EdgeId, Contact>,
    kept_since: Option<At>,
}

impl<'a> Witnesses<'a> {
    /// The edges of `roster` as the snapshot has them, and those that were `removed` from it. `bus_time` was
    /// read before the snapshot.
    pub fn new<'r>(
        bus: &'a Bus,
        bus_time: At,
        lease: Span,
        snapshot: &'a Snapshot,
        roster: impl IntoIterator<Item = &'r EdgeId>,
        removed: Vec<Witness>,
    ) -> Self {
        let witness = |edge: &EdgeId| Witness {
            edge: edge.clone(),
            covered: snapshot.coverage.get(edge).and_then(|coverage| coverage.stretch()),
            silence: None,
        };
        let edges = roster.into_iter().map(witness).chain(removed).collect();
        Self { bus, bus_time, lease, snapshot, edges, contacts: BTreeMap::new(), kept_since: None }
    }

    /// The time of the round, by the bus's clock.
    pub fn bus_time(&self) -> At {
        self.bus_time
    }

    /// By their coverage alone.
    pub fn covered(&self) -> &[Witness] {
        &self.edges
    }

    /// With the silence of `blocking` about a keyring in `state`, whose tenant is in `tenant`.
    pub async fn with_silence(
        &mut self,
        blocking: &BTreeSet<&EdgeId>,
        state: &State,
        tenant: &State,
    ) -> Result<Vec<Witness>, BusError> {
        let mut edges = self.edges.clone();
        for witness in edges.iter_mut().filter(|witness| blocking.contains(&witness.edge)) {
            let contact = self.contact(&witness.edge).await?;
            let horizon = state.horizon_since(tenant, contact.watermark, contact.lease);
            let silence = Silence { contact: contact.at, horizon };
            witness.silence = witness.silence.into_iter().chain([silence]).min_by_key(Silence::ends);
        }
        Ok(edges)
    }

    async fn contact(&mut self, edge: &EdgeId) -> Result<Contact, BusError> {
        if let Some(contact) = self.contacts.get(edge) {
            return Ok(*contact);
        }
        let mut contact = match self.bus.last_contact(edge).await? {
            Some((at, Some(pulse))) => {
                Contact { at, watermark: pulse.watermark, lease: self.lease.max(Span(pulse.lease_ms)) }
            }
            Some((at, None)) => Contact { at, watermark: 0, lease: self.lease },
            None => Contact { at: self.kept_since().await?, watermark: 0, lease: self.lease },
        };
        // A report is a sign of life too. A stored copy of the pulses may be older.
        let reported = self.snapshot.coverage.get(edge).map(|coverage| coverage.newest);
        contact.at = contact.at.max(reported.unwrap_or_default());
        self.contacts.insert(edge.clone(), contact);
        Ok(contact)
    }

    async fn kept_since(&mut self) -> Result<At, BusError> {
        if let Some(since) = self.kept_since {
            return Ok(since);
        }
        let since = self.bus.pulses_kept_since().await?;
        self.kept_since = Some(since);
        Ok(since)
    }
}
