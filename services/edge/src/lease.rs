//! The lease: how long an edge may count as fresh, which is evidence about the log, not about the bus.
//! Reads no clock and waits for nothing (SAFETY 1, 9, 10).

use crate::note::FreshnessNote;
use keywheel_domain::Span;
use keywheel_domain::verdict::Freshness;

/// Handshakes that may wait for the table at a time. Under a steady lag the oldest ones are kept,
/// because they are the first that the table reaches, and the newest, because it is worth most.
const PENDING_MAX: usize = 16;

/// A moment by both clocks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instant {
    /// Milliseconds of `CLOCK_BOOTTIME`.
    pub boot_ms: u64,
    /// Milliseconds since 1970, by the wall clock.
    pub wall_ms: u64,
}

impl Instant {
    /// So much earlier.
    pub fn before(self, age: std::time::Duration) -> Self {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        Self { boot_ms: self.boot_ms.saturating_sub(age), wall_ms: self.wall_ms.saturating_sub(age) }
    }
}

/// What the table is known to have been fresh at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Never at all.
    Never,
    /// By a process before this one: `age` had passed at `boot_ms` of this machine's clock.
    Inherited { age: Span, boot_ms: u64 },
    /// By a handshake of this process that began then.
    Own(Instant),
}

/// A handshake whose head the table has not reached yet.
#[derive(Clone, Copy, Debug)]
struct Handshake {
    began: Instant,
    head: u64,
}

/// The lease of one process.
#[derive(Clone, Debug)]
pub struct Lease {
    length: Span,
    proof: Proof,
    pending: Vec<Handshake>,
    visible: u64,
    is_halted: bool,
}

impl Lease {
    /// The lease of an edge that was never fresh, with an empty table.
    pub fn new(length: Span) -> Self {
        Self { length, proof: Proof::Never, pending: Vec::new(), visible: 0, is_halted: false }
    }

    /// The lease of a process that begins at `now` with a table applied up to `visible`, and with what
    /// an earlier one noted beside it. It is never fresh: that takes a handshake of its own.
    pub fn restored(
        length: Span,
        visible: u64,
        note: Option<&FreshnessNote>,
        machine_boot: &str,
        now: Instant,
    ) -> Self {
        let inherit = |note: &FreshnessNote| inherited(note, length, machine_boot, now);
        let proof = note.map_or(Proof::Never, inherit);
        Self { proof, visible, ..Self::new(length) }
    }

    /// A handshake is complete: it began at `began`, its pulse was stored, and then the head of the log
    /// was read. It counts once the table has reached that head.
    pub fn proved(&mut self, began: Instant, head: u64) {
        if self.is_halted {
            return;
        }
        if self.pending.len() == PENDING_MAX {
            self.pending.pop();
        }
        self.pending.push(Handshake { began, head });
        self.settle();
    }

    /// Everything up to `visible` is committed and answers.
    pub fn advanced(&mut self, visible: u64) {
        self.visible = self.visible.max(visible);
        self.settle();
    }

    /// The log is not the one that was applied: nothing proves anything any more.
    pub fn halt(&mut self) {
        self.is_halted = true;
        self.pending.clear();
    }

    fn settle(&mut self) {
        let visible = self.visible;
        let reached = self.pending.iter().filter(|handshake| handshake.head <= visible);
        if let Some(newest) = reached.map(|handshake| handshake.began).max_by_key(|began| began.boot_ms) {
            match self.proof {
                Proof::Own(known) if known.boot_ms >= newest.boot_ms => {}
                Proof::Own(_) | Proof::Never | Proof::Inherited { .. } => self.proof = Proof::Own(newest),
            }
        }
        self.pending.retain(|handshake| handshake.head > visible);
    }

    /// How fresh the table is at `now` (`CLOCK_BOOTTIME`, in milliseconds). Whether the edge is on the
    /// roster is another question.
    pub fn freshness(&self, now: u64) -> Freshness {
        match (self.proof, self.age(now)) {
            (Proof::Own(_), Some(age)) if age < self.length => Freshness::Fresh,
            (Proof::Own(_) | Proof::Inherited { .. }, Some(age)) => Freshness::Stale { age },
            (Proof::Never, _) | (_, None) => Freshness::NotServing,
        }
    }

