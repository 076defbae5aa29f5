//! The judge of a fault campaign: was every single answer legal for some state of the log that can have been in force
//! at that edge at that moment? Pure: a ledger in, a report out. The state machine is `keywheel_domain`'s own.
//!
//! # Layout
//! - [`report`]: what is promised (SAFETY.md), how often it was tried, what broke it
//! - [`history`]: the log, decoded and folded: from when on each version was what
//! - [`outages`]: which fault can have been felt by which edge, and for how long
//! - [`asked`]: every request, by keyring and in order
//! - [`answers`]: each answer against the history
//! - [`clients`]: what a client met as a whole: served by its second try, answered outside of faults
//! - [`proofs`]: quiet proofs and what retires by them
//! - [`commands`]: outcomes, effects, receipts
//! - [`ends`]: tables, key texts, deliveries
//! - [`spread`]: how long after an end somebody was still accepted

pub mod answers;
pub mod asked;
pub mod clients;
pub mod commands;
pub mod ends;
pub mod history;
pub mod outages;
pub mod proofs;
pub mod report;
pub mod spread;

use crate::faults::ledger::{Entry, Micros};
use asked::Requests;
use history::History;
use outages::Outages;
pub use report::{Promise, Report};
use std::collections::{BTreeMap, BTreeSet};

/// How exactly times of the bus can be compared with the harness's.
pub const TOLERANCE: Micros = 50_000;

/// For how long after a fault an edge may go on answering 503, or not at all: it starts, reconnects, reads on and
/// finishes a handshake. A lease comes on top.
pub const RECOVERY: Micros = 15_000_000;

/// What the entries say, sorted by what they are about.
pub struct Case<'a> {
    /// The fleet's lease.
    pub lease: Micros,
    stale_max: Micros,
    strict: BTreeSet<&'a str>,
    /// Names of the edges.
    pub edges: &'a [String],
    /// The log.
    pub history: History<'a>,
    /// The faults.
    pub outages: Outages<'a>,
    /// The requests.
    pub requests: Requests<'a>,
    /// First delivery of each version of each keyring.
    pub delivered: BTreeMap<(&'a str, u32), Micros>,
}

impl Case<'_> {
    /// How long an edge without contact may go on accepting keys of this keyring.
    pub fn horizon(&self, keyring: &str) -> Micros {
        if self.strict.contains(keyring) { self.lease } else { self.lease.max(self.stale_max) }
    }
}

/// Judges a campaign. The entries may come in any order.
pub fn judge(entries: &[Entry]) -> Report {
    let mut report = Report::default();
    let Some(case) = open(entries, &mut report) else { return report };
    answers::judge(&case, entries, &mut report);
    clients::judge(&case, &mut report);
    proofs::judge(&case, &mut report);
    commands::judge(&case, entries, &mut report);
    ends::judge(&case, entries, &mut report);
    spread::measure(&case, &mut report);
    report
}

/// Sorts the entries; nothing when the first one is missing.
fn open<'a>(entries: &'a [Entry], report: &mut Report) -> Option<Case<'a>> {
    let began = entries.iter().find(|entry| matches!(entry, Entry::Began { .. }));
    let Some(Entry::Began { seed, lease, stale_max, quiet: _, edges, keyrings }) = began else {
        report.broken(Promise::Whole, "the ledger has no beginning".to_owned(), &[]);
        return None;
    };
    let (lease, stale_max) = (*lease, *stale_max);
    report.seed = *seed;
    report.recovery = RECOVERY + lease;
    let strict = keyrings.iter().filter(|(_, strict)| *strict).map(|(name, _)| name.as_str()).collect();
    let mut delivered = BTreeMap::new();
    for entry in entries {
        if let Entry::Delivered { at, keyring, version, .. } = entry {
            let first = delivered.entry((keyring.as_str(), *version)).or_insert(*at);
            *first = (*first).min(*at);
        }
    }
    Some(Case {
        lease,
        stale_max,
        strict,
        edges,
        history: History::read(entries, report),
        outages: Outages::read(entries),
        requests: Requests::read(entries),
        delivered,
    })
}
