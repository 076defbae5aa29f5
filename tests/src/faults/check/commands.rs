//! Commands: none lost, none twice, one outcome each; a receipt for each revocation.

use super::Case;
use super::history::Step;
use super::report::{Promise, Report};
use crate::faults::ledger::Entry;
use keywheel_domain::Fact;
use keywheel_domain::key::Cause;
use keywheel_wire::text;
use std::collections::{BTreeMap, BTreeSet};

/// All that is known of one command.
#[derive(Default)]
struct Group<'a> {
    keyring: &'a str,
    verb: &'a str,
    version: Option<u32>,
    is_acknowledged: bool,
    copies: Vec<&'a Entry>,
    outcomes: Vec<&'a Entry>,
}

/// An outcome's fields.
struct Told<'a> {
    outcome: &'a str,
    code: &'a Option<String>,
    sequence: Option<u64>,
    version: Option<u32>,
}

/// Judges each command.
pub fn judge(case: &Case<'_>, entries: &[Entry], report: &mut Report) {
    let mut groups: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    let mut receipts: BTreeSet<u64> = BTreeSet::new();
    for entry in entries {
        if let Entry::Command { acknowledged, id, keyring, verb, version, .. } = entry {
            let group = groups.entry(id).or_default();
            group.is_acknowledged |= acknowledged.is_some();
            (group.keyring, group.verb, group.version) = (keyring, verb, *version);
            group.copies.push(entry);
        } else if let Entry::Outcome { id, .. } = entry {
            groups.entry(id).or_default().outcomes.push(entry);
        } else if let Entry::Receipt { position, .. } = entry {
            receipts.insert(*position);
        }
    }
    for (id, group) in &groups {
        if group.is_acknowledged || !group.outcomes.is_empty() {
            one(case, id, group, &receipts, report);
        }
    }
}

fn told(entry: &Entry) -> Option<Told<'_>> {
    let Entry::Outcome { outcome, code, sequence, version, .. } = entry else { return None };
    Some(Told { outcome, code, sequence: *sequence, version: *version })
}

fn one(case: &Case<'_>, id: &str, group: &Group<'_>, receipts: &BTreeSet<u64>, report: &mut Report) {
    let effects: Vec<&Step<'_>> = text::parse_id("id", id)
        .ok()
        .and_then(|id| case.history.effects.get(&id))
        .into_iter()
        .flatten()
        .filter_map(|at| case.history.steps.get(*at))
        .collect();
    let mut shown: Vec<&Entry> = group.copies.iter().take(3).copied().collect();
    shown.extend(group.outcomes.iter().take(2));
    shown.extend(effects.iter().map(|step| step.entry));
    let first = group.outcomes.first().and_then(|entry| told(entry));
    let name = |what: String| format!("{}: {} {id}: {what}", group.keyring, group.verb);
    report.trial(Promise::Outcome, &shown, disagreement(group, first.as_ref()).map(name));
    report.trial(Promise::Effect, &shown, wrong_effect(group, first.as_ref(), &effects).map(name));
    let revoked = first.filter(|told| group.verb == "revoke" && told.outcome == "accepted");
    if let Some(position) = revoked.and_then(|told| told.sequence) {
        let missing = !receipts.contains(&position);
        let what = || name(format!("no receipt for position {position}"));
        report.trial(Promise::Receipted, &shown, missing.then(what));
    }
}

fn disagreement(group: &Group<'_>, first: Option<&Told<'_>>) -> Option<String> {
    let Some(first) = first else { return Some("acknowledged, and has no outcome".to_owned()) };
    if group.copies.is_empty() {
        return Some("an outcome of what nobody sent".to_owned());
    }
    let same = |other: Told<'_>| {
        let told =
            |told: &Told<'_>| (told.outcome.to_owned(), told.code.clone(), told.sequence, told.version);
        told(&other) == told(first)
    };
    let agree = group.outcomes.iter().filter_map(|entry| told(entry)).all(same);
    (!agree).then(|| "two outcomes".to_owned())
}

fn wrong_effect(group: &Group<'_>, first: Option<&Told<'_>>, effects: &[&Step<'_>]) -> Option<String> {
    let accepted = first.is_some_and(|told| told.outcome == "accepted");
    match (effects, first) {
        ([], _) if !accepted => None,
        ([], _) => Some("accepted, and made no event".to_owned()),
        ([_, _, ..], _) => Some(format!("made {} events", effects.len())),
        ([step], Some(told)) if accepted => unlike(group, told, step),
        ([step], Some(told)) => Some(format!("{}, and made {}", told.outcome, step.recorded.seq)),
        ([step], None) => Some(format!("no outcome, and made {}", step.recorded.seq)),
    }
}

/// How the event is not what the outcome and the command say.
fn unlike(group: &Group<'_>, told: &Told<'_>, step: &Step<'_>) -> Option<String> {
    let fact = &step.recorded.event.fact;
    let fits = match (group.verb, fact) {
        ("issue" | "rotate" | "import", Fact::KeyIssued(_))
        | ("activate", Fact::KeyActivated(_))
        | ("rollback", Fact::RolledBack(_))
        | ("policy", Fact::PolicySet(_)) => true,
        ("revoke", Fact::KeyRetired(ended)) => ended.cause == Cause::Revoked,
        ("retire", Fact::KeyRetired(ended)) => ended.cause != Cause::Revoked,
        (_, _) => false,
    };
    let named = group.version.is_none_or(|version| fact.changes().iter().any(|changed| changed.0 == version));
    let same = told.version.is_none() || told.version == fact.version().map(|version| version.0);
    let here = told.sequence == Some(step.recorded.seq) && group.keyring == step.keyring;
    (!(fits && named && same && here)).then(|| format!("its event is another: {fact:?}"))
}
