//! What the follower hands over and the starter works off: when which keyring is to be looked at, and
//! which rotations were begun.

use crate::agenda::Agenda;
use keywheel_bus::Gate;
use keywheel_bus::follow::Sink;
use keywheel_domain::{At, Event, Fact, KeyringId, Recorded, Span};
use keywheel_runtime::clock;
use keywheel_table::{Applied, TableError, fold::Head};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Who asks for a rotation by schedule.
pub const ACTOR: &str = "schedule";
/// At most this long until the clock is looked at again: it may have been set.
const LOOK: Duration = Duration::from_secs(5);
/// How long outcomes are kept; older ones are not written again.
const OUTCOME_KEPT: Span = Span::hours(24);

/// What is to be done when, shared by the follower and the starter.
#[derive(Clone, Default)]
pub struct Diary(Arc<Pages>);

#[derive(Default)]
struct Pages {
    agenda: Mutex<Agenda>,
    /// Rotations that were begun, whose outcomes are to be seen to.
    begun: Mutex<VecDeque<Recorded>>,
    changed: Notify,
}

/// What there is to do.
pub(crate) enum Task {
    /// See to the outcome of a rotation that was begun.
    Outcome(Box<Recorded>),
    /// Look whether a rotation is to be started.
    Look(KeyringId),
}

impl Diary {
    /// Of everything that the fold has.
    ///
    /// # Errors
    /// When the fold fails.
    pub fn of(gate: &Gate) -> Result<Diary, TableError> {
        let diary = Diary::default();
        gate.fold().lock().each(|address, state| diary.agenda().take_in(&address, &state))?;
        Ok(diary)
    }

    /// When to look at which keyring.
    pub(crate) fn agenda(&self) -> MutexGuard<'_, Agenda> {
        self.0.agenda.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rotations whose outcomes are to be seen to.
    pub(crate) fn begun(&self) -> MutexGuard<'_, VecDeque<Recorded>> {
        self.0.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until there is something to do.
    pub(crate) fn pause(&self, now: At) -> Duration {
        if !self.begun().is_empty() {
            return Duration::ZERO;
        }
        self.agenda().next().map_or(LOOK, |next| LOOK.min(Duration::from_millis(next.since(now).0)))
    }

    /// The next piece of work, outcomes first.
    pub(crate) fn take(&self, now: At) -> Option<Task> {
        if let Some(recorded) = self.begun().pop_front() {
            return Some(Task::Outcome(Box::new(recorded)));
        }
        self.agenda().take(now).map(Task::Look)
    }
}

impl Diary {
    /// Waits until something was applied.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl Sink for Diary {
    fn applied(&mut self, applied: Applied, _: Head) {
        for (address, state) in &applied.changed {
            self.agenda().take_in(address, state);
        }
        self.begun().extend(applied.events.into_iter().filter(|recorded| leaves_work(&recorded.event)));
        self.0.changed.notify_one();
    }
}

/// Events after which an outcome may be missing: whoever appended one may have died before it was written,
/// and nobody publishes the command again.
pub fn leaves_work(event: &Event) -> bool {
    let recent = At(clock::wall_ms()) < event.at.after(OUTCOME_KEPT);
    matches!(event.fact, Fact::KeyIssued(_)) && event.actor.as_str() == ACTOR && recent
}
