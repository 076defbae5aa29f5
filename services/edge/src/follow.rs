//! From the log into the table: rows commit first, then they answer, then the watermark is told.

use crate::copy::LogCopy;
use crate::metrics::{Alarm, Metrics};
use crate::start;
use crate::storage::{self, Files};
use crate::table::Table;
use crate::witness::{self, Witness};
use keywheel_bus::follow::{Sink, note_log_created};
use keywheel_bus::{Bus, BusError, Follower, SharedFold};
use keywheel_domain::At;
use keywheel_domain::verdict::Freshness;
use keywheel_runtime::retry::Backoff;
use keywheel_runtime::{Shutdown, clock};
use keywheel_table::fold::Head;
use keywheel_table::{Applied, TableError, Weighed};
use keywheel_wire::signers::Signers;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

const KEEP_EVERY: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_millis(50);
/// How often a beginning with a snapshot is tried, before the whole log is read instead.
const BEGINNINGS: u32 = 3;

/// What is not as it should be, found by looking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// What is on the disk.
    Database(String),
    /// What answers, while the disk is sound.
    Memory(String),
    /// The table as a whole: both are as they were written, and another reader makes another one of the same log.
    Table(String),
    /// The log itself: it is not the one that was signed.
    Log(String),
}

/// What the follower works on.
#[derive(Clone)]
pub struct Replica {
    /// What answers.
    pub table: Arc<Table>,
    /// What is committed.
    pub fold: SharedFold,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is known of signed heads.
    pub witness: Witness,
    data_dir: PathBuf,
    signers: Arc<Signers>,
    files: Arc<Mutex<Files>>,
    copy: Option<Arc<Mutex<LogCopy>>>,
    doubt: watch::Sender<Option<Doubt>>,
}

impl Replica {
    /// Of a database that was just opened in `data_dir` and answers.
    pub fn new(
        table: Arc<Table>,
        fold: SharedFold,
        metrics: Arc<Metrics>,
        data_dir: PathBuf,
        signers: Arc<Signers>,
    ) -> Self {
        let files = Arc::new(Mutex::new(Files::at(&data_dir)));
        let witness = Witness::default();
        let doubt = watch::channel(None).0;
        Self { table, fold, metrics, witness, data_dir, signers, files, copy: None, doubt }
    }

    /// With what is known of signed heads.
    pub fn witnessed(self, witness: Witness) -> Self {
        Self { witness, ..self }
    }

    /// With a copy of the log of its own, where it keeps one.
    pub fn copying(self, copy: Option<LogCopy>) -> Self {
        Self { copy: copy.map(|copy| Arc::new(Mutex::new(copy))), ..self }
    }

    /// Where the database lies.
    pub fn data_dir(&self) -> &PathBuf {
        &self.data_dir
    }

    /// Whether the database is still in the files that were opened.
    pub fn has_its_files(&self) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).are_still(Files::at(&self.data_dir))
    }

    /// Has the follower see to it.
    pub fn doubt(&self, doubt: Doubt) {
        self.doubt.send_replace(Some(doubt));
    }

    async fn doubted(&self) -> Doubt {
        let mut doubts = self.doubt.subscribe();
        loop {
            let mut found = None;
            // Only what is taken is a change: else this would wake itself for ever.
            self.doubt.send_if_modified(|doubt| {
                found = doubt.take();
                found.is_some()
            });
            if let Some(doubt) = found {
                return doubt;
            }
            // The sender lives as long as this.
            let _ = doubts.changed().await;
        }
    }

    fn log_created(&self) -> Option<At> {
        if self.table.knows_its_log() {
            return None;
        }
        self.fold.log_created().unwrap_or_else(|error| {
            tracing::error!(%error, "cannot read which log this is");
            None
        })
    }

    fn all_notes(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.table.notes().into_iter().chain(self.witness.note()).collect()
    }

    fn unnote(&self) {
        self.table.unnote();
        self.witness.unnote();
    }

    /// Commits what is due to be noted, when no rows have taken it along.
    fn keep(&self) {
        let notes = self.all_notes();
        if notes.is_empty() {
            return;
        }
        let kept = tokio::task::block_in_place(|| self.fold.lock().apply(&[], &notes));
        if let Err(error) = kept {
            self.unnote();
            self.metrics.alarm(Alarm::Storage);
            tracing::error!(%error, "cannot note how fresh the table is");
        }
    }

    /// An empty database in the place of one that is damaged. What answers goes on answering. The old
    /// one is closed first: closed later it would take the new one's journal with it.
    fn begin_anew(&self) -> anyhow::Result<()> {
        self.table.begin_rebuild();
        // Whatever else was found is about the old one.
        self.doubt.send_replace(None);
        tokio::task::block_in_place(|| {
            self.fold.replace(storage::placeholder(&self.signers)?);
            let mut fold = storage::begin_anew(&self.data_dir, clock::wall_ms(), &self.signers)?;
            if let Some(created) = self.table.log_created() {
                note_log_created(&mut fold, created)?;
            }
            *self.files.lock().unwrap_or_else(PoisonError::into_inner) = Files::at(&self.data_dir);
            self.fold.replace(fold);
            Ok(())
        })
    }

    /// The empty database begins at `head` now. What cannot be read back is not followed any further.
    pub(crate) fn begun(&self, head: Head) {
        if self.table.is_rebuilding() && !self.table.rebuilt_to(head) {
            return;
        }
        if let Err(error) = self.load() {
            self.doubt(Doubt::Database(error.to_string()));
        }
    }

    /// Lets answer what is committed, all of it.
    fn load(&self) -> Result<(), TableError> {
        tokio::task::block_in_place(|| {
            let fold = self.fold.lock();
            let (answers, head) = (fold.answers()?, fold.head());
            drop(fold);
            self.table.replace(answers, head, self.log_created());
            Ok(())
        })
    }
}

