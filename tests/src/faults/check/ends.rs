//! What was found when all was over: tables, key texts; and that nobody was handed a key too early.

use super::report::{Promise, Report};
use super::{Case, TOLERANCE};
use crate::faults::ledger::Entry;
use std::collections::BTreeMap;

/// Judges tables, leaks and deliveries.
pub fn judge(case: &Case<'_>, entries: &[Entry], report: &mut Report) {
    let mut tables: BTreeMap<&str, &Entry> = BTreeMap::new();
    let mut ended = false;
    report.tried(Promise::Secret, case.delivered.len() as u64);
    for entry in entries {
        if let Entry::Table { edge, .. } = entry {
            tables.insert(edge, entry);
        } else if let Entry::Leak { place } = entry {
            report.broken(Promise::Secret, format!("a key's text stands in {place}"), &[entry]);
        } else if let Entry::Delivered { .. } = entry {
            delivery(case, entry, report);
        } else if let Entry::Ended { .. } = entry {
            ended = true;
        }
    }
    let unfinished = (!ended).then(|| "the campaign did not end".to_owned());
    report.trial(Promise::Whole, &[], unfinished);
    for edge in case.edges {
        table(case, edge, tables.get(edge.as_str()).copied(), report);
    }
}

fn table(case: &Case<'_>, edge: &str, entry: Option<&Entry>, report: &mut Report) {
    let Some(Entry::Table { position, digest, folded, .. }) = entry else {
        report.trial(Promise::Table, &[], Some(format!("{edge} did not say what it has")));
        return;
    };
    let last = case.history.last;
    let wrong = if *position != last {
        Some(format!("{edge} is at {position}, and the log ends at {last}"))
    } else {
        (digest != folded).then(|| format!("{edge} has {digest}, and the log's fold is {folded}"))
    };
    report.trial(Promise::Table, entry.as_slice(), wrong);
}

fn delivery(case: &Case<'_>, entry: &Entry, report: &mut Report) {
    let Entry::Delivered { at, keyring, version, kid } = entry else { return };
    let life = case.history.life(keyring, *version);
    let wrong = match life.and_then(|life| life.activated.map(|stored| (life, stored))) {
        None => Some("is not activated in the log".to_owned()),
        Some((_, stored)) if stored > at + TOLERANCE => {
            Some(format!("was delivered at {at} µs and activated at {stored} µs"))
        }
        Some((life, _)) if life.kid != *kid => Some(format!("is {kid}, and {} in the log", life.kid)),
        Some(_) => None,
    };
    let what = |wrong| format!("{keyring}: v{version} {wrong}");
    report.trial(Promise::Activated, &[entry], wrong.map(what));
}
