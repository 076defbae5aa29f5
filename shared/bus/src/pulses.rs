//! Pulses: published with an acknowledgement, heard as they come, read back from where they are stored.

use crate::error::Trying;
use crate::log::millis;
use crate::{Bus, BusError};
use futures_util::{Stream, StreamExt};
use keywheel_domain::{At, EdgeId};
use keywheel_wire::pulse::{self, Pulse};
use keywheel_wire::{Malformed, subject};

/// A pulse with the time at which the bus stored it.
#[derive(Clone, Debug)]
pub struct StoredPulse {
    /// The pulse.
    pub pulse: Pulse,
    /// By the bus's clock.
    pub at: At,
}

impl Bus {
    /// Stores a pulse; resolves when `KW_PULSE` has acknowledged it.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn put_pulse(&self, edge: &EdgeId, pulse: &Pulse) -> Result<(), BusError> {
        let payload = serde_json::to_vec(pulse).trying("writing a pulse")?;
        let sent = self.context().publish(subject::pulse(edge), payload.into()).await;
        sent.trying("publishing a pulse")?.await.trying("publishing a pulse")?;
        Ok(())
    }

    /// Pulses as they are published, each checked against the subject that it came by.
    ///
    /// # Errors
    /// When the bus refuses the subscription.
    pub async fn pulses(
        &self,
    ) -> Result<impl Stream<Item = Result<Pulse, Malformed>> + Unpin + use<>, BusError> {
        let subscription = self.client().subscribe(subject::PULSE_ALL).await.trying("listening to pulses")?;
        Ok(subscription.map(|message| read_checked(&message.subject, &message.payload)))
    }

    /// The newest stored pulse of an edge, as the leader of `KW_PULSE` says.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn last_pulse(&self, edge: &EdgeId) -> Result<Option<StoredPulse>, BusError> {
        let Some((at, pulse)) = self.newest(edge).await? else { return Ok(None) };
        Ok(Some(StoredPulse { pulse: pulse?, at }))
    }

    /// The latest time at which an edge can have stored a pulse, with that pulse. Of one that cannot be read only the
    /// time is known: whatever the edge writes, it holds up nobody else.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn last_contact(&self, edge: &EdgeId) -> Result<Option<(At, Option<Pulse>)>, BusError> {
        let newest = self.newest(edge).await?;
        Ok(newest.map(|(at, pulse)| (at, pulse.ok())))
    }

    async fn newest(&self, edge: &EdgeId) -> Result<Option<(At, Result<Pulse, Malformed>)>, BusError> {
        let subject = subject::pulse(edge);
        let message = self.last_message(subject::PULSE, &subject).await?;
        Ok(message.map(|message| (millis(message.time), read_checked(&subject, &message.payload))))
    }

    /// Since when pulses are kept: before this, their absence says nothing.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn pulses_kept_since(&self) -> Result<At, BusError> {
        let stream = self.stream(subject::PULSE).await?;
        let info = stream.get_info().await.trying("asking about the pulses")?;
        Ok(millis(info.created))
    }
}

fn read_checked(subject: &str, payload: &[u8]) -> Result<Pulse, Malformed> {
    let pulse = pulse::read(payload)?;
    let edge = EdgeId::parse(&pulse.id)?;
    if subject::pulse(&edge) == subject {
        Ok(pulse)
    } else {
        Err(Malformed::new("id", format!("speaks for `{edge}`, came by {subject}")))
    }
}
