//! The traces of SAFETY 4, one row each. Boots are letters, times are small numbers.

use super::*;

const A: u128 = 0xA;
const B: u128 = 0xB;
const C: u128 = 0xC;

/// One edge's coverage as reports come in.
#[derive(Default)]
struct Trace(Coverage);

impl Trace {
    fn cut(boot: u128, number: u64) -> Cut {
        Cut { boot, number, continues: None, goodbye: false }
    }

    fn take(mut self, cut: Cut, stored_at: u64) -> Self {
        self.0.take(Arrival::Report(cut), At(stored_at));
        self
    }

    fn report(self, boot: u128, number: u64, stored_at: u64) -> Self {
        self.take(Self::cut(boot, number), stored_at)
    }

    fn goodbye(self, boot: u128, number: u64, stored_at: u64) -> Self {
        self.take(Cut { goodbye: true, ..Self::cut(boot, number) }, stored_at)
    }

    fn resumed(self, boot: u128, after: (u128, u64), stored_at: u64) -> Self {
        self.take(Cut { continues: Some(after), ..Self::cut(boot, 0) }, stored_at)
    }

    fn unreadable(mut self, stored_at: u64) -> Self {
        self.0.take(Arrival::Unreadable, At(stored_at));
        self
    }

    #[track_caller]
    fn covers(self, from: u64, through: u64) -> Self {
        assert_eq!(self.0.stretch(), Some(Stretch { from: At(from), through: At(through) }));
        self
    }

    #[track_caller]
    fn covers_nothing(self, from: u64) -> Self {
        assert_eq!((self.0.stretch(), self.0.from), (None, At(from)));
        self
    }
}

/// Three reports of boot A, at 10, 20 and 30.
fn steady() -> Trace {
    Trace::default().report(A, 0, 10).report(A, 1, 20).report(A, 2, 30).covers(10, 20)
}

#[test]
fn nothing_is_covered_at_first() {
    Trace::default().covers_nothing(0).report(A, 0, 10).covers_nothing(10);
}

#[test]
fn a_report_proves_coverage_up_to_the_storing_of_the_one_before() {
    steady().report(A, 3, 100).covers(10, 30);
}

#[test]
fn a_crash_that_loses_a_count_does_not_look_quiet() {
    // Report 0 is empty, then a use, a crash that loses it, and a boot that reports nothing.
    Trace::default().report(A, 0, 10).report(B, 0, 40).covers_nothing(40).report(B, 1, 50).covers(40, 40);
}

#[test]
fn a_first_report_that_was_lost_counts_as_a_gap() {
    Trace::default().report(A, 1, 10).covers_nothing(10);
    steady().report(B, 1, 50).covers_nothing(50).report(B, 2, 60).covers(50, 50);
}

#[test]
fn a_gap_begins_anew() {
    steady().report(A, 4, 50).covers_nothing(50).report(A, 5, 60).covers(50, 50);
}

#[test]
fn a_delayed_report_fills_no_gap() {
    steady().report(A, 4, 50).report(A, 3, 40).covers_nothing(50).report(A, 5, 60).covers(50, 50);
}

#[test]
fn a_doubled_report_changes_nothing() {
    steady()
        .report(A, 2, 35)
        .report(A, 0, 36)
        .report(A, 2, 30)
        .covers(10, 20)
        .report(A, 3, 40)
        .covers(10, 30);
}

#[test]
fn an_unreadable_report_begins_anew() {
    let broken = steady().unreadable(40).covers(10, 20);
    broken
        .report(A, 2, 30)
        .covers(10, 20)
        .report(A, 3, 50)
        .covers_nothing(50)
        .report(A, 4, 60)
        .covers(50, 50);
}

#[test]
fn an_unreadable_report_after_a_goodbye_begins_anew() {
    steady().goodbye(A, 3, 40).unreadable(50).resumed(B, (A, 3), 60).covers_nothing(60);
}

#[test]
fn the_first_of_all_being_unreadable_does_no_more() {
    Trace::default().unreadable(5).report(A, 0, 10).report(A, 1, 20).covers(10, 10);
}

