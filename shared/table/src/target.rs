//! The keyring as it was at an earlier position, found by replaying its own events: what a rollback goes
//! back to. Whoever decides one and whoever only shows it find the same.

use crate::{Message, Replay};
use keywheel_domain::{Cut, Recorded, State};
use keywheel_wire::belief::Doubt;
use keywheel_wire::command::RollbackTo;
use keywheel_wire::signers::Signers;
use std::sync::Arc;

/// A keyring's state before the first event that lies past a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The position of the last event before the mark; 0 where there is none.
    pub to_seq: u64,
    /// The state there.
    pub state: State,
}

/// Why there is nothing to go back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTarget {
    /// The keyring never had the rotation that was named.
    UnknownRotation,
    /// The keyring has no key.
    NoKey,
}

impl NoTarget {
    /// The code of the outcome.
    pub fn code(self) -> &'static str {
        match self {
            NoTarget::UnknownRotation => "unknown_rotation",
            NoTarget::NoKey => "no_key",
        }
    }

    /// For people.
    pub fn detail(self) -> &'static str {
        match self {
            NoTarget::UnknownRotation => "rotation_id: the keyring never had this rotation",
            NoTarget::NoKey => "the keyring has no key",
        }
    }
}

/// Looks for the target while one keyring's messages are replayed in order.
pub struct Search {
    to: RollbackTo,
    replay: Replay,
    position: u64,
    found: Option<Target>,
}

impl Search {
    /// Of a keyring of which nothing was taken yet, by a reader's `signers`.
    pub fn new(signers: Arc<Signers>, to: RollbackTo) -> Self {
        Self { to, replay: Replay::new(signers), position: 0, found: None }
    }

    /// Takes the keyring's next message; gives the event if it was believed.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn take(&mut self, message: &Message) -> Result<Recorded, Doubt> {
        let Self { to, replay, position, found } = self;
        let recorded = replay.take_watching(message, |before, recorded| {
            if found.is_none() && is_past(recorded, *to) {
                *found = Some(Target { to_seq: *position, state: before.clone() });
            }
        })?;
        *position = recorded.seq;
        Ok(recorded)
    }

    /// Whether what follows makes no difference to the target any more.
    pub fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// The state after everything that was taken.
    pub fn state(&self) -> &State {
        &self.replay.state
    }

    /// The target; where everything lies before the mark, that is what holds now.
    ///
    /// # Errors
    /// Why there is none.
    pub fn target(self) -> Result<Target, NoTarget> {
        match (self.found, self.to) {
            (Some(target), _) => Ok(target),
            (None, RollbackTo::Rotation(_)) => Err(NoTarget::UnknownRotation),
            (None, RollbackTo::Seq(_) | RollbackTo::Time(_)) if self.replay.state.keys.is_empty() => {
                Err(NoTarget::NoKey)
            }
            (None, RollbackTo::Seq(_) | RollbackTo::Time(_)) => {
                Ok(Target { to_seq: self.position, state: self.replay.state })
            }
        }
    }
}

fn is_past(recorded: &Recorded, to: RollbackTo) -> bool {
    match to {
        RollbackTo::Rotation(rotation) => recorded.event.rotation == Some(rotation),
        RollbackTo::Seq(seq) => Cut::Seq(seq).ends_before(recorded),
        RollbackTo::Time(at) => Cut::Time(at).ends_before(recorded),
    }
}
