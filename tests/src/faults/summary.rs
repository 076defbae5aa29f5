//! What a campaign did and was answered, counted from its ledger.

use super::ledger::{Answer, Entry, Why};
use super::routes::is_route;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// The figures of a campaign.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// From the first entry to the last, in seconds.
    pub seconds: f64,
    /// Commands by verb and outcome (copies count once).
    pub commands: BTreeMap<String, BTreeMap<String, u64>>,
    /// Copies sent besides the first of each command, and sendings that the bus did not acknowledge.
    pub copies: u64,
    /// As said there.
    pub unacknowledged: u64,
    /// Old versions that were retired by quiet proof, behind their successor.
    pub rotations_completed: u64,
    /// Sealed keys that clients opened.
    pub delivered: u64,
    /// Requests by what they were for and what was answered.
    pub requests: BTreeMap<String, BTreeMap<String, u64>>,
    /// Faults by kind; those of routes between bus nodes by themselves.
    pub faults: BTreeMap<String, u64>,
    /// Faults that cannot be done here.
    pub skipped: Vec<&'static str>,
    /// Receipts that were seen.
    pub receipts: u64,
    /// Events in the log.
    pub events: u64,
}

impl Summary {
    /// Counts.
    pub fn of(entries: &[Entry]) -> Summary {
        let mut summary = Summary::default();
        let (mut verbs, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
        for entry in entries {
            summary.count(entry);
            match entry {
                Entry::Command { id, verb, .. } => drop(verbs.insert(id.clone(), verb.clone())),
                Entry::Outcome { id, outcome, .. } => drop(outcomes.insert(id.clone(), outcome.clone())),
                Entry::Began { .. }
                | Entry::Clock { .. }
                | Entry::Delivered { .. }
                | Entry::Request { .. }
                | Entry::Receipt { .. }
                | Entry::Fault { .. }
                | Entry::Healed { .. }
                | Entry::Logged { .. }
                | Entry::Table { .. }
                | Entry::Leak { .. }
                | Entry::Ended { .. } => {}
            }
        }
        for (id, verb) in verbs {
            let outcome = outcomes.remove(&id).unwrap_or_else(|| "none".to_owned());
            *summary.commands.entry(verb).or_default().entry(outcome).or_default() += 1;
        }
        summary
    }

    fn count(&mut self, entry: &Entry) {
        match entry {
            Entry::Began { seed, .. } => self.seed = *seed,
            Entry::Command { acknowledged, copy, .. } => {
                self.copies += u64::from(*copy > 1);
                self.unacknowledged += u64::from(acknowledged.is_none());
            }
            Entry::Delivered { .. } => self.delivered += 1,
            Entry::Request { why, answer, .. } => {
                let of_kind = self.requests.entry(purpose(*why).to_owned()).or_default();
                *of_kind.entry(said(answer)).or_default() += 1;
            }
            Entry::Receipt { .. } => self.receipts += 1,
            Entry::Fault { kind, target, .. } => {
                let place = if is_route(target) { "route " } else { "" };
                *self.faults.entry(format!("{place}{kind}")).or_default() += 1;
            }
            Entry::Logged { event, .. } => {
                self.events += 1;
                let is_retirement = event["type"] == "KeyRetired" && event["body"]["cause"] == "superseded";
                self.rotations_completed += u64::from(is_retirement);
            }
            Entry::Ended { at } => self.seconds = *at as f64 / 1e6,
            Entry::Clock { .. }
            | Entry::Outcome { .. }
            | Entry::Healed { .. }
            | Entry::Table { .. }
            | Entry::Leak { .. } => {}
        }
    }
}

fn purpose(why: Why) -> &'static str {
    match why {
        Why::Newest => "newest",
        Why::Fallback => "fallback",
        Why::Straggler => "straggler",
        Why::Probe => "probe",
    }
}

fn said(answer: &Answer) -> String {
    match answer {
        Answer::Accepted(_) => "accepted".to_owned(),
        Answer::Refused(code) => format!("refused {code}"),
        Answer::Unavailable(code) => format!("unavailable {code}"),
        Answer::None => "no answer".to_owned(),
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let each = counts.iter().map(|(what, count)| format!("{what} {count}"));
            each.collect::<Vec<_>>().join(", ")
        };
        writeln!(f, "seed {}, {:.0} s, {} events in the log", self.seed, self.seconds, self.events)?;
        for (verb, outcomes) in &self.commands {
            writeln!(f, "  command {verb:<10} {}", list(outcomes))?;
        }
        writeln!(f, "  sent again {}, not acknowledged {}", self.copies, self.unacknowledged)?;
        for (why, answers) in &self.requests {
            writeln!(f, "  request {why:<10} {}", list(answers))?;
        }
        writeln!(
            f,
            "  delivered {}, retired by quiet proof {}, receipts {}",
            self.delivered, self.rotations_completed, self.receipts
        )?;
        let faults: u64 = self.faults.values().sum();
        write!(f, "  faults {faults}: {}", list(&self.faults))?;
        if !self.skipped.is_empty() {
            write!(f, "; skipped, because they cannot be done here: {}", self.skipped.join(", "))?;
        }
        Ok(())
    }
}
