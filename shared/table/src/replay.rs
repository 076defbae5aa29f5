//! One address's events folded in memory, with the same belief as the fold in SQLite.

use crate::Message;
use crate::weigh::Opinion;
use keywheel_domain::{Recorded, State, evolve};
use keywheel_wire::belief::Doubt;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::Read;
use keywheel_wire::signers::Signers;
use std::sync::Arc;

/// Reads a message as the event that continues a state with these marks, by the `signers` of the reader.
///
/// # Errors
/// Why it is not believed or not understood.
pub fn believe(
    message: &Message,
    signers: &Signers,
    revision: u64,
    prev: Option<[u8; 32]>,
) -> Result<Read, Doubt> {
    Opinion::of(message, signers).continuing(&message.subject, revision, prev).map(|(read, _)| read)
}

/// A state with what is needed to go on.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The state so far.
    pub state: State,
    signers: Arc<Signers>,
    prev: Option<[u8; 32]>,
    frozen: Option<String>,
}

impl Replay {
    /// Of an address of which nothing was taken yet, by a reader's `signers`.
    pub fn new(signers: Arc<Signers>) -> Self {
        Self { state: State::default(), signers, prev: None, frozen: None }
    }

    /// Takes the address's next message; gives the event if it was believed.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn take(&mut self, message: &Message) -> Result<Recorded, Doubt> {
        self.take_watching(message, |_, _| ())
    }

    /// As [`Replay::take`]; `watch` is shown the state as it was and the event before that is applied.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn take_watching(
        &mut self,
        message: &Message,
        watch: impl FnOnce(&State, &Recorded),
    ) -> Result<Recorded, Doubt> {
        if let Some(reason) = &self.frozen {
            return Err(Doubt::Freeze(format!("{} is frozen: {reason}", message.subject)));
        }
        match believe(message, &self.signers, self.state.revision, self.prev) {
            Ok(read) => {
                let recorded = Recorded { seq: message.seq, event: read.event };
                watch(&self.state, &recorded);
                self.state = evolve(std::mem::take(&mut self.state), &recorded);
                self.prev = Some(payload_hash(&message.payload));
                if let Some(signers) = self.signers.after(message.seq, &recorded.event.fact) {
                    self.signers = Arc::new(signers);
                }
                Ok(recorded)
            }
            Err(doubt) => {
                if doubt.freezes() {
                    self.frozen = Some(doubt.reason().to_owned());
                }
                Err(doubt)
            }
        }
    }

    /// Goes on by what is known of signers now: they judge what lies before as those did that were known then.
    pub fn believe(&mut self, signers: &Arc<Signers>) {
        self.signers = Arc::clone(signers);
    }

    /// Who is believed after what was taken. Of the installation's own address these are all who are.
    pub fn signers(&self) -> &Arc<Signers> {
        &self.signers
    }

    /// Why the address stays as it is, when it does.
    pub fn frozen(&self) -> Option<&str> {
        self.frozen.as_deref()
    }
}
