//! Publishing commands and waiting for their outcomes, as an operator does.

use crate::batch::{BATCH_MAX, Letter};
use crate::error::Trying;
use crate::queue::side_by_side;
use crate::{Bus, BusError};
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use bytes::Bytes;
use keywheel_domain::Address;
use keywheel_domain::event::CommandId;
use keywheel_wire::outcome::Outcome;
use keywheel_wire::subject::{self, Verb};
use serde_json::Value;
use std::error::Error as _;
use std::time::{Duration, Instant};

/// How long the servers of a cluster may take to agree on another leader.
const LEADERLESS: Duration = Duration::from_secs(15);
const AGAIN: Duration = Duration::from_millis(250);

/// While the servers look for another leader nobody listens for the stream, and what the old one was given stays
/// unanswered. That is asked once more; with every further time another reason is more likely.
fn may_pass(error: &PublishError, since: Duration) -> bool {
    match error.kind() {
        PublishErrorKind::StreamNotFound => since < LEADERLESS,
        PublishErrorKind::TimedOut => since < LEADERLESS / 2,
        PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => false,
    }
}

/// Whether the queue has no room: the server says so in words alone, under the code of any failed write.
fn is_full(error: &PublishError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    source.is_some_and(|source| source.to_string().contains("maximum messages"))
}

impl Bus {
    /// Publishes a command (a JSON object with `id` and `actor`); resolves when it is durable. Sending
    /// the same document again after an error is safe: its id has one effect.
    ///
    /// # Errors
    /// [`BusError::Full`] when it was refused for want of room; else when it is not certain that it was stored.
    pub async fn send_command(
        &self,
        address: &Address,
        verb: Verb,
        document: &Value,
    ) -> Result<(), BusError> {
        let (subject, payload) = (subject::command(address, verb), Bytes::from(document.to_string()));
        let what = "publishing a command";
        let began = Instant::now();
        loop {
            let sent = match self.context().publish(subject.clone(), payload.clone()).await {
                Ok(sent) => sent.await,
                Err(error) => Err(error),
            };
            match sent {
                Ok(_) => return Ok(()),
                Err(error) if may_pass(&error, began.elapsed()) => {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) if is_full(&error) => return Err(BusError::Full { what }),
                Err(error) => return Err(error).trying(what),
            }
        }
    }

    /// Publishes many commands, in atomic batches where the bus takes them; resolves when all are durable but those,
    /// given by their places, that were refused for want of room.
    ///
    /// # Errors
    /// When it is not certain that the others were stored; sending them again is safe.
    pub async fn send_commands(&self, commands: &[(Address, Verb, Value)]) -> Result<Vec<usize>, BusError> {
        let mut refused = Vec::new();
        for (chunk, some) in commands.chunks(BATCH_MAX).enumerate() {
            let letter = |(address, verb, document): &(Address, Verb, Value)| {
                Letter::new(subject::command(address, *verb), document.to_string().into_bytes(), None)
            };
            let letters: Vec<_> = some.iter().map(letter).collect();
            if self.send_batch("publishing commands", &letters).await.is_some() {
                continue;
            }
            let singly =
                some.iter().map(|(address, verb, document)| self.send_command(address, *verb, document));
            let sent = side_by_side(singly.collect()).await;
            for (place, sent) in (chunk * BATCH_MAX..).zip(sent) {
                match sent {
                    Err(BusError::Full { .. }) => refused.push(place),
                    sent => sent?,
                }
            }
        }
        Ok(refused)
    }

    /// Waits for a command's outcome; `None` when there is none after `patience`.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn await_outcome(
        &self,
        id: CommandId,
        patience: Duration,
    ) -> Result<Option<Outcome>, BusError> {
        let poll = async {
            let mut pause = Duration::from_millis(5);
            loop {
                if let Some(outcome) = self.outcome(id).await? {
                    return Ok(outcome);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(100));
            }
        };
        match tokio::time::timeout(patience, poll).await {
            Ok(outcome) => outcome.map(Some),
            Err(_) => Ok(None),
        }
    }
}
