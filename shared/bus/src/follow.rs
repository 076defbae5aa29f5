//! Replay of the log into a fold: in order, without a gap, from where the fold stands, for ever.

use crate::ahead::{Ahead, PULL, Piece, to_record};
use crate::error::Trying;
use crate::heads::{Heard, SharedHeads, steps};
use crate::log::LogHead;
use crate::{Bus, BusError};
use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::Config;
use futures_util::StreamExt;
use keywheel_domain::At;
use keywheel_table::fold::Head;
use keywheel_table::{Applied, Fold, TableError, Weighed};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long the servers of a cluster may disagree about who leads.
const ELECTION: Duration = Duration::from_secs(20);
const CREATED: &str = "stream-created";
/// What is missing was sent to a pull that was left behind: by a connection that was lost, or by a reader that began
/// anew. A cluster's server goes on sending to it until it has run out. Who pulls again sooner leaves the next one
/// behind, and would miss what comes for ever.
const RUN_OUT: Duration = Duration::from_millis(200).saturating_add(PULL);
/// How often in a row a message may be missing at the same place before that is told: longer than pulls run out.
const GAPS_MAX: u32 = 5;

/// A fold that several tasks read and one task advances.
#[derive(Clone)]
pub struct SharedFold {
    fold: Arc<Mutex<Fold>>,
    /// On which connection the log was last found to be the one that this fold follows.
    confirmed: watch::Sender<Option<u64>>,
}

impl SharedFold {
    /// Shares a fold.
    pub fn new(fold: Fold) -> Self {
        Self { fold: Arc::new(Mutex::new(fold)), confirmed: watch::Sender::new(None) }
    }

    /// The fold, for a short and synchronous look.
    pub fn lock(&self) -> MutexGuard<'_, Fold> {
        self.fold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log behind the present connection was found to be the one that this fold follows.
    pub(crate) async fn confirmed(&self, bus: &Bus) {
        let mut confirmed = self.confirmed.subscribe();
        // This keeps a sender, so that it cannot end with an error.
        let _ = confirmed.wait_for(|on| *on == Some(bus.connections())).await;
    }

    /// Where it stands.
    pub fn head(&self) -> Head {
        self.lock().head()
    }

    /// When the stream was created that this fold follows; nothing before it was ever followed. A
    /// stream created at another time is another log.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn log_created(&self) -> Result<Option<At>, TableError> {
        let known = self.lock().note(CREATED)?;
        Ok(known.and_then(|bytes| bytes.try_into().ok()).map(|bytes| At(u64::from_be_bytes(bytes))))
    }

    /// Puts another fold in the place of this one, for everybody who shares it. The old one is closed.
    pub fn replace(&self, fold: Fold) {
        *self.lock() = fold;
    }
}

/// Notes in a new fold of a known log when that was created, so that no other is taken for it.
///
/// # Errors
/// When SQLite fails.
pub fn note_log_created(fold: &mut Fold, created: At) -> Result<(), TableError> {
    fold.apply(&[], &[created_note(created)]).map(drop)
}

/// The same as a note, for whoever commits it with other things.
pub fn created_note(created: At) -> (&'static str, Vec<u8>) {
    (CREATED, created.0.to_be_bytes().to_vec())
}

/// Whether the log is one that was created at `created` and has the message at `head` that led to its hash, as the
/// reader of `durable` is given it. The inner error says what contradicts.
///
/// # Errors
/// When the bus cannot be asked.
pub async fn confirms(
    bus: &Bus,
    durable: &str,
    head: Head,
    created: At,
) -> Result<Result<(), String>, BusError> {
    let log = bus.head().await?;
    if log.created != created {
        return Ok(Err("it is of another log".to_owned()));
    }
    if log.seq < head.watermark {
        return Ok(Err(format!("it stands at {}, the log ends at {}", head.watermark, log.seq)));
    }
    let consumer = rewound(bus, durable, head.watermark).await?;
    let messages = consumer.batch().max_messages(1).expires(PULL).messages().await;
    let first = tokio::time::timeout(PULL * 2, messages.trying("pulling from the log")?.next()).await;
    let Some(message) = first.trying("waiting for the log")? else {
        return Err(BusError::failed("reading the log")(&"it gives no message"));
    };
    let message = to_record(message)?.message;
    let chain = head.chain_before.next(message.seq, &message.subject, &message.payload);
    let continues = message.seq == head.watermark && chain == head.chain;
    Ok(if continues { Ok(()) } else { Err(format!("the log has another message at {}", head.watermark)) })
}

