//! What a campaign showed: each promise with its trials, what broke it, and how long things took.

use crate::faults::ledger::{Entry, Micros};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Violations of one promise that are shown with the entries that prove them.
pub const SHOWN_MAX: usize = 5;

macro_rules! promises {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What is promised, and tried by a campaign.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum Promise { $($(#[$doc])* $name,)* }

        impl Promise {
            /// Every one.
            pub const ALL: &[Promise] = &[$(Promise::$name),*];

            /// As a sentence.
            pub fn text(self) -> &'static str {
                match self { $(Promise::$name => $text,)* }
            }
        }
    };
}

promises! {
    /// Nothing of the ledger itself is missing or contradicts itself.
    Whole = "the ledger is whole",
    /// SAFETY, activation. Tried by each definite answer to a key from its delivery on.
    NotRefused = "no key refused before its end",
    /// The part of it that the barrier is for. Tried as [`Promise::NotRefused`].
    Known = "a delivered key is known",
    /// Tried by each delivery.
    Activated = "no key delivered before its activation",
    /// Tried by each request: 503 and silence have a fault as their reason.
    Served = "answered where no fault is near",
    /// SAFETY, continuity. Tried by each second try after a refusal.
    Continuity = "a client's second try is accepted",
    /// Tried by each request for which every state that the edge can have had was an end.
    Horizon = "no ended key accepted past the horizon",
    /// The same, where a receipt says so.
    Receipt = "no ended key accepted after the receipt",
    /// Tried by each accepted request.
    Alive = "accepted as what it is, between its issue and its expiry",
    /// SAFETY 3, 4. Tried by each quiet proof.
    Quiet = "unused in each quiet proof's window",
    /// SAFETY 5. Tried by each retirement that was not commanded.
    Successor = "retired with evidence, behind a key in use",
    /// Tried by each command that the bus acknowledged or that has an outcome.
    Outcome = "one outcome a command, none lost",
    /// Tried as [`Promise::Outcome`].
    Effect = "one event an accepted command, else none",
    /// Tried by each message of the log.
    Order = "the log continues itself",
    /// Tried by each event after a revocation of its keyring, and each request where an edge had said `revoked`.
    Revoked = "revoked stays revoked",
    /// Tried by each accepted revocation.
    Receipted = "each revocation has its receipt",
    /// Tried by each edge.
    Table = "each edge's table is the log's fold",
    /// Tried by each delivered key.
    Secret = "no key text anywhere",
}

/// One promise, as far as the campaign tried it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// How often it was tried.
    pub trials: u64,
    /// How often it was broken.
    pub violations: u64,
    /// The first few of these.
    pub shown: Vec<Violation>,
}

/// A broken promise.
#[derive(Clone, Debug, Serialize)]
pub struct Violation {
    /// What was seen.
    pub what: String,
    /// The entries that show it; payloads are left out.
    pub entries: Vec<Entry>,
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Spread {
    /// How many were measured.
    pub count: usize,
    /// Half took at most this.
    pub p50: Micros,
    /// 99 of 100 took at most this.
    pub p99: Micros,
    /// The longest.
    pub max: Micros,
}

impl Spread {
    /// Of these measurements.
    pub fn of(mut all: Vec<Micros>) -> Spread {
        all.sort_unstable();
        let at = |permille: usize| all.get((all.len() * permille).div_ceil(1000).saturating_sub(1));
        let at = |permille| at(permille).copied().unwrap_or_default();
        Spread { count: all.len(), p50: at(500), p99: at(990), max: at(1000) }
    }
}

/// What a campaign showed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The campaign's seed.
    pub seed: u64,
    /// Requests by what was answered: `accepted`, `unavailable`, `none`, or the code of a definite no.
    pub answers: BTreeMap<String, u64>,
    /// 503 or silence that a fault explains.
    pub excused: u64,
    /// For how long after a fault that is (see [`super::RECOVERY`]), the lease included.
    pub recovery: Micros,
    /// From the moment a retirement was stored to the last request, at an edge without a fault, that was sent and still
    /// accepted; nothing where none was.
    pub retired_still_accepted: Spread,
    /// The same for revocations.
    pub revoked_still_accepted: Spread,
    /// Each promise that was tried.
    pub checks: BTreeMap<Promise, Check>,
}