impl Sink for Replica {
    fn applied(&mut self, applied: Applied, head: Head) {
        if !self.table.is_rebuilding() {
            applied.alarms.iter().for_each(|_| self.metrics.alarm(Alarm::Message));
            let log_created = self.log_created();
            self.table.apply(&applied.changed, head, log_created);
        } else if self.table.rebuilt_to(head) {
            match self.load() {
                Ok(()) => tracing::info!(watermark = head.watermark, "the database is rebuilt"),
                Err(error) => self.doubt(Doubt::Database(error.to_string())),
            }
        }
    }

    fn copied(&self) -> Option<u64> {
        let copy = self.copy.as_ref()?;
        Some(copy.lock().unwrap_or_else(PoisonError::into_inner).last())
    }

    fn copy(&mut self, log_created: At, messages: &[Weighed]) -> Result<(), BusError> {
        let Some(copy) = &self.copy else { return Ok(()) };
        let kept = copy.lock().unwrap_or_else(PoisonError::into_inner).take(log_created, messages);
        kept.inspect_err(|_| self.metrics.alarm(Alarm::Storage))
    }

    fn notes(&mut self) -> Vec<(&'static str, Vec<u8>)> {
        self.all_notes()
    }
}

/// What the follower's end means.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// The log is another: apply nothing more of it, go on with what is known.
    Halt,
    /// Another stream stands in its place: go on with what is known until the log is back.
    Replaced,
    /// The database is not to be trusted: read the log into a new one.
    Rebuild(String),
    /// The table may not be what the log makes: read that into a new database, all of it.
    Reread(String),
    /// What answers is not what is committed: take that.
    Reload(String),
    /// The log lacks a message: nothing after it is applied, until it is there.
    Gap,
    /// It may pass: try again.
    Passing,
}

fn trouble(error: &BusError) -> Trouble {
    match error {
        BusError::Table(TableError::Diverged { .. }) => Trouble::Halt,
        BusError::Table(TableError::Gap { .. }) => Trouble::Gap,
        BusError::OtherLog(_) => Trouble::Replaced,
        BusError::Table(error) if error.is_damage() => Trouble::Rebuild(error.to_string()),
        BusError::Table(_)
        | BusError::Unreachable { .. }
        | BusError::Credentials(_)
        | BusError::Tls(_)
        | BusError::Denied(_)
        | BusError::NotEntitled(_)
        | BusError::Failed { .. }
        | BusError::Full { .. }
        | BusError::Contended(_)
        | BusError::Frozen(_)
        | BusError::Malformed(_)
        | BusError::Stopped => Trouble::Passing,
    }
}

/// Follows the log until `stop`. When it is no longer the same log, the table goes on answering what it
/// knows and grows stale: an answer from a log that cannot be trusted would be worse, and a restart reads
/// everything again. When the database is damaged under way, the table goes on answering too, and the
/// log is read into a new one, which then takes its place.
pub async fn run(bus: Bus, durable: String, replica: Replica, mut snapshots: bool, stop: Shutdown) {
    // A question that is asked before there is a connection is only given up after seconds.
    while !bus.is_connected() {
        if !stop.pause(AWAY).await {
            return;
        }
    }
    tokio::select! {
        () = stop.requested() => return,
        () = witness::begin(&bus, &replica) => {}
    }
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    let mut is_lost = false;
    loop {
        if let Some(reason) = replica.witness.refused() {
            tell(&replica, Trouble::Halt, &reason);
            replica.table.halt();
            return;
        }
        let trouble = if is_lost {
            Trouble::Passing
        } else {
            if snapshots && replica.fold.head().watermark == 0 {
                tokio::select! {
                    () = stop.requested() => return,
                    () = begin(&bus, &durable, &replica) => {}
                }
            }
            let Some(trouble) = follow(&bus, &durable, &replica, &stop).await else { return };
            trouble
        };
        replica.unnote();
        match trouble {
            Trouble::Halt => {
                replica.table.halt();
                return;
            }
            Trouble::Replaced => tokio::select! {
                () = stop.requested() => return,
                () = back(&bus, &replica) => {}
            },
            Trouble::Rebuild(_) => is_lost = true,
            // A snapshot is made of the table that is not believed here.
            Trouble::Reread(_) => (is_lost, snapshots) = (true, false),
            Trouble::Reload(_) => is_lost = replica.load().is_err(),
            Trouble::Gap | Trouble::Passing => {}
        }
        if is_lost {
            is_lost = is_kept(&replica, replica.begin_anew()).is_none();
        }
        if !stop.pause(backoff.delay()).await {
            return;
        }
    }
}

