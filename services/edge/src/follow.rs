//! From the log into the table: rows commit first, then they answer, then the watermark is told.

use crate::metrics::{Alarm, Metrics};
use crate::table::Table;
use keywheel_bus::follow::Sink;
use keywheel_bus::{Bus, BusError, Follower, SharedFold};
use keywheel_domain::At;
use keywheel_domain::verdict::Freshness;
use keywheel_runtime::Shutdown;
use keywheel_runtime::retry::Backoff;
use keywheel_table::fold::Head;
use keywheel_table::{Applied, TableError};
use std::sync::Arc;
use std::time::Duration;

const KEEP_EVERY: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_millis(50);

/// What the follower works on.
#[derive(Clone)]
pub struct Replica {
    /// What answers.
    pub table: Arc<Table>,
    /// What is committed.
    pub fold: SharedFold,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Replica {
    fn log_created(&self) -> Option<At> {
        if self.table.knows_its_log() {
            return None;
        }
        self.fold.log_created().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read which log this is");
            None
        })
    }

    /// Commits what is due to be noted, when no rows have taken it along.
    fn keep(&self) {
        let notes = self.table.notes();
        if notes.is_empty() {
            return;
        }
        let kept = tokio::task::block_in_place(|| self.fold.lock().apply(&[], &notes));
        if let Err(error) = kept {
            self.table.unnote();
            self.metrics.alarm(Alarm::Storage);
            tracing::error!(%error, "cannot note how fresh the table is");
        }
    }
}

impl Sink for Replica {
    fn applied(&mut self, applied: Applied, head: Head) {
        applied.alarms.iter().for_each(|_| self.metrics.alarm(Alarm::Message));
        let log_created = self.log_created();
        self.table.apply(&applied.changed, head, log_created);
    }

    fn notes(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        self.table.notes()
    }
}

/// What the follower's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// The log is another: apply nothing more of it, go on with what is known.
    Halt(Alarm),
    /// It may pass: try again.
    Passing,
}

fn trouble(error: &BusError) -> Trouble {
    match error {
        BusError::Table(TableError::Diverged { .. }) => Trouble::Halt(Alarm::Diverged),
        BusError::Table(error) if error.is_damage() => Trouble::Halt(Alarm::Damaged),
        BusError::Table(_)
        | BusError::Unreachable { .. }
        | BusError::Credentials(_)
        | BusError::Tls(_)
        | BusError::Denied(_)
        | BusError::NotEntitled(_)
        | BusError::Failed { .. }
        | BusError::Contended(_)
        | BusError::Frozen(_)
        | BusError::Malformed(_)
        | BusError::Stopped => Trouble::Passing,
    }
}

/// Follows the log until `stop`. When it is no longer the same log, or the database is damaged under
/// way, the table goes on answering what it knows and grows stale: an answer from a log that cannot be
/// trusted would be worse, and a restart reads everything again.
pub async fn run(bus: Bus, follower: Follower, replica: Replica, stop: Shutdown) {
    // A question that is asked before there is a connection is only given up after seconds.
    while !bus.is_connected() {
        if !stop.pause(AWAY).await {
            return;
        }
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        let Err(error) = follower.run(replica.clone(), stop.requested()).await else { return };
        replica.table.unnote();
        match trouble(&error) {
            Trouble::Halt(alarm) => {
                replica.metrics.alarm(alarm);
                replica.table.halt();
                tracing::error!(%error, "nothing more is applied; going on with what is known");
                return;
            }
            Trouble::Passing => {
                replica.metrics.alarm(Alarm::Storage);
                tracing::error!(%error, "cannot apply the log now; trying again");
            }
        }
        if !stop.pause(backoff.delay()).await {
            return;
        }
    }
}

/// Keeps the notes current while the log is quiet, until `stop`, and once more then.
pub async fn keep(replica: Replica, stop: Shutdown) {
    let mut known = Freshness::NotServing;
    while stop.pause(KEEP_EVERY).await {
        replica.keep();
        let now = replica.table.status().freshness;
        tell(known, now);
        known = now;
    }
    replica.keep();
}

/// Says it once when the edge becomes fresh, stale or of no service.
fn tell(before: Freshness, now: Freshness) {
    match (before, now) {
        (Freshness::Fresh, Freshness::Fresh)
        | (Freshness::Stale { .. }, Freshness::Stale { .. })
        | (Freshness::NotServing, Freshness::NotServing) => {}
        (_, Freshness::Fresh) => tracing::info!("the table is fresh"),
        (_, Freshness::Stale { age }) => tracing::warn!(%age, "the lease has run out; the table is stale"),
        (_, Freshness::NotServing) => tracing::warn!("serving nobody: not on the roster"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_log_and_damage_end_the_following_and_a_full_disk_does_not() {
        let diverged = TableError::Diverged { seq: 3, detail: String::new() };
        assert_eq!(trouble(&diverged.into()), Trouble::Halt(Alarm::Diverged));
        let damaged = TableError::Damaged { subject: String::new(), detail: String::new() };
        assert_eq!(trouble(&damaged.into()), Trouble::Halt(Alarm::Damaged));
        let gap = TableError::Gap { expected: 1, got: 2 };
        assert_eq!(trouble(&gap.into()), Trouble::Passing);
        let failed = BusError::Failed { what: "x", detail: String::new() };
        assert_eq!(trouble(&failed), Trouble::Passing);
    }
}