    /// How long ago the table was last proved fresh; nothing when it never was.
    pub fn age(&self, now: u64) -> Option<Span> {
        match self.proof {
            Proof::Never => None,
            Proof::Own(began) => Some(Span(now.saturating_sub(began.boot_ms))),
            Proof::Inherited { age, boot_ms } => {
                Some(Span(age.0.saturating_add(now.saturating_sub(boot_ms))))
            }
        }
    }

    /// The instant that this process has proved itself, to be kept with the rows.
    pub fn own(&self) -> Option<Instant> {
        match self.proof {
            Proof::Own(began) => Some(began),
            Proof::Never | Proof::Inherited { .. } => None,
        }
    }

    /// Its length.
    pub fn length(&self) -> Span {
        self.length
    }
}

/// Within one run of the machine `CLOCK_BOOTTIME` goes on counting. Across runs only the wall clock is
/// left, which people may set: no less than the lease has passed, and no less than the latest moment
/// that the wall clock ever showed.
fn inherited(note: &FreshnessNote, length: Span, machine_boot: &str, now: Instant) -> Proof {
    if note.machine_boot == machine_boot && note.boot_ms <= now.boot_ms {
        return Proof::Inherited { age: Span(0), boot_ms: note.boot_ms };
    }
    let latest = now.wall_ms.max(note.wall_high_ms);
    let passed = Span(latest.saturating_sub(note.wall_ms));
    Proof::Inherited { age: passed.max(length), boot_ms: now.boot_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L: Span = Span::secs(15);
    const WALL: u64 = 1_800_000_000_000;

    fn at(boot_ms: u64) -> Instant {
        Instant { boot_ms, wall_ms: WALL + boot_ms }
    }

    fn stale(age: u64) -> Freshness {
        Freshness::Stale { age: Span(age) }
    }

    fn noted(boot_ms: u64) -> FreshnessNote {
        let wall_ms = WALL + boot_ms;
        FreshnessNote { machine_boot: "b1".to_owned(), boot_ms, wall_ms, wall_high_ms: wall_ms }
    }

    fn restarted(machine_boot: &str, now: Instant) -> Lease {
        Lease::restored(L, 10, Some(&noted(100_000)), machine_boot, now)
    }

    #[test]
    fn a_table_that_was_never_fresh_serves_nobody() {
        let mut lease = Lease::new(L);
        lease.advanced(1000);
        assert_eq!(lease.freshness(0), Freshness::NotServing);
        assert_eq!(lease.freshness(1 << 40), Freshness::NotServing);
        let unsynced = Lease::restored(L, 1000, None, "b1", at(5));
        assert_eq!(unsynced.freshness(6), Freshness::NotServing);
    }

    /// SAFETY 1: the lease counts from before the pulse, not from when the answer came.
    #[test]
    fn the_lease_lasts_its_length_from_before_the_pulse() {
        let mut lease = Lease::new(L);
        lease.advanced(7);
        lease.proved(at(1000), 7);
        assert_eq!(lease.freshness(1000 + L.0 - 1), Freshness::Fresh);
        assert_eq!(lease.freshness(1000 + L.0), stale(L.0));
        assert_eq!(lease.freshness(1000 + 2 * L.0), stale(2 * L.0));
    }

    /// SAFETY 1: the pulse gets out, its head is read, but nothing comes in.
    #[test]
    fn an_edge_whose_consumer_is_stalled_does_not_become_fresh() {
        let mut lease = Lease::new(L);
        lease.advanced(7);
        lease.proved(at(1000), 7);
        for second in 2..60 {
            lease.proved(at(second * 1000), 8);
            lease.advanced(7);
        }
        assert_eq!(lease.freshness(1000 + L.0), stale(L.0));
        lease.advanced(8);
        assert_eq!(lease.freshness(59_000), Freshness::Fresh, "the newest handshake was kept");
    }

    /// SAFETY 1: applying what comes in proves nothing without a handshake.
    #[test]
    fn an_edge_whose_pulses_do_not_get_out_does_not_stay_fresh() {
        let mut lease = Lease::new(L);
        lease.proved(at(0), 0);
        for seq in 1..1000 {
            lease.advanced(seq);
        }
        assert_eq!(lease.freshness(L.0), stale(L.0));
    }

    #[test]
    fn a_handshake_counts_once_its_head_is_reached_and_not_before() {
        let mut lease = Lease::new(L);
        lease.proved(at(0), 10);
        lease.advanced(9);
        assert_eq!(lease.freshness(1), Freshness::NotServing);
        lease.advanced(10);
        assert_eq!(lease.freshness(1), Freshness::Fresh);
    }

    #[test]
    fn the_lease_never_moves_back() {
        let mut lease = Lease::new(L);
        lease.proved(at(5000), 10);
        lease.proved(at(9000), 5);
        lease.advanced(5);
        assert_eq!(lease.own(), Some(at(9000)));
        lease.advanced(10);
        assert_eq!(lease.own(), Some(at(9000)), "an older handshake that is reached later");
        lease.advanced(3);
        lease.proved(at(10_000), 10);
        assert_eq!(lease.own(), Some(at(10_000)), "a watermark that seems to go back");
    }

    /// The log grows faster than handshakes are settled, for as long as anybody likes.
    #[test]
    fn a_steady_lag_does_not_starve_the_lease() {
        let mut lease = Lease::new(L);
        for n in 0..100_000_u64 {
            lease.proved(at(n * 20), n);
            lease.advanced(n.saturating_sub(50));
            assert!(lease.pending.len() <= PENDING_MAX);
        }
        assert_eq!(lease.freshness(100_000 * 20), Freshness::Fresh);
    }

    /// SAFETY 9: a restart never resets the instant, and gives no freshness.
    #[test]
    fn after_a_restart_the_age_goes_on_counting() {
        let lease = restarted("b1", at(103_000));
        assert_eq!(lease.freshness(103_000), stale(3000), "though the old lease would still hold");
        assert_eq!(lease.freshness(200_000), stale(100_000));
        assert_eq!(lease.own(), None, "what was inherited is not noted as if it were new");
    }

    #[test]
    fn a_restarted_edge_is_fresh_after_a_handshake_of_its_own() {
        let mut lease = restarted("b1", at(103_000));
        lease.proved(at(104_000), 11);
        assert_eq!(lease.freshness(104_001), stale(4001));
        lease.advanced(11);
        assert_eq!(lease.freshness(104_001), Freshness::Fresh);
    }

    /// SAFETY 9: after a restart of the machine only the wall clock is left.
    #[test]
    fn another_run_of_the_machine_counts_by_the_wall_clock() {
        let by_wall = |wall_ms| restarted("b2", Instant { boot_ms: 50, wall_ms }).age(60).unwrap();
        assert_eq!(by_wall(WALL + 100_000 + 3_600_000), Span(3_600_010));
        assert_eq!(by_wall(WALL + 100_001), Span(L.0 + 10), "at least the lease");
        assert_eq!(by_wall(5), Span(L.0 + 10), "never less than nothing");
        let mut note = noted(100_000);
        note.wall_high_ms += 60_000;
        let set_back = Lease::restored(L, 10, Some(&note), "b2", Instant { boot_ms: 50, wall_ms: 5 });
        assert_eq!(set_back.age(50), Some(Span(60_000)), "the latest that the clock ever showed");
    }

    #[test]
    fn a_boot_clock_that_went_back_is_not_believed() {
        let lease = restarted("b1", Instant { boot_ms: 99_999, wall_ms: WALL + 200_000 });
        assert_eq!(lease.freshness(99_999), stale(100_000));
    }

    #[test]
    fn nothing_proves_freshness_once_the_log_is_another() {
        let mut lease = Lease::new(L);
        lease.proved(at(0), 0);
        lease.proved(at(1000), 5);
        lease.halt();
        lease.advanced(5);
        lease.proved(at(2000), 0);
        assert_eq!(lease.own(), Some(at(0)));
        assert_eq!(lease.freshness(L.0), stale(L.0));
    }
}