/// Until the log that was followed stands there again: restored, it says so.
async fn back(bus: &Bus, replica: &Replica) {
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let known = replica.fold.log_created().ok().flatten();
        if bus.head().await.is_ok_and(|head| Some(head.created) == known) {
            tracing::info!("the log that was followed is back");
            return;
        }
    }
}

/// Nothing when the disk did not take it; that is told and tried again.
fn is_kept(replica: &Replica, kept: anyhow::Result<()>) -> Option<()> {
    let told = kept.inspect_err(|error| {
        replica.metrics.alarm(Alarm::Storage);
        tracing::error!("{error:#}; going on with what is in memory, trying again");
    });
    told.ok()
}

/// Begins an empty database with a snapshot, where there is one that is good for it.
async fn begin(bus: &Bus, durable: &str, replica: &Replica) {
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(2));
    for _ in 0..BEGINNINGS {
        match start::begin(bus, durable, replica, replica.table.status().head).await {
            Ok(_) => return,
            Err(error) => tracing::warn!("cannot begin with a snapshot: {error:#}"),
        }
        tokio::time::sleep(backoff.delay()).await;
    }
}

/// Until `stop`, or what ended it.
async fn follow(bus: &Bus, durable: &str, replica: &Replica, stop: &Shutdown) -> Option<Trouble> {
    let known = replica.table.status().head;
    let follower = Follower::new(bus.clone(), replica.fold.clone(), durable.to_owned());
    let follower = follower.knowing(known).witnessed(replica.witness.heads());
    let doubt = tokio::select! {
        // What is in doubt is never applied to.
        biased;
        doubt = replica.doubted() => doubt,
        ended = follower.run(replica.clone(), stop.requested()) => {
            let error = ended.err()?;
            return Some(tell(replica, trouble(&error), &error));
        }
    };
    let trouble = match doubt {
        Doubt::Database(why) => Trouble::Rebuild(why),
        Doubt::Memory(why) => Trouble::Reload(why),
        Doubt::Table(why) => Trouble::Reread(why),
        Doubt::Log(why) => return Some(tell(replica, Trouble::Halt, &why)),
    };
    Some(tell(replica, trouble, &"found by looking"))
}

fn tell(replica: &Replica, trouble: Trouble, error: &dyn std::fmt::Display) -> Trouble {
    match &trouble {
        Trouble::Halt | Trouble::Replaced => {
            replica.metrics.alarm(Alarm::Diverged);
            tracing::error!(%error, "nothing more is applied; going on with what is known");
        }
        Trouble::Rebuild(why) => {
            replica.metrics.alarm(Alarm::Damaged);
            tracing::error!(%why, "the database is damaged; setting it aside and reading the log anew");
        }
        Trouble::Reread(why) => {
            replica.metrics.alarm(Alarm::Damaged);
            tracing::error!(%why, "the table may be damaged; setting it aside and reading the log anew");
        }
        Trouble::Reload(why) => {
            replica.metrics.alarm(Alarm::Damaged);
            tracing::error!(%why, "the table in memory is damaged; loading it anew");
        }
        Trouble::Gap => {
            replica.metrics.alarm(Alarm::Diverged);
            tracing::error!(%error, "nothing after it is applied; trying again");
        }
        Trouble::Passing => {
            replica.metrics.alarm(Alarm::Storage);
            tracing::error!(%error, "cannot apply the log now; trying again");
        }
    }
    trouble
}

/// Keeps the notes current while the log is quiet, until `stop`, and once more then.
pub async fn keep(replica: Replica, stop: Shutdown) {
    let mut known = Freshness::NotServing;
    while stop.pause(KEEP_EVERY).await {
        replica.keep();
        let now = replica.table.status().freshness;
        tell_freshness(known, now);
        known = now;
    }
    replica.keep();
}

/// Says it once when the edge becomes fresh, stale or of no service.
fn tell_freshness(before: Freshness, now: Freshness) {
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
    fn another_log_ends_the_following_and_damage_begins_it_anew() {
        let diverged = TableError::Diverged { seq: 3, detail: String::new() };
        assert_eq!(trouble(&diverged.into()), Trouble::Halt);
        let damaged = TableError::Damaged { subject: String::new(), detail: String::new() };
        let told = damaged.to_string();
        assert_eq!(trouble(&damaged.into()), Trouble::Rebuild(told));
        assert_eq!(trouble(&BusError::OtherLog(String::new())), Trouble::Replaced);
        let gap = TableError::Gap { expected: 1, got: 2 };
        assert_eq!(trouble(&gap.into()), Trouble::Gap);
        let failed = BusError::Failed { what: "x", detail: String::new() };
        assert_eq!(trouble(&failed), Trouble::Passing);
    }
}