#[test]
fn coverage_goes_on_over_a_goodbye() {
    let away = steady().goodbye(A, 3, 40).covers(10, 30);
    away.resumed(B, (A, 3), 100).covers(10, 30).report(B, 1, 110).covers(10, 100);
}

#[test]
fn coverage_goes_on_over_a_goodbye_that_was_the_only_report() {
    let away = Trace::default().goodbye(A, 0, 10);
    away.resumed(B, (A, 0), 50).covers_nothing(10).report(B, 1, 60).covers(10, 50);
}

#[test]
fn a_boot_that_does_not_say_so_does_not_resume() {
    steady().goodbye(A, 3, 40).report(B, 0, 100).covers_nothing(100);
}

#[test]
fn what_was_no_goodbye_is_not_resumed() {
    steady().resumed(B, (A, 2), 100).covers_nothing(100);
}

#[test]
fn only_the_last_report_is_resumed() {
    steady().goodbye(A, 3, 40).resumed(B, (A, 2), 100).covers_nothing(100);
    steady().goodbye(A, 4, 40).resumed(B, (A, 3), 100).covers_nothing(100);
    steady().goodbye(A, 3, 40).resumed(B, (C, 3), 100).covers_nothing(100);
}

#[test]
fn a_goodbye_that_was_never_seen_is_not_resumed() {
    steady().resumed(B, (A, 3), 100).covers_nothing(100);
}

#[test]
fn a_resumption_is_a_first_report() {
    let late = Cut { number: 1, continues: Some((A, 3)), ..Trace::cut(B, 1) };
    steady().goodbye(A, 3, 40).take(late, 100).covers_nothing(100);
}

#[test]
fn a_boot_that_reported_nothing_is_noticed_by_its_missing_marker() {
    // B took the marker of A's goodbye, served, and crashed without a report; C finds none.
    steady().goodbye(A, 3, 40).report(C, 0, 200).covers_nothing(200);
}

#[test]
fn a_goodbye_is_resumed_once() {
    // B resumed, reported and crashed; C shows the same marker again.
    let resumed = steady().goodbye(A, 3, 40).resumed(B, (A, 3), 100).covers(10, 30);
    resumed.resumed(C, (A, 3), 200).covers_nothing(200);
}

#[test]
fn an_older_boots_late_report_changes_nothing() {
    let newer = steady().report(B, 0, 100).report(B, 1, 110).covers(100, 100);
    newer.report(A, 3, 40).covers(100, 100).report(B, 2, 120).covers(100, 110);
}

#[test]
fn an_older_boot_that_reports_again_is_not_trusted() {
    // Two processes under one name: nothing is ever covered.
    let newer = steady().report(B, 0, 100).report(B, 1, 110);
    newer.report(A, 3, 115).covers_nothing(115).report(B, 2, 120).covers_nothing(120);
}

#[test]
fn uses_count_as_seen_when_their_report_was_stored() {
    let mut coverage = steady().0;
    let mut seen = |boot, number, at| coverage.take(Arrival::Report(Trace::cut(boot, number)), At(at));
    assert_eq!(seen(A, 3, 40), At(40));
    assert_eq!(seen(B, 0, 100), At(100));
    assert_eq!(seen(A, 4, 50), At(50), "a late one when it was stored");
}

#[test]
fn should_the_bus_clock_go_back_uses_are_late_and_coverage_is_early() {
    let mut coverage = steady().report(A, 3, 40).covers(10, 30).0;
    assert_eq!(coverage.take(Arrival::Report(Trace::cut(A, 4)), At(35)), At(40));
    let back = Trace(coverage).covers(10, 35);
    back.report(A, 5, 36).covers(10, 35).report(A, 7, 37).covers_nothing(40);
}

#[test]
fn a_boot_stored_by_a_clock_that_went_back_is_trusted_once_it_has_caught_up() {
    let back = steady().report(B, 0, 25).covers(10, 20).report(B, 1, 29).covers(10, 20);
    back.report(B, 2, 31).covers_nothing(31).report(B, 3, 40).covers(31, 31);
}