impl Report {
    /// Counts trials.
    pub fn tried(&mut self, promise: Promise, trials: u64) {
        self.checks.entry(promise).or_default().trials += trials;
    }

    /// Counts a violation, and keeps it while there are few.
    pub fn broken(&mut self, promise: Promise, what: String, entries: &[&Entry]) {
        let check = self.checks.entry(promise).or_default();
        check.violations += 1;
        if check.shown.len() < SHOWN_MAX {
            let entries = entries.iter().map(|entry| without_payload(entry)).collect();
            check.shown.push(Violation { what, entries });
        }
    }

    /// One trial, broken if `wrong` says how.
    pub fn trial(&mut self, promise: Promise, entries: &[&Entry], wrong: Option<String>) {
        self.tried(promise, 1);
        if let Some(what) = wrong {
            self.broken(promise, what, entries);
        }
    }

    /// How often a promise was broken.
    pub fn violations(&self, promise: Promise) -> u64 {
        self.checks.get(&promise).map_or(0, |check| check.violations)
    }

    /// Whether nothing was broken.
    pub fn is_clean(&self) -> bool {
        self.checks.values().all(|check| check.violations == 0)
    }

    /// The promises that this campaign never put to the test.
    pub fn untried(&self) -> Vec<Promise> {
        let tried = |promise: &Promise| self.checks.get(promise).is_some_and(|check| check.trials > 0);
        Promise::ALL.iter().copied().filter(|promise| !tried(promise)).collect()
    }
}

fn without_payload(entry: &Entry) -> Entry {
    let mut entry = entry.clone();
    if let Entry::Logged { payload, .. } = &mut entry {
        payload.clear();
    }
    entry
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let asked: u64 = self.answers.values().sum();
        let answers: Vec<String> = self.answers.iter().map(|(word, n)| format!("{n} {word}")).collect();
        writeln!(f, "{asked} requests: {}", answers.join(", "))?;
        let recovery = self.recovery / 1_000_000;
        writeln!(f, "{} of them unanswered in a fault or within {recovery} s after it", self.excused)?;
        for (what, spread) in
            [("retired", &self.retired_still_accepted), ("revoked", &self.revoked_still_accepted)]
        {
            let Spread { count, p50, p99, max } = spread;
            let [p50, p99, max] = [p50, p99, max].map(|time| time / 1000);
            writeln!(
                f,
                "still accepted after being {what}: p50 {p50} ms, p99 {p99} ms, max {max} ms ({count} ends)"
            )?;
        }
        writeln!(f, "{:<58} {:>9} {:>7}  rate at 95 %", "PROMISE", "TRIALS", "BROKEN")?;
        for promise in Promise::ALL {
            let check = self.checks.get(promise).cloned().unwrap_or_default();
            let rate = match (check.violations, check.trials) {
                (_, 0) => "not tried".to_owned(),
                (0, n) => format!("below 3/{n}"),
                (_, _) => "BROKEN".to_owned(),
            };
            writeln!(f, "{:<58} {:>9} {:>7}  {rate}", promise.text(), check.trials, check.violations)?;
        }
        for (promise, check) in self.checks.iter().filter(|(_, check)| check.violations > 0) {
            writeln!(f, "\n{}: broken {} times", promise.text(), check.violations)?;
            for violation in &check.shown {
                writeln!(f, "  {}", violation.what)?;
                for entry in &violation.entries {
                    writeln!(f, "    {}", serde_json::to_string(entry).map_err(|_| fmt::Error)?)?;
                }
            }
        }
        Ok(())
    }
}
