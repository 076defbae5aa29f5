//! What answers: the table in memory with its lease, under one lock, so that a verification sees both
//! at one moment, and nothing is answered or counted once it is closed.
//!
//! The lock is sharded: whoever reads takes a shard of its own thread's, whoever writes takes all. So a
//! verification still excludes every change, and two of them do not wait for each other's cache line.
//!
//! A batch of the log is applied in short steps, one address each, because whoever verifies waits for a
//! step. Between two steps some rows are newer than the watermark, the lease and the roster, which follow
//! in the last step, together. That is as safe as one step would be:
//! - every row that answers is committed already, and a keyring's versions change in one step;
//! - what a pulse says (the watermark), and what the lease rests on, is never ahead of any row: a receipt
//!   or a barrier that counts this edge finds all rows up to there answering;
//! - the roster comes last, so an edge that a batch adds does not serve before that batch's revocations
//!   answer; one that a batch removes serves for microseconds more, where the rules grant it a lease;
//! - policies matter to a stale table alone, and its bound is reckoned from the longest since the
//!   watermark that it last acknowledged (SAFETY 8), so either of two neighbours is within it.

use crate::lease::{Instant, Lease};
use crate::note::{self, FreshnessNote};
use crate::refusals::Refusals;
use crate::tally::{Taken, Tally};
use crate::verify::{Asked, Identity, check};
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use keywheel_bus::log::LogHead;
use keywheel_domain::verdict::{Freshness, Refusal, Verdict};
use keywheel_domain::{Address, At, EdgeId, Span, State};
use keywheel_table::Answers;
use keywheel_table::fold::Head;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// How far the wall clock runs ahead of what is noted of it, when nothing else is to be noted.
const WALL_NOTED_EVERY_MS: u64 = 10_000;

const ASIDE_SPINS: u32 = 32;

/// The machine's clocks, passed in.
#[derive(Clone, Debug)]
pub struct Clocks {
    /// `CLOCK_BOOTTIME` in milliseconds.
    pub boot_ms: fn() -> u64,
    /// The wall clock in milliseconds since 1970.
    pub wall_ms: fn() -> u64,
    /// Which run of the machine it is.
    pub machine_boot: String,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whose key it is, or why not.
    pub outcome: Result<Identity, Refusal>,
    /// How long ago the table was last proved fresh, when it is stale.
    pub stale_for: Option<Span>,
}

/// Why a handshake proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// The follower has not confirmed yet that the log continues what was applied.
    Unconfirmed,
    /// The head is not that of the log that was applied.
    OtherLog,
}

/// How an edge stands, for pulses, people and metrics.
#[derive(Clone, Copy, Debug)]
pub struct Status {
    /// What answers now.
    pub head: Head,
    /// What answers and is committed too: less than that while the database is rebuilt.
    pub kept: Head,
    /// The newest head of the log that was read; 0 when none was.
    pub log_head: u64,
    /// How fresh it is; not serving off the roster and after closing.
    pub freshness: Freshness,
    /// Time since the last proof of freshness.
    pub age: Option<Span>,
    /// The lease's length.
    pub length: Span,
    /// Keys in the table.
    pub keys: usize,
    /// Keyrings in the table.
    pub keyrings: usize,
    /// Versions whose use no report has carried yet.
    pub waiting: usize,
    /// Whether the edge is on the roster.
    pub is_on_roster: bool,
    /// Whether it is stopping.
    pub is_closed: bool,
}

struct Inner {
    answers: Answers,
    lease: Lease,
    head: Head,
    /// Whether the answers are ahead of `head` by part of a batch.
    is_between: bool,
    is_on_roster: bool,
    /// When the log that is followed was created; nothing until the follower has confirmed it.
    log_created: Option<At>,
    log_head: u64,
    is_closed: bool,
    /// How far the database is that is being rebuilt, while it is behind what answers.
    rebuilt: Option<Head>,
}

/// The table of one process.
pub struct Table {
    edge: EdgeId,
    clocks: Clocks,
    inner: ShardedLock<Inner>,
    tally: Tally,
    refusals: Refusals,
    wall_high: AtomicU64,
    noted: Mutex<Option<FreshnessNote>>,
    visible: watch::Sender<u64>,
}

impl Table {
    /// An empty table, which serves nobody.
    pub fn new(edge: EdgeId, lease: Span, clocks: Clocks) -> Self {
        let inner = Inner {
            answers: Answers::default(),
            lease: Lease::new(lease),
            head: Head::default(),
            is_between: false,
            is_on_roster: false,
            log_created: None,
            log_head: 0,
            is_closed: false,
            rebuilt: None,
        };
        let (visible, _) = watch::channel(0);
        Self {
            edge,
            clocks,
            inner: ShardedLock::new(inner),
            tally: Tally::default(),
            refusals: Refusals::default(),
            wall_high: AtomicU64::new(0),
            noted: Mutex::new(None),
            visible,
        }
    }

