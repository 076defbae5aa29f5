//! What a client met as a whole: answered where no fault is near, and served by its second try after a refusal.

use super::asked::Asked;
use super::history::{Life, Phase};
use super::report::{Promise, Report};
use super::{Case, RECOVERY, TOLERANCE};
use crate::faults::ledger::{Answer, Why};
use keywheel_domain::key::Cause;

/// Judges availability and continuity.
pub fn judge(case: &Case<'_>, report: &mut Report) {
    for (keyring, requests) in case.requests.by_keyring() {
        let mut refused: Option<&Asked<'_>> = None;
        for asked in requests {
            answered(case, keyring, asked, report);
            match asked.why {
                Why::Newest => refused = matches!(asked.answer, Answer::Refused(_)).then_some(asked),
                Why::Fallback => {
                    if let Some(first) = refused.take().filter(|first| first.answered <= asked.sent) {
                        second_try(case, keyring, first, asked, report);
                    }
                }
                Why::Straggler | Why::Probe => {}
            }
        }
    }
}

fn answered(case: &Case<'_>, keyring: &str, asked: &Asked<'_>, report: &mut Report) {
    let excused = || {
        let from = asked.sent.saturating_sub(TOLERANCE);
        case.outages.touch(asked.edge, from, asked.answered + TOLERANCE, RECOVERY + case.lease)
    };
    let wrong = match asked.answer {
        Answer::Accepted(_) | Answer::Refused(_) => None,
        Answer::Unavailable(_) | Answer::None if excused() => {
            report.excused += 1;
            None
        }
        Answer::Unavailable(code) => Some(format!("says {code}")),
        Answer::None => Some("says nothing".to_owned()),
    };
    let what = |wrong| format!("{keyring}: {} {wrong}, and no fault is near", asked.edge);
    report.trial(Promise::Served, &[asked.entry], wrong.map(what));
}

/// Refused twice is legal only where an operator took one of the two keys away, or a newer one that the client went back
/// from, or where one expired.
fn second_try(case: &Case<'_>, keyring: &str, first: &Asked<'_>, second: &Asked<'_>, report: &mut Report) {
    let refused = matches!(second.answer, Answer::Refused(_));
    let lives = case.history.lives.get(keyring);
    let newer = lives.into_iter().flat_map(|lives| lives.range(first.version.max(second.version) + 1..));
    let taken = [first, second].into_iter().any(|asked| {
        let life = case.history.life(keyring, asked.version);
        let has_expired = matches!(asked.answer, Answer::Refused(code) if code == "expired");
        has_expired || life.is_some_and(|life| taken_away(case, keyring, life, asked))
    }) || newer.into_iter().any(|(_, life)| taken_away(case, keyring, life, second));
    let what = || format!("{keyring}: neither v{} nor v{} is accepted", first.version, second.version);
    report.trial(Promise::Continuity, &[first.entry, second.entry], (refused && !taken).then(what));
}

fn taken_away(case: &Case<'_>, keyring: &str, life: &Life<'_>, asked: &Asked<'_>) -> bool {
    let by_operator = |phase| match phase {
        Phase::Revoked | Phase::Retired(Cause::Requested | Cause::Expired | Cause::Revoked) => true,
        Phase::Absent
        | Phase::Accepted
        | Phase::Retired(Cause::Superseded | Cause::Cancelled | Cause::RolledBack) => false,
    };
    let known = asked.sent.checked_sub(case.horizon(keyring) + TOLERANCE);
    life.phases(known, 0, asked.answered + TOLERANCE).into_iter().any(by_operator)
}
