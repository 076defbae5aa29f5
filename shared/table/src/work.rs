//! Messages folded into rows that are written together at the end of their transaction.

use crate::fold::{Applied, Loaded, Message, Options};
use crate::head::Head;
use crate::parts::Parts;
use crate::rows::{self, Held, combine};
use crate::weigh::Opinion;
use crate::{TableError, done, doubts};
use keywheel_domain::{Recorded, State, evolve};
use keywheel_wire::belief::Doubt;
use keywheel_wire::event::Read;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use rusqlite::{Transaction, params};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A transaction that is being filled.
pub(crate) struct Work<'a> {
    transaction: &'a Transaction<'a>,
    options: Options,
    signers: Arc<Signers>,
    parts: &'a mut Parts,
    head: Head,
    held: BTreeMap<String, Held>,
    applied: Applied,
}

impl<'a> Work<'a> {
    /// Nothing yet, after `head`.
    pub(crate) fn begin(
        transaction: &'a Transaction<'a>,
        options: Options,
        signers: Arc<Signers>,
        parts: &'a mut Parts,
        head: Head,
    ) -> Self {
        let (held, applied) = (BTreeMap::new(), Applied::default());
        Self { transaction, options, signers, parts, head, held, applied }
    }

    /// Takes the next message, with an `opinion` of it that is asked for only where it counts.
    pub(crate) fn apply(
        &mut self,
        message: &Message,
        opinion: impl FnOnce(&Signers) -> Opinion,
    ) -> Result<(), TableError> {
        let Message { seq, subject, payload, signed: _ } = message;
        if *seq < self.head.watermark {
            return Ok(());
        }
        if *seq == self.head.watermark {
            return self.check_again(message);
        }
        if *seq != self.head.watermark + 1 {
            return Err(TableError::Gap { expected: self.head.watermark + 1, got: *seq });
        }
        self.head.chain_before = self.head.chain;
        self.head.chain = self.head.chain.next(*seq, subject, payload);
        self.head.watermark = *seq;
        let Held { mut loaded, before } = match self.held.remove(subject) {
            Some(held) => held,
            None => rows::load(self.transaction, self.parts, subject)?,
        };
        loaded.seq = *seq;
        let believed = match &loaded.frozen {
            Some(reason) => Err(Doubt::Freeze(format!("{subject} is frozen: {reason}"))),
            None => opinion(&self.signers).continuing(subject, loaded.state.revision, loaded.prev),
        };
        match believed {
            Ok((read, payload_hash)) => self.fold_in(&mut loaded, message, read, payload_hash)?,
            Err(doubt) => {
                if self.options.doubts {
                    doubts::put(self.transaction, *seq, subject, &doubt)?;
                }
                if doubt.freezes() {
                    loaded.frozen.get_or_insert_with(|| doubt.reason().to_owned());
                }
                self.applied.alarms.push((*seq, doubt.reason().to_owned()));
            }
        }
        self.held.insert(subject.clone(), Held { loaded, before });
        Ok(())
    }

    fn check_again(&self, message: &Message) -> Result<(), TableError> {
        let chain = self.head.chain_before.next(message.seq, &message.subject, &message.payload);
        if chain == self.head.chain {
            return Ok(());
        }
        Err(TableError::Diverged { seq: message.seq, detail: "another message stands there now".to_owned() })
    }

    fn fold_in(
        &mut self,
        loaded: &mut Loaded,
        message: &Message,
        read: Read,
        payload_hash: [u8; 32],
    ) -> Result<(), TableError> {
        let recorded = Recorded { seq: message.seq, event: read.event };
        loaded.state = evolve(std::mem::take(&mut loaded.state), &recorded);
        loaded.prev = Some(payload_hash);
        if let Some(signers) = self.signers.after(message.seq, &recorded.event.fact) {
            self.signers = Arc::new(signers);
        }
        if self.options.commands {
            for (command, done) in std::mem::take(&mut loaded.state.done) {
                done::put(self.transaction, &message.subject, command, &done)?;
            }
        }
        loaded.state.done.clear();
        if (self.options.pending)(&recorded.event) {
            self.transaction
                .prepare_cached("INSERT OR IGNORE INTO pending VALUES (?1, ?2)")?
                .execute(params![message.seq, message.subject])?;
        }
        self.applied.changed.insert(recorded.event.address.clone(), State::default());
        self.applied.events.push(recorded);
        Ok(())
    }

    /// Writes the rows that changed, and gives the position after them, and who is believed from there on.
    pub(crate) fn finish(mut self) -> Result<(Head, Applied, Arc<Signers>), TableError> {
        for (subject, Held { loaded, before }) in std::mem::take(&mut self.held) {
            let change = rows::put(self.transaction, self.parts, &subject, &loaded, before)?;
            combine(&mut self.head.digest, &change);
            if let Ok(address) = subject::parse_event(&subject)
                && let Some(state) = self.applied.changed.get_mut(&address)
            {
                *state = loaded.state;
            }
        }
        Ok((self.head, self.applied, self.signers))
    }
}
