//! Each answer against the history: was it right for some state of the log that this edge can have had?

use super::asked::Asked;
use super::history::{Life, Phase};
use super::report::{Promise, Report};
use super::{Case, TOLERANCE};
use crate::faults::ledger::{Answer, Entry, Micros};
use std::collections::BTreeMap;

/// A keyring with what is known of it.
struct Ring<'c, 'a> {
    case: &'c Case<'a>,
    name: &'a str,
    receipts: Vec<Floor<'a>>,
}

/// From a moment on, everything up to a position is in force everywhere.
#[derive(Clone, Copy)]
struct Floor<'a> {
    from: Micros,
    position: u64,
    entry: &'a Entry,
}

/// Judges every answer by itself.
pub fn judge(case: &Case<'_>, entries: &[Entry], report: &mut Report) {
    let mut floors = floors(entries);
    for (name, requests) in case.requests.by_keyring() {
        let ring = Ring { case, name, receipts: floors.remove(name).unwrap_or_default() };
        let mut revoked: BTreeMap<(&str, u32), &Asked<'_>> = BTreeMap::new();
        for asked in requests {
            *report.answers.entry(word(asked.answer).to_owned()).or_default() += 1;
            ring.revoked_stays(asked, &mut revoked, report);
            match asked.answer {
                Answer::Accepted(known_as) => ring.accepted(asked, *known_as, report),
                Answer::Refused(code) => ring.refused(asked, code, report),
                Answer::Unavailable(_) | Answer::None => {}
            }
        }
    }
}

/// Each keyring's receipts by the moment from which they hold, each with the highest position until then.
fn floors(entries: &[Entry]) -> BTreeMap<&str, Vec<Floor<'_>>> {
    let mut floors: BTreeMap<&str, Vec<Floor<'_>>> = BTreeMap::new();
    for entry in entries {
        if let Entry::Receipt { read, keyring, position, open_until, .. } = entry {
            let from = open_until.map_or(*read, |open| open.saturating_add(TOLERANCE).max(*read));
            floors.entry(keyring).or_default().push(Floor { from, position: *position, entry });
        }
    }
    for ring in floors.values_mut() {
        ring.sort_by_key(|floor| floor.from);
        for at in 1..ring.len() {
            if ring[at].position < ring[at - 1].position {
                ring[at] = Floor { from: ring[at].from, ..ring[at - 1] };
            }
        }
    }
    floors
}

fn word(answer: &Answer) -> &str {
    match answer {
        Answer::Accepted(_) => "accepted",
        Answer::Refused(code) => code,
        Answer::Unavailable(_) => "unavailable",
        Answer::None => "none",
    }
}

