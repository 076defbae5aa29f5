//! Reads and weighs the log ahead of what is applied, in order: signatures are checked on all cores while
//! earlier messages are written.

use crate::BusError;
use crate::connect::signed;
use crate::error::Trying;
use async_nats::jetstream::consumer::Consumer;
use async_nats::jetstream::consumer::pull::Config;
use async_nats::jetstream::message::Message as Received;
use futures_util::StreamExt;
use keywheel_table::{Message, Record, Weighed};
use keywheel_wire::signers::Signers;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;

/// Most messages that one pull asks for.
const PULLED_MAX: usize = 4000;
/// How long one pull waits for messages; a lost connection is noticed no later.
pub(crate) const PULL: Duration = Duration::from_secs(2);
/// Most messages that are weighed together, by one thread.
const CHUNK: usize = 250;
/// So many are weighed where they are: to pass them on would take longer.
const FEW: usize = 4;
/// Chunks that may wait to be applied.
const WAITING: usize = 16;
/// Most messages that are applied in one transaction, but for the last chunk's.
const APPLIED_MAX: usize = 4000;

/// What is to be applied next.
#[derive(Default)]
pub(crate) struct Piece {
    /// In the order of the log.
    pub(crate) messages: Vec<Weighed>,
    /// A pull has ended with them, which brought so many messages in all.
    pub(crate) ended: Option<usize>,
}

/// What is read ahead. Dropped, it reads no further.
pub(crate) struct Ahead {
    go_on: Arc<Notify>,
    was_empty: bool,
    pieces: mpsc::Receiver<Result<Piece, BusError>>,
    waiting: Option<Result<Piece, BusError>>,
    _reading: JoinSet<()>,
}

impl Ahead {
    /// Begins to read what `consumer` gives, for a reader that believes `signers` (with every header, where it `copies` the log): those of the
    /// moment at which a message comes; one that a later change concerns is weighed anew when it is applied. After a pull that brought nothing it
    /// waits until it is asked for more: a reader that then begins anew leaves no pull behind, to which a server of a
    /// cluster would go on sending the messages that the new one waits for.
    pub(crate) fn begin(
        consumer: Consumer<Config>,
        signers: watch::Receiver<Arc<Signers>>,
        copies: bool,
    ) -> Self {
        let (to, pieces) = mpsc::channel(WAITING);
        let go_on = Arc::new(Notify::new());
        let mut reading = JoinSet::new();
        let asked = Arc::clone(&go_on);
        reading.spawn(async move {
            while !to.is_closed() {
                let pulled = pull(&consumer, &signers, copies, &to).await;
                let (is_over, is_empty) = (pulled.is_err(), matches!(pulled, Ok(0)));
                // Nobody receives it once this is dropped.
                let _ = to.send(pulled.map(|taken| Piece { ended: Some(taken), ..Piece::default() })).await;
                if is_over {
                    return;
                }
                if is_empty {
                    asked.notified().await;
                }
            }
        });
        Self { go_on, was_empty: false, pieces, waiting: None, _reading: reading }
    }

    /// All that is ready, as far as one transaction takes it; waits until there is something.
    ///
    /// # Errors
    /// When the log cannot be read on.
    pub(crate) async fn next(&mut self) -> Result<Piece, BusError> {
        if std::mem::take(&mut self.was_empty) {
            self.go_on.notify_one();
        }
        let first = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.pieces.recv().await.unwrap_or(Err(BusError::Stopped)),
        };
        let mut piece = first?;
        while piece.ended.is_none() && piece.messages.len() < APPLIED_MAX {
            match self.pieces.try_recv() {
                Ok(Ok(more)) => {
                    piece.messages.extend(more.messages);
                    piece.ended = more.ended;
                }
                Ok(failed) => {
                    self.waiting = Some(failed);
                    break;
                }
                Err(_) => break,
            }
        }
        self.was_empty = piece.ended == Some(0);
        Ok(piece)
    }
}

/// Passes on what one pull brings, and says how many messages that were.
async fn pull(
    consumer: &Consumer<Config>,
    signers: &watch::Receiver<Arc<Signers>>,
    copies: bool,
    to: &mpsc::Sender<Result<Piece, BusError>>,
) -> Result<usize, BusError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let messages = consumer.batch().max_messages(PULLED_MAX).expires(PULL).messages().await;
    let messages = messages.trying("pulling from the log")?;
    let chunks = match copies {
        true => messages.map(to_whole_record).ready_chunks(CHUNK).boxed(),
        false => messages.map(to_record).ready_chunks(CHUNK).boxed(),
    };
    let signers = signers.clone();
    let believed = move || Arc::clone(&signers.borrow());
    let mut weighed = chunks.map(move |chunk| weigh(chunk, believed())).buffered(cores + 1);
    let mut taken = 0;
    loop {
        let next = tokio::time::timeout(PULL * 2, weighed.next()).await;
        let Some(messages) = next.trying("waiting for the log")? else { return Ok(taken) };
        let messages = messages?;
        taken += messages.len();
        if to.send(Ok(Piece { messages, ended: None })).await.is_err() {
            return Ok(taken);
        }
    }
}

async fn weigh(
    chunk: Vec<Result<Record, BusError>>,
    signers: Arc<Signers>,
) -> Result<Vec<Weighed>, BusError> {
    let records: Vec<Record> = chunk.into_iter().collect::<Result<_, _>>()?;
    let is_few = records.len() <= FEW;
    let weigh = move || records.into_iter().map(|record| Weighed::stored(record, &signers)).collect();
    if is_few {
        return Ok(weigh());
    }
    tokio::task::spawn_blocking(weigh).await.trying("checking what the log brought")
}

/// As it was received, without the headers that no reader needs.
pub(crate) fn to_record(received: Result<Received, async_nats::Error>) -> Result<Record, BusError> {
    const WHAT: &str = "reading the log";
    let received = received.trying(WHAT)?;
    let info = received.info().trying(WHAT)?;
    let (seq, at) = (info.stream_sequence, crate::log::millis(info.published));
    let message = Message {
        seq,
        subject: received.subject.to_string(),
        signed: signed(received.headers.as_ref()),
        payload: received.message.payload.into(),
    };
    Ok(Record { message, at, headers: Vec::new() })
}

/// As it was received, with every header.
fn to_whole_record(received: Result<Received, async_nats::Error>) -> Result<Record, BusError> {
    let headers = received.as_ref().ok().and_then(|received| received.headers.as_ref());
    let headers = headers.map(crate::records::headers).unwrap_or_default();
    Ok(Record { headers, ..to_record(received)? })
}