    /// Takes over what an earlier process left.
    pub fn restore(&self, answers: Answers, head: Head, noted: Option<FreshnessNote>) {
        self.wall_high.fetch_max(noted.as_ref().map_or(0, |note| note.wall_high_ms), Ordering::AcqRel);
        let (now, machine) = (self.instant(), &self.clocks.machine_boot);
        let mut inner = self.write();
        let length = inner.lease.length();
        inner.lease = Lease::restored(length, head.watermark, noted.as_ref(), machine, now);
        inner.answers = answers;
        inner.is_on_roster = inner.answers.is_on_roster(&self.edge);
        inner.head = head;
        drop(inner);
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner) = noted;
    }

    /// Now, by both clocks. The wall clock first: read later it could make an old table look younger.
    pub fn instant(&self) -> Instant {
        let wall_ms = (self.clocks.wall_ms)();
        Instant { wall_ms, boot_ms: (self.clocks.boot_ms)() }
    }

    /// The wall clock, which for expiry never goes back.
    fn now(&self) -> At {
        let read = (self.clocks.wall_ms)();
        let high = self.wall_high.load(Ordering::Acquire);
        if read > high {
            self.wall_high.fetch_max(read, Ordering::AcqRel);
        }
        At(read.max(high))
    }

    /// Answers. An accepted key counts as used unless this is a probe. Clocks, lease and rows are read
    /// under one lock, each time anew (SAFETY 10); a use is counted under it too, so that
    /// [`Table::close`] comes before all of it or after.
    pub fn verify(&self, asked: &Asked<'_>, is_probe: bool) -> Answered {
        let inner = self.read();
        let now = self.now();
        let freshness = inner.freshness((self.clocks.boot_ms)());
        let (verdict, row) = check(&inner.answers, asked, freshness, now);
        let outcome = match (verdict, row) {
            (Verdict::Valid, Some(row)) => {
                if !is_probe {
                    self.tally.count(row);
                }
                Ok(Identity::of(row))
            }
            (Verdict::Valid, None) => Err(Refusal::Unknown),
            (Verdict::Refused(Refusal::Retired), Some(row)) if !is_probe => {
                self.refusals.count(row);
                Err(Refusal::Retired)
            }
            (Verdict::Refused(refusal), _) => Err(refusal),
        };
        let stale_for = match freshness {
            Freshness::Stale { age } => Some(age),
            Freshness::Fresh | Freshness::NotServing => None,
        };
        Answered { outcome, stale_for }
    }

    /// Makes what was committed answer, address by address. Only then the watermark that pulses carry
    /// moves on.
    pub fn apply(&self, changed: &BTreeMap<Address, State>, head: Head, log_created: Option<At>) {
        for (address, state) in changed {
            if *address != Address::Installation {
                let mut inner = self.write();
                inner.is_between = true;
                inner.answers.update(address, state);
                drop(inner);
                step_aside();
            }
        }
        let mut inner = self.write();
        if let Some(state) = changed.get(&Address::Installation) {
            inner.answers.update(&Address::Installation, state);
            inner.is_on_roster = inner.answers.is_on_roster(&self.edge);
        }
        inner.is_between = false;
        inner.head = head;
        inner.log_created = log_created.or(inner.log_created);
        inner.lease.advanced(head.watermark);
        drop(inner);
        self.visible.send_if_modified(|visible| std::mem::replace(visible, head.watermark) != head.watermark);
    }

    /// Whether the follower has confirmed which log this is.
    pub fn knows_its_log(&self) -> bool {
        self.read().log_created.is_some()
    }

    /// When the log was created that is followed.
    pub fn log_created(&self) -> Option<At> {
        self.read().log_created
    }

    /// The database is lost and read from the log anew. What is in memory goes on answering, and a
    /// handshake whose head it has reached still proves it fresh; but nothing is acknowledged and no
    /// note is given until the new database has come as far: beside older rows either would be a lie
    /// after a crash (SAFETY 9, 10).
    pub fn begin_rebuild(&self) {
        self.write().rebuilt = Some(Head::default());
    }

    /// Whether the database is being rebuilt.
    pub fn is_rebuilding(&self) -> bool {
        self.read().rebuilt.is_some()
    }

    /// The new database stands at `head`; whether it has reached what answers.
    pub fn rebuilt_to(&self, head: Head) -> bool {
        let mut inner = self.write();
        let has_reached = head.watermark >= inner.head.watermark;
        if !has_reached {
            inner.rebuilt = Some(head);
        }
        has_reached
    }

    /// Lets another table answer, which was read whole from what is committed up to `head`. Uses that
    /// are not reported yet stay counted.
    pub fn replace(&self, answers: Answers, head: Head, log_created: Option<At>) {
        let mut inner = self.write();
        self.tally.keep(&inner.answers, &answers);
        let old = std::mem::replace(&mut inner.answers, answers);
        inner.is_on_roster = inner.answers.is_on_roster(&self.edge);
        inner.is_between = false;
        inner.rebuilt = None;
        inner.head = head;
        inner.log_created = log_created.or(inner.log_created);
        inner.lease.advanced(head.watermark);
        drop(inner);
        drop(old);
        self.unnote();
        self.visible.send_if_modified(|visible| std::mem::replace(visible, head.watermark) != head.watermark);
    }

    /// Whether an address's keys answer as `state` has them; also when the table stands elsewhere than
    /// at `head` by now, where nothing can be said.
    pub fn agrees(&self, head: Head, address: &Address, state: &State) -> bool {
        let inner = self.read();
        inner.is_between || inner.head != head || inner.answers.agrees(address, state)
    }

    /// A handshake that began at `began`, when `visible` answered, has read this head of the log.
    ///
    /// # Errors
    /// When it proves nothing; it is then forgotten.
    pub fn prove(&self, began: Instant, visible: u64, head: LogHead) -> Result<(), Doubt> {
        let mut inner = self.write();
        let created = inner.log_created.ok_or(Doubt::Unconfirmed)?;
        if created != head.created || head.seq < visible {
            return Err(Doubt::OtherLog);
        }
        inner.log_head = inner.log_head.max(head.seq);
        inner.lease.proved(began, head.seq);
        Ok(())
    }

    /// Goes on with what it knows, and proves no freshness any more: the log is another, or what was
    /// applied of it can no longer be kept.
    pub fn halt(&self) {
        self.write().lease.halt();
    }

    /// Serves nobody from now on. What was accepted before is counted when this returns.
    pub fn close(&self) {
        self.write().is_closed = true;
    }

    /// Takes counted uses for a report.
    pub fn take_uses(&self, most: usize) -> Taken {
        let taken = self.tally.take(&self.read().answers, most);
        // Together they are no more, so that the report stays within its bytes.
        let (refused, are_all) = self.refusals.take(most.saturating_sub(taken.uses.len()));
        Taken { refused, is_all: taken.is_all && are_all, ..taken }
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        let inner = self.read();
        let now = (self.clocks.boot_ms)();
        Status {
            head: inner.head,
            kept: inner.rebuilt.unwrap_or(inner.head),
            log_head: inner.log_head,
            freshness: inner.freshness(now),
            age: inner.lease.age(now),
            length: inner.lease.length(),
            keys: inner.answers.keys(),
            keyrings: inner.answers.keyrings(),
            waiting: self.tally.waiting(),
            is_on_roster: inner.is_on_roster,
            is_closed: inner.is_closed,
        }
    }

    /// The watermark that answers, as it advances.
    pub fn visible(&self) -> watch::Receiver<u64> {
        self.visible.subscribe()
    }

    /// What is to be committed with the next rows, when it has changed. The rows are never older than
    /// what it says of them: it was proved by what is committed and answers already.
    pub fn notes(&self) -> Vec<(&'static str, Vec<u8>)> {
        if self.is_rebuilding() {
            return Vec::new();
        }
        let own = self.read().lease.own();
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.next_note(own, noted.as_ref());
        let is_due = match (&next, &*noted) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(next), Some(noted)) => {
                next.boot_ms != noted.boot_ms
                    || next.machine_boot != noted.machine_boot
                    || next.wall_high_ms >= noted.wall_high_ms + WALL_NOTED_EVERY_MS
            }
        };
        if !is_due {
            return Vec::new();
        }
        *noted = next;
        noted.iter().map(|next| (note::FRESHNESS, note::write(next))).collect()
    }

    /// Has the same notes given again: they were not committed.
    pub fn unnote(&self) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(noted) = noted.as_mut() {
            noted.wall_high_ms = 0;
        }
    }

    fn next_note(&self, own: Option<Instant>, noted: Option<&FreshnessNote>) -> Option<FreshnessNote> {
        let wall_high_ms = self.now().0;
        let proved = own.map(|Instant { boot_ms, wall_ms }| FreshnessNote {
            machine_boot: self.clocks.machine_boot.clone(),
            boot_ms,
            wall_ms,
            wall_high_ms,
        });
        proved.or_else(|| noted.map(|noted| FreshnessNote { wall_high_ms, ..noted.clone() }))
    }

    fn read(&self) -> ShardedLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> ShardedLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who has just written has the lock's line at hand and would take it again before anybody who waits for
/// it has noticed: a batch would then be one long step after all. This takes about as long as a step.
fn step_aside() {
    for _ in 0..ASIDE_SPINS {
        std::hint::spin_loop();
    }
}

impl Inner {
    /// SAFETY 2: an edge serves nobody before its own `EdgeAdded` is applied, nor once it is removed.
    fn freshness(&self, now: u64) -> Freshness {
        if self.is_closed || !self.is_on_roster {
            return Freshness::NotServing;
        }
        self.lease.freshness(now)
    }
}

#[cfg(test)]
mod tests;
