//! What a message says by itself, whatever stands before it in the log: its signature, its author's right
//! and its content. This is most of the work of believing, and needs no database, so that messages can be
//! weighed on all cores while those before them are written.

use crate::{Message, Record};
use keywheel_domain::{At, Event};
use keywheel_wire::belief::{self, Doubt};
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link, Read};
use keywheel_wire::signers::Signers;

/// What is to be thought of a message by itself.
#[derive(Debug)]
pub(crate) struct Opinion {
    read: Result<Read, Doubt>,
    payload_hash: [u8; 32],
    /// The last change of the signers by which it was found.
    by: u64,
}

impl Opinion {
    pub(crate) fn of(message: &Message, signers: &Signers) -> Self {
        let Message { seq, subject, payload, signed } = message;
        let read = belief::event(signers, *seq, subject, payload, signed.as_ref());
        Self { read, payload_hash: payload_hash(payload), by: signers.learned().changed() }
    }

    /// The same as long as the same signers are believed, else what is to be thought now.
    pub(crate) fn renewed(self, message: &Message, signers: &Signers) -> Self {
        if self.by == signers.learned().changed() { self } else { Self::of(message, signers) }
    }

    /// Of a payload at `subject` that was believed once.
    pub(crate) fn of_believed(subject: &str, payload: &[u8]) -> Self {
        let read = event::read(subject, payload).map_err(|error| Doubt::Skip(error.to_string()));
        Self { read, payload_hash: payload_hash(payload), by: 0 }
    }

    /// The event, if an entitled service wrote it.
    pub(crate) fn event(&self) -> Option<&Event> {
        self.read.as_ref().ok().map(|read| &read.event)
    }

    /// The event, with the hash by which the next one will name it, where it continues a state with these
    /// marks.
    pub(crate) fn continuing(
        self,
        subject: &str,
        revision: u64,
        prev: Option<[u8; 32]>,
    ) -> Result<(Read, [u8; 32]), Doubt> {
        let read = self.read?;
        if read.link == (Link { revision: revision + 1, prev }) {
            return Ok((read, self.payload_hash));
        }
        Err(Doubt::Skip(format!("{subject}: revision {} does not continue {revision}", read.link.revision)))
    }
}

/// A message with what is to be thought of it by itself. Whether it counts is the fold's to say.
#[derive(Debug)]
pub struct Weighed {
    pub(crate) record: Record,
    pub(crate) opinion: Opinion,
}

impl Weighed {
    /// Weighs a message for a reader that believes `signers`.
    pub fn new(message: Message, signers: &Signers) -> Self {
        Self::stored(Record { message, at: At(0), headers: Vec::new() }, signers)
    }

    /// The same with all that is stored of it, for a reader that copies the log.
    pub fn stored(record: Record, signers: &Signers) -> Self {
        let opinion = Opinion::of(&record.message, signers);
        Self { record, opinion }
    }

    /// The message with all that was given of it.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.record.message
    }

    /// Its sequence.
    pub fn seq(&self) -> u64 {
        self.record.message.seq
    }
}