/// Takes what was applied, after it was committed. It runs between two batches: what it does is
/// visible before anything later is applied.
pub trait Sink: Send {
    /// After each batch, also an empty one of a quiet log. `notes` of the next commit may be added.
    fn applied(&mut self, applied: Applied, head: Head);

    /// Up to where this keeps a copy of the log; nothing where it keeps none. Who keeps one is given every message that
    /// it lacks, whether the fold has it or not.
    fn copied(&self) -> Option<u64> {
        None
    }

    /// Messages of the log created at `log_created`, believed or not, before any of them is applied: what cannot be
    /// copied is not applied.
    ///
    /// # Errors
    /// When they cannot be kept, or do not follow what was.
    fn copy(&mut self, log_created: At, messages: &[Weighed]) -> Result<(), BusError> {
        let _ = (log_created, messages);
        Ok(())
    }

    /// Facts of the shell's own to commit together with the next batch.
    fn notes(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        Vec::new()
    }
}

/// For services that look into the fold when they need it, and take no note of what is applied.
pub struct Unobserved;

impl Sink for Unobserved {
    fn applied(&mut self, _: Applied, _: Head) {}
}

/// Why the log is read again from the watermark.
enum Ended {
    /// After another connection, behind which may be another log.
    Connected,
    /// The log has more than it gives to the durable.
    Behind { expected: u64, got: u64 },
}

/// How often in a row a message was missing at one place.
#[derive(Default)]
struct Gaps {
    expected: u64,
    times: u32,
}

impl Gaps {
    fn count(&mut self, expected: u64, got: u64) -> Result<(), TableError> {
        let times = if self.expected == expected { self.times + 1 } else { 1 };
        *self = Self { expected, times };
        if times > GAPS_MAX { Err(TableError::Gap { expected, got }) } else { Ok(()) }
    }
}

/// Advances a fold along the log.
pub struct Follower {
    bus: Bus,
    fold: SharedFold,
    durable: String,
    watermark: watch::Sender<u64>,
    known: Option<Head>,
    heads: Option<SharedHeads>,
    signers: watch::Sender<Arc<Signers>>,
}

impl Follower {
    /// For the durable that was made for this reader.
    pub fn new(bus: Bus, fold: SharedFold, durable: String) -> Self {
        let (watermark, _) = watch::channel(fold.head().watermark);
        let (signers, _) = watch::channel(Arc::clone(fold.lock().signers()));
        bus.learn(&signers.borrow());
        Self { bus, fold, durable, watermark, known: None, heads: None, signers }
    }

    /// Whoever weighs what comes, and whoever hears notices, believes whom the fold believes.
    fn believe(&self) {
        let signers = Arc::clone(self.fold.lock().signers());
        if !Arc::ptr_eq(&signers, &self.signers.borrow()) {
            self.bus.learn(&signers);
            self.signers.send_replace(signers);
        }
    }

    /// Into a fold that is behind what this process had applied before: at `known` the log must be the
    /// same again.
    pub fn knowing(self, known: Head) -> Self {
        Self { known: Some(known), ..self }
    }

    /// Holds what is applied against signed heads: another history than theirs is another log.
    pub fn witnessed(self, heads: SharedHeads) -> Self {
        Self { heads: Some(heads), ..self }
    }

    /// Where to stop and compare, at or after `seq`.
    fn stop_at(&self, seq: u64) -> u64 {
        let known = self.known.map(|known| known.watermark).filter(|known| *known >= seq);
        let head = self.heads.as_ref().and_then(|heads| heads.stop_at(seq));
        known.into_iter().chain(head).min().unwrap_or(u64::MAX)
    }

