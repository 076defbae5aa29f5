//! A lost log put back from a copy: filled where nobody else can write, then made the log by one signed change.
//!
//! Until that change readers and writers find no log. Needs the admin credential.

use crate::batch::Letter;
use crate::error::Trying;
use crate::log::millis;
use crate::{Bus, BusError, topology};
use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, Info, SubjectTransform};
use keywheel_domain::At;
use keywheel_table::Record;
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject::{self, HEADER_ID, HEADER_SIGNATURE, HEADER_SIGNER, HEADER_TYPE, HEADER_V};
use keywheel_wire::successor::{RESTORING, Successor};
use keywheel_wire::{belief, chain::Chain};

/// What is put back of a message's headers. The others are the bus's own, about an earlier storing.
const KEPT: [&str; 4] = [HEADER_SIGNER, HEADER_SIGNATURE, HEADER_TYPE, HEADER_V];
const WHAT: &str = "restoring the log";

/// What stands where the log should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No stream.
    Nothing,
    /// One that never held a message.
    Empty,
    /// One that is being restored from the copy of this name, as far as this.
    Unfinished(String, u64),
    /// One that was restored, and where it ended then.
    Restored(Successor),
    /// Another one, with its last sequence.
    Log(u64),
}

impl Bus {
    /// What stands where the log should be.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn log_standing(&self) -> Result<Standing, BusError> {
        let Some(info) = self.log_info().await? else { return Ok(Standing::Nothing) };
        let notes = &info.config.metadata;
        if let Some(copy) = notes.get(RESTORING) {
            return Ok(Standing::Unfinished(copy.clone(), info.state.last_sequence));
        }
        // What is not believed was not restored, as far as any reader is concerned.
        let restored = Successor::read(notes, &self.signers(), millis(info.created)).ok().flatten();
        let last = info.state.last_sequence;
        Ok(match restored {
            Some(restored) => Standing::Restored(restored),
            None if last == 0 => Standing::Empty,
            None => Standing::Log(last),
        })
    }

    async fn log_info(&self) -> Result<Option<Info>, BusError> {
        match self.context().get_stream(subject::EVENTS).await {
            Ok(stream) => Ok(Some(stream.cached_info().clone())),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(why) if why.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    Ok(None)
                }
                GetStreamErrorKind::JetStream(_)
                | GetStreamErrorKind::EmptyName
                | GetStreamErrorKind::Request
                | GetStreamErrorKind::InvalidStreamName => Err(error).trying("asking about the log"),
            },
        }
    }

    /// Makes the stream in which the copy of this name is put back. One that is empty, or was begun with another copy,
    /// is taken away first; one that holds a log never is.
    ///
    /// # Errors
    /// When the bus refuses, or a log stands there.
    pub async fn begin_restoring(&self, replicas: usize, copy: &str) -> Result<(), BusError> {
        match self.log_standing().await? {
            Standing::Nothing => {}
            Standing::Empty | Standing::Unfinished(..) => {
                self.context().delete_stream(subject::EVENTS).await.trying(WHAT)?;
            }
            Standing::Restored(_) | Standing::Log(_) => {
                return Err(BusError::failed(WHAT)(&"there is a log, which is left as it is"));
            }
        }
        let filling = Config {
            subjects: vec![subject::RESTORE_ALL.to_owned()],
            subject_transform: Some(SubjectTransform {
                source: subject::RESTORE_ALL.to_owned(),
                destination: subject::EVENTS_ALL.to_owned(),
            }),
            metadata: [(RESTORING.to_owned(), copy.to_owned())].into(),
            ..topology::log(replicas)
        };
        self.context().create_stream(filling).await.trying(WHAT)?;
        Ok(())
    }

    /// Puts up to [`crate::batch::BATCH_MAX`] messages back, all or none, after those that are there; they must follow
    /// them. Those that a reader with `signers` believes keep their ids. Gives the last position that is there now.
    ///
    /// # Errors
    /// When it is not known what is there.
    pub async fn put_back(&self, records: &[Record], signers: &Signers) -> Result<u64, BusError> {
        let letters =
            records.iter().enumerate().map(|(at, record)| put_back_letter(record, signers, at == 0));
        let letters = letters.collect::<Result<Vec<_>, _>>()?;
        // Whether it was stored the stream itself says.
        self.send_batch(WHAT, &letters).await;
        match self.log_standing().await? {
            Standing::Unfinished(_, last) => Ok(last),
            other @ (Standing::Nothing | Standing::Empty | Standing::Restored(_) | Standing::Log(_)) => {
                Err(BusError::failed(WHAT)(&format!("somebody else is at it: found {other:?}")))
            }
        }
    }

    /// The running hash over what was put back up to `last`, read from the bus.
    ///
    /// # Errors
    /// When it cannot be read, or a message is missing.
    pub async fn restored_chain(&self, last: u64, mut step: impl FnMut(u64)) -> Result<Chain, BusError> {
        let (mut chain, mut at) = (Chain::default(), 0);
        while at < last {
            let page = self.page(at + 1, None).await?;
            if page.is_empty() {
                return Err(BusError::failed(WHAT)(&format!("the bus gives nothing after {at}")));
            }
            for message in page.iter().take_while(|message| message.seq <= last) {
                if message.seq != at + 1 {
                    return Err(BusError::failed(WHAT)(&format!("the bus lacks {}", at + 1)));
                }
                chain = chain.next(message.seq, &message.subject, &message.payload);
                at = message.seq;
            }
            step(at);
        }
        Ok(chain)
    }

    /// Makes the filled stream the log, in one change: from then on it takes events, and says by a statement that
    /// `signer` signs which log it continues.
    ///
    /// # Errors
    /// When the bus refuses.
    pub async fn finish_restoring(
        &self,
        replicas: usize,
        signer: &Signer,
        statement: impl FnOnce(At) -> Successor,
    ) -> Result<Successor, BusError> {
        let info = self.log_info().await?.ok_or_else(|| BusError::failed(WHAT)(&"the stream is gone"))?;
        let statement = statement(millis(info.created));
        let metadata = statement.notes(signer)?;
        self.context().update_stream(Config { metadata, ..topology::log(replicas) }).await.trying(WHAT)?;
        Ok(statement)
    }
}

fn put_back_letter(record: &Record, signers: &Signers, is_first: bool) -> Result<Letter, BusError> {
    let message = &record.message;
    let mut headers = HeaderMap::new();
    for (name, value) in record.headers.iter().filter(|(name, _)| KEPT.contains(&name.as_str())) {
        headers.insert(name.as_str(), value.as_str());
    }
    // The bus stores an id once. What nobody believes may bear any.
    let read =
        belief::event(signers, message.seq, &message.subject, &message.payload, message.signed.as_ref());
    if read.is_ok()
        && let Some((_, id)) = record.headers.iter().find(|(name, _)| name == HEADER_ID)
    {
        headers.insert(HEADER_ID, id.as_str());
    }
    if is_first {
        let before = (message.seq - 1).to_string();
        headers.insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, before);
    }
    let subject = subject::restore(&message.subject)?;
    Ok(Letter { subject, headers, payload: message.payload.clone().into(), expects: None })
}