impl<'a> Ring<'_, 'a> {
    fn floor(&self, sent: Micros) -> Option<&Floor<'a>> {
        let next = self.receipts.partition_point(|floor| floor.from <= sent);
        self.receipts.get(next.checked_sub(1)?)
    }

    /// An accepted key must have been alive in some state that this edge can have had.
    fn accepted(&self, asked: &Asked<'a>, known_as: u32, report: &mut Report) {
        let life = self.case.history.life(self.name, asked.version);
        let wrong = match life {
            _ if known_as != asked.version => Some(format!("v{} is taken for v{known_as}", asked.version)),
            None => Some(format!("v{} is not in the log", asked.version)),
            Some(life) => self.outside_its_life(life, asked),
        };
        report.trial(Promise::Alive, &[asked.entry], wrong.map(|what| self.at(asked, &what)));
        self.ended(asked, report);
    }

    fn outside_its_life(&self, life: &Life<'_>, asked: &Asked<'_>) -> Option<String> {
        let issued = life.changes.first().map(|change| change.stored);
        if issued.is_none_or(|issued| issued > asked.answered + TOLERANCE) {
            return Some(format!("v{} is not issued yet", asked.version));
        }
        let end = life.expires_at.and_then(|end| self.case.history.moment(end))?;
        let clock = self.case.outages.clock(asked.edge, asked.sent, asked.answered, TOLERANCE);
        (end + TOLERANCE < asked.sent && !clock).then(|| format!("v{} has expired", asked.version))
    }

    /// A request for which every possible state is an end must not be accepted.
    fn ended(&self, asked: &Asked<'a>, report: &mut Report) {
        let Some(life) = self.case.history.life(self.name, asked.version) else { return };
        let until = asked.answered + TOLERANCE;
        let known = asked.sent.checked_sub(self.case.horizon(self.name) + TOLERANCE);
        let ended = |position| life.phases(known, position, until).into_iter().all(Phase::is_end);
        let wrong = |why: &str| {
            asked.is_accepted().then(|| self.at(asked, &format!("v{} is accepted {why}", asked.version)))
        };
        let mut shown: Vec<&Entry> = vec![asked.entry];
        shown.extend(life.entries());
        if ended(0) {
            report.trial(Promise::Horizon, &shown, wrong("past the horizon of its end"));
        }
        if let Some(floor) = self.floor(asked.sent).filter(|floor| ended(floor.position)) {
            shown.push(floor.entry);
            report.trial(Promise::Receipt, &shown, wrong("after a receipt"));
        }
    }

    /// A refused key must have been refusable in some state that a fresh edge can have had.
    fn refused(&self, asked: &Asked<'a>, code: &str, report: &mut Report) {
        let delivered = self.case.delivered.get(&(self.name, asked.version));
        let has_it = delivered.is_some_and(|at| *at <= asked.sent);
        let life = self.case.history.life(self.name, asked.version);
        let legal = life.is_some_and(|life| self.may_refuse(life, asked, code, has_it));
        let mut shown: Vec<&Entry> = vec![asked.entry];
        shown.extend(life.into_iter().flat_map(Life::entries));
        let what = || self.at(asked, &format!("v{} is refused as {code}", asked.version));
        report.trial(Promise::NotRefused, &shown, (!legal).then(what));
        if has_it {
            let unknown = matches!(code, "unknown" | "malformed");
            report.trial(Promise::Known, &shown, unknown.then(what));
        }
        self.ended(asked, report);
    }

    fn may_refuse(&self, life: &Life<'_>, asked: &Asked<'_>, code: &str, has_it: bool) -> bool {
        let known = asked.sent.checked_sub(self.case.lease + TOLERANCE);
        let until = asked.answered + TOLERANCE;
        let issued = life.changes.first().filter(|_| has_it).map_or(0, |change| change.sequence);
        let receipt = self.floor(asked.sent).map_or(0, |floor| floor.position);
        let phases = life.phases(known, issued.max(receipt), until);
        match code {
            "unknown" => phases.contains(&Phase::Absent),
            "retired" => phases.iter().any(|phase| matches!(phase, Phase::Retired(_))),
            "revoked" => phases.contains(&Phase::Revoked),
            "expired" => {
                let end = life.expires_at.and_then(|end| self.case.history.moment(end));
                let clock = self.case.outages.clock(asked.edge, asked.sent, asked.answered, TOLERANCE);
                end.is_some_and(|end| clock || end <= asked.answered + TOLERANCE)
            }
            _ => false,
        }
    }

    /// What an edge once called revoked it never accepts again, whatever the log says.
    fn revoked_stays<'r>(
        &self,
        asked: &'r Asked<'a>,
        revoked: &mut BTreeMap<(&'a str, u32), &'r Asked<'a>>,
        report: &mut Report,
    ) {
        let place = (asked.edge, asked.version);
        if let Some(first) = revoked.get(&place).filter(|first| first.answered <= asked.sent) {
            let what = || self.at(asked, &format!("v{} was revoked there, and is accepted", asked.version));
            let wrong = asked.is_accepted().then(what);
            report.trial(Promise::Revoked, &[first.entry, asked.entry], wrong);
        }
        if matches!(asked.answer, Answer::Refused(code) if code == "revoked") {
            let first = revoked.entry(place).or_insert(asked);
            if asked.answered < first.answered {
                *first = asked;
            }
        }
    }

    fn at(&self, asked: &Asked<'_>, what: &str) -> String {
        let (sent, took) = (asked.sent / 1000, asked.answered.saturating_sub(asked.sent) / 1000);
        format!("{}: {what} by {}, sent at {sent} ms, answered {took} ms later", self.name, asked.edge)
    }
}