    /// The watermark as it advances: what is committed and was passed to the sink.
    pub fn watermark(&self) -> watch::Receiver<u64> {
        self.watermark.subscribe()
    }

    /// Follows the log until `stop`. Lost connections, restarts of the bus and gaps are mended by
    /// beginning again at the watermark.
    ///
    /// # Errors
    /// When the log is not the one that was applied before, or the database fails: going on would be wrong.
    pub async fn run(&self, mut sink: impl Sink, stop: impl Future<Output = ()>) -> Result<(), BusError> {
        let mut stop = std::pin::pin!(stop);
        let mut wait = Duration::from_millis(100);
        let mut gaps = Gaps::default();
        loop {
            let ended = tokio::select! {
                () = &mut stop => return Ok(()),
                ended = self.follow(&mut sink, &mut wait) => ended,
            };
            match ended {
                Err(BusError::Table(TableError::Gap { expected, got })) => {
                    gaps.count(expected, got)?;
                    tracing::warn!(expected, got, "messages were missing; reading them again");
                    wait = RUN_OUT;
                }
                Err(BusError::Failed { what, detail }) => {
                    tracing::warn!(what, %detail, "cannot read the log now; trying again");
                }
                Err(error) => return Err(error),
                Ok(Ended::Behind { expected, got }) => gaps.count(expected, got)?,
                Ok(Ended::Connected) => {}
            }
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }

    /// Ends well when it should begin again.
    async fn follow(&self, sink: &mut impl Sink, wait: &mut Duration) -> Result<Ended, BusError> {
        let connections = self.bus.connections();
        self.believe();
        self.check_identity().await?;
        let copied = sink.copied();
        let watermark = self.fold.head().watermark;
        let from = watermark.min(copied.unwrap_or(u64::MAX));
        // At the watermark itself: the first message then confirms the hash there.
        let consumer = rewound(&self.bus, &self.durable, from).await?;
        *wait = Duration::from_millis(100);
        let created = self.fold.log_created()?.unwrap_or_default();
        let mut ahead = Ahead::begin(consumer, self.signers.subscribe(), copied.is_some());
        let (mut confirmed, mut begins, mut is_first) = (watermark == 0, true, true);
        loop {
            if confirmed {
                self.fold.confirmed.send_replace(Some(connections));
            }
            let Piece { messages: mut rest, ended } = ahead.next().await?;
            if self.bus.connections() != connections {
                return Ok(Ended::Connected);
            }
            if let (true, Some(first)) = (begins, rest.first()) {
                // A durable of the same name may by now be that of another stream; within one pull it cannot change.
                self.check_identity().await?;
                if std::mem::take(&mut is_first) {
                    begins_at(from.max(1), first.seq())?;
                }
                begins = false;
            }
            confirmed |= rest.last().is_some_and(|last| last.seq() >= watermark);
            if copied.is_some() && !rest.is_empty() {
                tokio::task::block_in_place(|| sink.copy(created, &rest))?;
            }
            while let Some(first) = rest.first() {
                let stop = self.stop_at(first.seq());
                let after = rest.split_off(rest.partition_point(|message| message.seq() <= stop));
                self.apply(std::mem::replace(&mut rest, after), sink)?;
            }
            let Some(taken) = ended else { continue };
            self.apply(Vec::new(), sink)?;
            begins = true;
            if taken > 0 {
                continue;
            }
            let (got, expected) = (self.check_identity().await?, self.fold.head().watermark + 1);
            if got >= expected {
                return Ok(Ended::Behind { expected, got });
            }
        }
    }

    /// The head of the log, and how many messages it lacks. Of several servers one that leads no more, or does not lead quite yet, may tell one that is
    /// older than what was applied: that is not believed until it has been told for long.
    async fn settled_head(&self) -> Result<(LogHead, u64), BusError> {
        let began = Instant::now();
        loop {
            let (log, missing) = self.bus.head_and_missing().await?;
            let is_older = log.seq < self.fold.head().watermark;
            if !is_older || began.elapsed() > ELECTION || !self.bus.is_log_kept_by_several().await? {
                return Ok((log, missing));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// The stream must be the one that was followed before, not shorter than what was applied, and hold every
    /// message. Gives its last sequence.
    async fn check_identity(&self) -> Result<u64, BusError> {
        let (log, missing) = self.settled_head().await?;
        let head = self.fold.head();
        match self.fold.log_created()? {
            Some(known) if known != log.created => {
                return Err(BusError::OtherLog("it was created anew".to_owned()));
            }
            Some(_) => {}
            None if log.seq < head.watermark => {}
            None => note_log_created(&mut self.fold.lock(), log.created)?,
        }
        let diverged = |detail: String| TableError::Diverged { seq: head.watermark, detail };
        if log.seq < head.watermark {
            return Err(diverged(format!("it ends at {}", log.seq)).into());
        }
        if missing > 0 {
            return Err(diverged(format!("{missing} of its messages are gone")).into());
        }
        Ok(log.seq)
    }

    fn apply(&self, batch: Vec<Weighed>, sink: &mut impl Sink) -> Result<(), BusError> {
        let notes = sink.notes();
        let (applied, head) = if batch.is_empty() && notes.is_empty() {
            (Applied::default(), self.fold.head())
        } else {
            let mut fold = self.fold.lock();
            let before = fold.head();
            let steps = self.heads.as_ref().map(|_| steps(before, &batch));
            let applied = tokio::task::block_in_place(|| fold.apply_weighed(batch, &notes))?;
            if let (Some(heads), Some(steps)) = (&self.heads, steps) {
                heads.walked(before, steps);
            }
            (applied, fold.head())
        };
        self.believe();
        compare(self.known, head)?;
        if let Some(Heard::Contradicts(detail)) = self.heads.as_ref().map(|heads| heads.reached(head)) {
            return Err(TableError::Diverged { seq: head.watermark, detail }.into());
        }
        for (seq, reason) in &applied.alarms {
            tracing::error!(seq, %reason, "a message of the log was not applied");
        }
        sink.applied(applied, head);
        self.watermark.send_replace(head.watermark);
        Ok(())
    }
}

async fn rewound(bus: &Bus, durable: &str, watermark: u64) -> Result<Consumer<Config>, BusError> {
    let stream = bus.stream(subject::EVENTS).await?;
    let reset = stream.reset_consumer(durable, Some(watermark.max(1))).await;
    reset.trying("rewinding the durable")?;
    stream.get_consumer(durable).await.trying("opening the durable")
}

/// The message at the watermark comes first, so that its hash is confirmed: without it nothing after it is applied.
fn begins_at(watermark: u64, first: u64) -> Result<(), TableError> {
    if first <= watermark { Ok(()) } else { Err(TableError::Gap { expected: watermark, got: first }) }
}

/// A log that was read again from its beginning: the same up to where it was known?
fn compare(known: Option<Head>, head: Head) -> Result<(), TableError> {
    match known {
        Some(known) if known.watermark == head.watermark && known.chain != head.chain => {
            let detail = "read again it is another than before".to_owned();
            Err(TableError::Diverged { seq: head.watermark, detail })
        }
        Some(_) | None => Ok(()),
    }
}

/// The time at which a message of a queue was stored, by the bus's clock.
pub(crate) fn stored_at(message: &async_nats::jetstream::Message) -> Result<At, BusError> {
    let info = message.info().trying("reading a message's place")?;
    Ok(crate::log::millis(info.published))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_again_and_again_at_one_place_is_told() {
        let mut gaps = Gaps::default();
        let mut times = |expected| (0..GAPS_MAX).all(|_| gaps.count(expected, 9).is_ok());
        assert!(times(3) && times(4), "it went on meanwhile");
        assert!(matches!(gaps.count(4, 9), Err(TableError::Gap { expected: 4, got: 9 })));
    }

    #[test]
    fn a_log_that_lacks_the_message_at_the_watermark_is_not_gone_on_with() {
        assert!(begins_at(3, 3).is_ok() && begins_at(3, 2).is_ok());
        assert!(matches!(begins_at(3, 4), Err(TableError::Gap { expected: 3, got: 4 })));
    }
}
