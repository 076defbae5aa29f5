//! Usage reports: numbered without a gap, cut one after the other, sent again word for word until they
//! are acknowledged (SAFETY 4).

use crate::metrics::{Metrics, Sent};
use crate::note;
use crate::table::Table;
use crate::tally::Taken;
use keywheel_bus::{Bus, SharedFold};
use keywheel_domain::EdgeId;
use keywheel_runtime::retry::Backoff;
use keywheel_wire::text::Id;
use keywheel_wire::usage::{LastReport, REPORT_USES_MAX, Report};
use std::sync::Arc;
use std::time::Duration;

/// An unanswered report is sent again after this long.
const SEND_MAX: Duration = Duration::from_secs(5);
const AWAY: Duration = Duration::from_millis(100);

/// Which report comes next, and which is not acknowledged yet. Waits for nothing itself.
#[derive(Clone, Debug)]
pub struct Reporter {
    edge: EdgeId,
    boot: Id,
    next: u64,
    continues: Option<LastReport>,
    outstanding: Option<Report>,
    has_said_goodbye: bool,
}

impl Reporter {
    /// For one run of the process. `continues` is how the run before it ended, if it said goodbye.
    pub fn new(edge: EdgeId, boot: Id, continues: Option<LastReport>) -> Self {
        Self { edge, boot, next: 0, continues, outstanding: None, has_said_goodbye: false }
    }

    /// The report to send now: the one that is not acknowledged, unchanged, or a new one with what
    /// `take` gives of at most so many versions. A last one says goodbye if it holds all there is.
    pub fn to_send(&mut self, is_ending: bool, take: impl FnOnce(usize) -> Taken) -> &Report {
        let Self { edge, boot, next, continues, outstanding, has_said_goodbye: _ } = self;
        outstanding.get_or_insert_with(|| {
            let taken = take(REPORT_USES_MAX);
            Report {
                edge: edge.to_string(),
                boot: *boot,
                number: *next,
                continues: continues.take(),
                goodbye: is_ending && taken.is_all,
                uses: taken.uses,
                refused: taken.refused,
            }
        })
    }

    /// The report that was to be sent is stored: the next one may be cut.
    pub fn acknowledged(&mut self) {
        if let Some(report) = self.outstanding.take() {
            self.next = report.number + 1;
            self.has_said_goodbye = report.goodbye;
        }
    }

    /// The last report, once it said goodbye and was acknowledged.
    pub fn goodbye(&self) -> Option<LastReport> {
        let number = self.next.checked_sub(1)?;
        self.has_said_goodbye.then_some(LastReport { boot: self.boot, number })
    }
}

/// A reporter with what it needs to send.
pub struct Reports {
    /// Which report is next.
    pub reporter: Reporter,
    /// Where the counts are.
    pub table: Arc<Table>,
    /// Where they go.
    pub bus: Bus,
    /// What is counted of that.
    pub metrics: Arc<Metrics>,
}

