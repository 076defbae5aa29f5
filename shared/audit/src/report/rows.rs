//! The rows of each report.

use super::{Period, Row, second};
use crate::register::{Act, Ending, Life, Register};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::policy::OnOverlapMax;
use keywheel_domain::{At, KeyringId, Policy, Span, Version};
use keywheel_wire::body::cause_word;

pub const INVENTORY: &[&str] = &[
    "keyring",
    "version",
    "kid",
    "owner",
    "state",
    "issued",
    "activated",
    "ended",
    "age_days",
    "last_use",
    "expires",
    "scopes",
    "origin",
];
pub const LEDGER: &[&str] = &[
    "keyring",
    "new_version",
    "old_version",
    "issued",
    "by",
    "why",
    "activated",
    "policy",
    "overlap_ended",
    "overlap",
    "old_last_use",
    "ended_because",
];
pub const OVERDUE: &[&str] = &["keyring", "version", "kid", "owner", "since", "age_days", "rule", "due"];
pub const COMPROMISE: &[&str] = &[
    "keyring",
    "version",
    "kid",
    "reason",
    "by",
    "revoked",
    "edges_refusing",
    "unreached",
    "last_refusal",
    "seconds_to_last_refusal",
    "last_use",
    "final",
];
pub const OVERLAPS: &[&str] = &[
    "keyring",
    "old_version",
    "new_version",
    "began",
    "ended",
    "length",
    "limit",
    "at_limit",
    "old_last_use",
];

fn of(keyring: &KeyringId, version: Version) -> Vec<String> {
    vec![keyring.to_string(), version.0.to_string()]
}

fn at(moment: Option<At>) -> String {
    moment.map(second).unwrap_or_default()
}

fn row(cells: Vec<String>, finding: Option<String>) -> Row {
    Row { cells, finding }
}

/// As the period's end saw it: what came later was not handed in.
fn ending(life: &Life) -> Option<&Ending> {
    life.ended.as_ref()
}

fn days(span: Span) -> String {
    (span.0 / Span::days(1).0).to_string()
}

fn is_accepted(life: &Life, now: At) -> bool {
    life.ended.is_none() && life.expires_at.is_none_or(|end| now < end)
}

pub fn inventory(register: &Register, period: Period) -> Vec<Row> {
    let existed = |life: &Life| ending(life).is_none_or(|ending| ending.act.at >= period.from);
    let lives = register.lives().filter(|(_, _, life)| existed(life));
    let one = |(keyring, version, life): (&KeyringId, Version, &Life)| {
        let mut cells = of(keyring, version);
        cells.extend([life.kid.clone(), life.owner.clone().unwrap_or_default()]);
        let origin = match life.origin {
            Origin::Minted => "minted",
            Origin::Imported => "imported",
        };
        let until = ending(life).map_or(period.to, |ending| ending.act.at);
        cells.extend([
            life.nist(period.to).word().to_owned(),
            second(life.issued.at),
            at(life.activated.as_ref().map(|act| act.at)),
            at(ending(life).map(|ending| ending.act.at)),
            days(until.since(life.issued.at)),
            at(life.seen.map(|(_, last)| last)),
            at(life.expires_at),
            life.scopes.join(" "),
            origin.to_owned(),
        ]);
        let overdue = overdue_rules(register, keyring, life, period.to);
        row(cells, overdue.into_iter().next().map(|(rule, due)| format!("{rule}, due {}", second(due))))
    };
    lives.map(one).collect()
}

fn policy_words(policy: &Policy) -> String {
    let every =
        policy.every.filter(|every| every.0 > 0).map(|every| format!("every {every}, ")).unwrap_or_default();
    format!("{every}overlap {} to {}, quiet {}", policy.overlap_min, policy.overlap_max, policy.quiet)
}

pub fn ledger(register: &Register, period: Period) -> Vec<Row> {
    let mut rows = Vec::new();
    let rotations = register.lives().filter(|(_, _, life)| life.by_rotation && period.holds(life.issued.at));
    for (keyring, version, life) in rotations {
        let replaced = |old: &Life| old.superseded.as_ref().is_some_and(|(_, heir, _)| *heir == version);
        let olds: Vec<_> = register.of(keyring).filter(|(_, old)| replaced(old)).collect();
        if olds.is_empty() {
            rows.push(ledger_row(keyring, version, life, None, period));
        }
        rows.extend(olds.into_iter().map(|old| ledger_row(keyring, version, life, Some(old), period)));
    }
    rows
}

fn ledger_row(
    keyring: &KeyringId,
    version: Version,
    life: &Life,
    old: Option<(Version, &Life)>,
    period: Period,
) -> Row {
    let mut cells = of(keyring, version);
    let scheduled = life.issued.by == "issuer";
    let began = old.and_then(|(_, old)| old.superseded.as_ref()).map(|(act, _, _)| act.at);
    let ended = old.and_then(|(_, old)| ending(old));
    let length = began.map(|began| ended.map_or(period.to, |ended| ended.act.at).since(began));
    cells.extend([
        old.map(|(old, _)| old.0.to_string()).unwrap_or_default(),
        second(life.issued.at),
        life.issued.by.clone(),
        if scheduled { "by schedule" } else { "on command" }.to_owned(),
        at(life.activated.as_ref().map(|act| act.at)),
        policy_words(&life.policy),
        at(ended.map(|ended| ended.act.at)),
        length.map(span_words).unwrap_or_default(),
        at(old.and_then(|(_, old)| old.seen).map(|(_, last)| last)),
        ended.map(|ended| cause_word(ended.cause).to_owned()).unwrap_or_default(),
    ]);
    let finding = match (&life.activated, ended) {
        (None, _) if life.ended.is_none() => Some("not activated yet".to_owned()),
        (None, _) => Some("never activated".to_owned()),
        (Some(_), _) => None,
    };
    row(cells, finding)
}

