//! Usage reports: stored with an acknowledgement, taken from their queue one after another.

use crate::error::Trying;
use crate::follow::stored_at;
use crate::{Bus, BusError};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::message::PublishMessage;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use keywheel_domain::{At, EdgeId};
use keywheel_wire::subject::{self, Service};
use keywheel_wire::usage::Report;
use keywheel_wire::{text, usage};
use std::time::Duration;

/// Most reports that are taken at a time. All of them are in memory at once, and each may be large.
const BATCH: usize = 64;
/// How long one pull waits for reports; a lost connection is noticed soon after.
const PULL: Duration = Duration::from_secs(1);

/// A report that was taken from the queue; it comes again until it is [`Taken::done`].
pub struct Taken {
    /// The edge, by the subject that its credential allows.
    pub edge: EdgeId,
    /// What it says; an unreadable one says nothing, which restarts the edge's coverage by its gap.
    pub report: Option<Report>,
    /// When the bus stored it. Report n is cut after n − 1 was stored, so this time of n − 1 is what
    /// report n proves coverage up to.
    pub stored_at: At,
    message: async_nats::jetstream::Message,
}

impl Taken {
    /// Takes it off the queue.
    ///
    /// # Errors
    /// When the bus did not take the acknowledgement; the report then comes again.
    pub async fn done(&self) -> Result<(), BusError> {
        self.message.ack().await.trying("acknowledging a report")
    }
}

impl Bus {
    /// Stores a report; resolves when `KW_USAGE` has acknowledged it. The same report sent again
    /// (after an unclear acknowledgement) is stored once within the bus's duplicate window, and
    /// recognised by its number beyond it.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn put_report(&self, edge: &EdgeId, report: &Report) -> Result<(), BusError> {
        let payload = serde_json::to_vec(report).trying("writing a report")?;
        let id = format!("{}-{}", text::id(report.boot.0), report.number);
        let message = PublishMessage::build().payload(payload.into()).message_id(id);
        let sent = self.context().send_publish(subject::usage(edge), message).await;
        sent.trying("publishing a report")?.await.trying("publishing a report")?;
        Ok(())
    }

    /// The queue of reports, for the one usage-tracker that takes them.
    pub fn reports(&self) -> Reports {
        Reports { bus: self.clone(), open: None }
    }
}

/// The queue of reports. A pull stays open between two takings: one that is given up loses what is on
/// its way until the bus sends it again, and the edge's coverage breaks at the gap.
pub struct Reports {
    bus: Bus,
    open: Option<BoxStream<'static, Vec<Pulled>>>,
}

type Pulled = Result<async_nats::jetstream::Message, async_nats::Error>;

impl Reports {
    /// The next reports in the order in which they were stored; empty after `wait` without any. May be
    /// given up while it waits: nothing is lost.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn next(&mut self, wait: Duration) -> Result<Vec<Taken>, BusError> {
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(open_pull(&self.bus).await?),
        };
        match tokio::time::timeout(wait, open.next()).await {
            Ok(Some(messages)) => self.read(messages),
            Ok(None) => {
                self.open = None;
                Ok(Vec::new())
            }
            Err(_) => Ok(Vec::new()),
        }
    }

    /// What the open pull still brings until it ends, a second later at most. Nothing is on its way then,
    /// so whoever takes the next reports takes up where this one ended.
    ///
    /// # Errors
    /// When a report cannot be placed.
    pub async fn rest(&mut self) -> Result<Vec<Taken>, BusError> {
        let mut rest = Vec::new();
        let Some(mut open) = self.open.take() else { return Ok(rest) };
        while let Ok(Some(messages)) = tokio::time::timeout(PULL * 2, open.next()).await {
            rest.extend(self.read(messages)?);
        }
        Ok(rest)
    }

    fn read(&mut self, messages: Vec<Pulled>) -> Result<Vec<Taken>, BusError> {
        let mut taken = Vec::new();
        for message in messages {
            match message {
                Ok(message) => taken.extend(take(message)?),
                // What came before it is good; the pull is not.
                Err(error) => {
                    tracing::warn!(%error, "a pull of reports ended early");
                    self.open = None;
                }
            }
        }
        Ok(taken)
    }
}

async fn open_pull(bus: &Bus) -> Result<BoxStream<'static, Vec<Pulled>>, BusError> {
    let stream = bus.stream(subject::USAGE).await?;
    let consumer: PullConsumer =
        stream.get_consumer(Service::UsageTracker.name()).await.trying("opening the queue of reports")?;
    let batch = consumer.batch().max_messages(BATCH).expires(PULL).messages().await;
    Ok(batch.trying("taking reports")?.ready_chunks(BATCH).boxed())
}

fn take(message: async_nats::jetstream::Message) -> Result<Option<Taken>, BusError> {
    let name = message.subject.rsplit('.').next().unwrap_or_default();
    let Ok(edge) = EdgeId::parse(name) else { return Ok(None) };
    let report = usage::read(&edge, &message.payload)
        .map_err(|error| tracing::warn!(%edge, %error, "an unreadable usage report"))
        .ok();
    let stored_at = stored_at(&message)?;
    Ok(Some(Taken { edge, report, stored_at, message }))
}
