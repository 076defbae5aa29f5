//! What one message says by itself, apart from its place: signature, role, meaning. Messages do not depend on each
//! other here, so that several are checked at once.

use keywheel_domain::Address;
use keywheel_table::{Message, Record, Replay};
use keywheel_wire::belief::{self, Doubt};
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::Read;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

/// A message of which everything is known but whether it continues what stands before it.
#[derive(Clone, Debug)]
pub struct Examined {
    /// The event that an entitled service wrote, or why it does not count.
    pub read: Result<Read, Doubt>,
    /// SHA-256 of its payload, as the next event of its keyring has to name it.
    pub hash: [u8; 32],
}

/// Examines one message by the keys in `signers`.
pub fn examine(signers: &Signers, message: &Message) -> Examined {
    let Message { seq, subject, payload, signed } = message;
    Examined {
        read: belief::event(signers, *seq, subject, payload, signed.as_ref()),
        hash: payload_hash(payload),
    }
}

/// Examines many, by `threads` threads; the results stand in the order of the records.
pub fn examine_all(signers: &Signers, records: &[Record], threads: NonZeroUsize) -> Vec<Examined> {
    let share = records.len().div_ceil(threads.get()).max(1);
    let examine_share = |part: &[Record]| -> Vec<Examined> {
        part.iter().map(|record| examine(signers, &record.message)).collect()
    };
    thread::scope(|scope| {
        let begin = |part| scope.spawn(move || examine_share(part));
        let shares: Vec<_> = records.chunks(share).map(begin).collect();
        let finish = |share: thread::ScopedJoinHandle<'_, Vec<Examined>>| {
            share.join().expect("examining a message does not panic")
        };
        shares.into_iter().flat_map(finish).collect()
    })
}

/// Examines a log as it is read, and meets the signers that its own events introduce or withdraw.
pub struct Examiner(Replay);

impl Examiner {
    /// By the keys in `signers` to begin with.
    pub fn new(signers: Arc<Signers>) -> Self {
        Self(Replay::new(signers))
    }

    /// Who is believed after what was taken.
    pub fn signers(&self) -> &Arc<Signers> {
        self.0.signers()
    }

    /// Takes what messages say of signers; all others are passed over.
    pub fn meet<'m>(&mut self, messages: impl IntoIterator<Item = &'m Message>) {
        let own = subject::event(&Address::Installation);
        for message in messages.into_iter().filter(|message| message.subject == own) {
            // What does not count is found where it is examined.
            let _ = self.0.take(message);
        }
    }

    /// Examines the next records, as [`examine_all`] does. Who knows all signers of a page judges each of its messages
    /// as who knew those before it.
    pub fn examine(&mut self, records: &[Record], threads: NonZeroUsize) -> Vec<Examined> {
        self.meet(records.iter().map(|record| &record.message));
        examine_all(self.signers(), records, threads)
    }
}