/// The rules by which a key should not be accepted any more, each with the moment from which on.
fn overdue_rules(register: &Register, keyring: &KeyringId, life: &Life, now: At) -> Vec<(&'static str, At)> {
    if !is_accepted(life, now) {
        return Vec::new();
    }
    let mut rules = Vec::new();
    let policy = register.policy(keyring);
    if let (Some(every), None) = (policy.every.filter(|every| every.0 > 0), &life.superseded) {
        rules.push(("not rotated by its schedule", life.since().after(every).after(policy.jitter)));
    }
    if let Some((act, _, policy)) = &life.superseded {
        rules.push(("its overlap does not end", act.at.after(policy.overlap_max)));
    }
    if life.activated.is_none() {
        rules.push(("issued and never activated", life.issued.at.after(Span::days(1))));
    }
    rules.retain(|(_, due)| *due < now);
    rules
}

pub fn overdue(register: &Register, period: Period) -> Vec<Row> {
    let mut rows = Vec::new();
    for (keyring, version, life) in register.lives() {
        for (rule, due) in overdue_rules(register, keyring, life, period.to) {
            let mut cells = of(keyring, version);
            cells.extend([life.kid.clone(), life.owner.clone().unwrap_or_default(), second(life.since())]);
            cells.extend([days(period.to.since(life.since())), rule.to_owned(), second(due)]);
            rows.push(row(cells, Some(format!("late by {}", span_words(period.to.since(due))))));
        }
    }
    rows
}

pub fn compromise(register: &Register, period: Period) -> Vec<Row> {
    let revoked = |life: &Life| {
        let ending = ending(life).filter(|ending| ending.cause == Cause::Revoked)?;
        period.holds(ending.act.at).then(|| ending.clone())
    };
    let lives = register
        .lives()
        .filter_map(|(keyring, version, life)| Some((keyring, version, life, revoked(life)?)));
    let one = |(keyring, version, life, ending): (&KeyringId, Version, &Life, Ending)| {
        let Act { at: when, by, .. } = &ending.act;
        let receipt = register.receipt(ending.event_id);
        let last = receipt.map(|receipt| {
            let late = receipt.unreached.iter().map(|unreached| unreached.refuses_by.0);
            late.chain([receipt.at.0]).max().unwrap_or(receipt.at.0)
        });
        let used_after = life.seen.is_some_and(|(_, used)| last.is_some_and(|last| used > last));
        let mut cells = of(keyring, version);
        cells.extend([
            life.kid.clone(),
            ending.reason.clone().unwrap_or_default(),
            by.clone(),
            second(*when),
        ]);
        cells.extend([
            receipt.map(|it| format!("{} of {}", it.applied_on.len(), it.edges)).unwrap_or_default(),
            receipt
                .map(|it| it.unreached.iter().map(|it| it.edge.clone()).collect::<Vec<_>>().join(" "))
                .unwrap_or_default(),
            at(last),
            last.map(|last| format!("{:.3}", last.since(*when).0 as f64 / 1000.0)).unwrap_or_default(),
            at(life.seen.map(|(_, last)| last)),
            at(receipt.map(|it| it.final_at.0)),
        ]);
        let finding = match receipt {
            None => Some("no receipt: it is not shown that every edge refuses it".to_owned()),
            Some(_) if used_after => Some("seen in use after the last refusal".to_owned()),
            Some(receipt) if !receipt.unreached.is_empty() => Some("not every edge was reached".to_owned()),
            Some(_) => None,
        };
        row(cells, finding)
    };
    lives.map(one).collect()
}

pub fn overlaps(register: &Register, period: Period) -> Vec<Row> {
    let mut rows = Vec::new();
    for (keyring, version, life) in register.lives() {
        let Some((act, heir, policy)) = &life.superseded else { continue };
        let ended =
            ending(life).map(|ending| ending.act.at).or(life.expires_at.filter(|end| *end <= period.to));
        if ended.is_some_and(|ended| ended < period.from) || act.at >= period.to {
            continue;
        }
        let length = ended.unwrap_or(period.to).since(act.at);
        let at_limit = match policy.on_overlap_max {
            OnOverlapMax::Hold => "held",
            OnOverlapMax::Retire => "retired",
        };
        let mut cells = of(keyring, version);
        cells.extend([heir.0.to_string(), second(act.at), at(ended), span_words(length)]);
        cells.extend([
            policy.overlap_max.to_string(),
            at_limit.to_owned(),
            at(life.seen.map(|(_, last)| last)),
        ]);
        let over = length > policy.overlap_max;
        let finding = match (over, ended) {
            (true, None) => Some("has not ended, past its limit"),
            (true, Some(_)) => Some("was longer than its limit"),
            (false, _) => None,
        };
        rows.push(row(cells, finding.map(str::to_owned)));
    }
    rows
}

/// A span by its two largest units.
fn span_words(span: Span) -> String {
    let seconds = span.0 / 1000;
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let words: Vec<String> = parts
        .into_iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect();
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}