impl Reports {
    /// Reports every `every`, the first time at once, for ever.
    pub async fn run(&mut self, every: Duration) -> std::convert::Infallible {
        let mut backoff = Backoff::new(AWAY, every.max(AWAY));
        loop {
            let wait = if !self.bus.is_connected() {
                AWAY
            } else if self.send(false).await {
                backoff.reset();
                every
            } else {
                backoff.delay()
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// One attempt; whether it was acknowledged.
    async fn send(&mut self, is_ending: bool) -> bool {
        let table = &self.table;
        let report = self.reporter.to_send(is_ending, |most| table.take_uses(most)).clone();
        let edge = &self.reporter.edge;
        let sent = tokio::time::timeout(SEND_MAX, self.bus.put_report(edge, &report)).await;
        let is_acknowledged = matches!(sent, Ok(Ok(())));
        if is_acknowledged {
            self.reporter.acknowledged();
            self.metrics.report(Sent::Acknowledged);
        } else {
            tracing::debug!(number = report.number, "a usage report is not acknowledged; sending it again");
            self.metrics.report(Sent::Unclear);
        }
        is_acknowledged
    }

    /// Reports everything that is left and says goodbye, within `time`. The table must be closed: what
    /// is served after a goodbye would be missed. Whether the next process may go on from here.
    pub async fn say_goodbye(&mut self, fold: &SharedFold, time: Duration) -> bool {
        let said = tokio::time::timeout(time, async {
            while self.reporter.goodbye().is_none() {
                if !(self.bus.is_connected() && self.send(true).await) {
                    tokio::time::sleep(AWAY).await;
                }
            }
        });
        let Some(last) = said.await.ok().and_then(|()| self.reporter.goodbye()) else {
            tracing::warn!("the last usage report is not acknowledged; coverage begins anew after this");
            return false;
        };
        let kept = tokio::task::block_in_place(|| fold.lock().apply(&[], &[note::goodbye(last)]));
        kept.inspect_err(|error| tracing::error!(%error, "cannot note the goodbye")).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::usage::VersionUse;

    fn reporter(continues: Option<LastReport>) -> Reporter {
        Reporter::new(EdgeId::parse("e1").unwrap(), Id(9), continues)
    }

    fn taken(uses: u64, is_all: bool) -> impl FnOnce(usize) -> Taken {
        move |_| {
            let one = VersionUse { tenant: "t".to_owned(), client: "c".to_owned(), version: 1, uses };
            Taken { uses: vec![one], refused: vec![], is_all }
        }
    }

    fn never(_: usize) -> Taken {
        panic!("cut before the one before it was acknowledged")
    }

    #[test]
    fn a_report_is_cut_only_after_the_one_before_was_acknowledged() {
        let mut reporter = reporter(None);
        let first = reporter.to_send(false, taken(3, true)).clone();
        for _ in 0..5 {
            assert_eq!(reporter.to_send(false, never), &first, "the same, word for word");
        }
        reporter.acknowledged();
        let second = reporter.to_send(false, taken(4, true)).clone();
        assert_eq!((first.number, second.number), (0, 1));
        assert_eq!((first.uses[0].uses, second.uses[0].uses), (3, 4));
    }

    #[test]
    fn an_acknowledgement_that_comes_twice_skips_no_number() {
        let mut reporter = reporter(None);
        reporter.to_send(false, taken(1, true));
        reporter.acknowledged();
        reporter.acknowledged();
        assert_eq!(reporter.to_send(false, taken(1, true)).number, 1);
    }

    #[test]
    fn only_report_0_tells_what_it_continues() {
        let last = LastReport { boot: Id(8), number: 41 };
        let mut reporter = reporter(Some(last));
        let first = reporter.to_send(false, taken(1, true)).clone();
        assert_eq!((first.continues, first.boot), (Some(last), Id(9)));
        assert_eq!(reporter.to_send(false, never).continues, Some(last), "also when it is sent again");
        reporter.acknowledged();
        assert_eq!(reporter.to_send(false, taken(1, true)).continues, None);
    }

    #[test]
    fn goodbye_is_said_with_all_that_is_left_and_counts_when_acknowledged() {
        let mut reporter = reporter(None);
        let cut_before_the_end = reporter.to_send(false, taken(1, true)).clone();
        assert_eq!(reporter.to_send(true, never), &cut_before_the_end);
        reporter.acknowledged();
        assert_eq!(reporter.goodbye(), None);
        assert!(!reporter.to_send(true, taken(4000, false)).goodbye, "more is to come");
        reporter.acknowledged();
        assert_eq!(reporter.goodbye(), None);
        assert!(reporter.to_send(true, taken(7, true)).goodbye);
        assert_eq!(reporter.goodbye(), None, "not acknowledged");
        reporter.acknowledged();
        assert_eq!(reporter.goodbye(), Some(LastReport { boot: Id(9), number: 2 }));
    }
}
