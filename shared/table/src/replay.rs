//! One address's events folded in memory, with the same belief as the fold in SQLite.

use crate::Message;
use keywheel_domain::{Recorded, State, evolve};
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link, Read};

/// Why a message is not taken into a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// It does not continue the address's own sequence: no part of history.
    Skip(String),
    /// Part of history, not understood: the address stays as it was from here on.
    Freeze(String),
}

/// Reads a message as the event that continues a state with these marks.
///
/// # Errors
/// Why it is not believed or not understood.
pub fn believe(message: &Message, revision: u64, prev: Option<[u8; 32]>) -> Result<Read, Doubt> {
    let read = event::read(&message.subject, &message.payload)
        .map_err(|error| Doubt::Freeze(format!("{} cannot be understood: {error}", message.subject)))?;
    if read.link == (Link { revision: revision + 1, prev }) {
        return Ok(read);
    }
    Err(Doubt::Skip(format!(
        "{}: revision {} does not continue {revision}",
        message.subject, read.link.revision
    )))
}

/// A state with what is needed to go on.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    /// The state so far.
    pub state: State,
    prev: Option<[u8; 32]>,
    frozen: bool,
}

impl Replay {
    /// Takes the address's next message; gives the event if it was believed.
    pub fn take(&mut self, message: &Message) -> Option<Recorded> {
        if self.frozen {
            return None;
        }
        match believe(message, self.state.revision, self.prev) {
            Ok(read) => {
                let recorded = Recorded { seq: message.seq, event: read.event };
                self.state = evolve(std::mem::take(&mut self.state), &recorded);
                self.prev = Some(payload_hash(&message.payload));
                Some(recorded)
            }
            Err(Doubt::Skip(_)) => None,
            Err(Doubt::Freeze(_)) => {
                self.frozen = true;
                None
            }
        }
    }
}
