//! Quiet proofs against the requests themselves, and what retires by them (SAFETY 3, 4, 5, 11).

use super::history::Step;
use super::report::{Promise, Report};
use super::{Case, TOLERANCE};
use crate::faults::ledger::{Answer, Entry};
use keywheel_domain::due::retirement;
use keywheel_domain::event::Evidence;
use keywheel_domain::{At, Fact, State, Version};

/// Judges each proof and each retirement that nobody commanded.
pub fn judge(case: &Case<'_>, report: &mut Report) {
    for step in &case.history.steps {
        match &step.recorded.event.fact {
            Fact::KeySeen(used) => {
                if let Some(proof) = &used.seen.quiet {
                    unused(case, step, used.version, (proof.from, proof.complete_through), report);
                }
            }
            Fact::KeyRetired(ended) => {
                if let Some(before) = &step.before {
                    due(case, step, before, ended.version, ended.evidence, report);
                }
            }
            Fact::KeyIssued(_)
            | Fact::KeyActivated(_)
            | Fact::RolledBack(_)
            | Fact::PolicySet(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => {}
        }
    }
}

/// A window `(from, through]` that was over when the proof was stored, and no counted use whose acceptance lies
/// wholly in it.
fn unused(case: &Case<'_>, step: &Step<'_>, version: Version, window: (At, At), report: &mut Report) {
    let Some((from, through)) = case.history.moment(window.0).zip(case.history.moment(window.1)) else {
        return;
    };
    let through = through.saturating_sub(TOLERANCE);
    let used = case.requests.sent(step.keyring, from + TOLERANCE, through);
    let is_early = (through > step.stored).then(|| {
        let (through, stored, keyring) = (through / 1000, step.stored / 1000, step.keyring);
        format!("{keyring}: {version} proven unused until {through} ms by what was stored at {stored} ms")
    });
    let used = used.iter().find(|asked| {
        asked.version == version.0 && asked.counts() && asked.is_accepted() && asked.answered <= through
    });
    let mut shown: Vec<&Entry> = vec![step.entry];
    shown.extend(used.map(|asked| asked.entry));
    let what = |asked: &super::asked::Asked<'_>| {
        let (from, through, sent) = (from / 1000, through / 1000, asked.sent / 1000);
        let keyring = step.keyring;
        format!("{keyring}: {version} proven unused from {from} to {through} ms, and was used at {sent} ms")
    };
    report.trial(Promise::Quiet, &shown, used.map(what).or(is_early));
}

/// A retirement that nobody commanded must follow from the log before it, and from what clients did.
fn due(
    case: &Case<'_>,
    step: &Step<'_>,
    before: &State,
    version: Version,
    evidence: Option<Evidence>,
    report: &mut Report,
) {
    let keyring = step.keyring;
    let by_the_log = retirement(before, version, step.recorded.event.at).ok();
    let wrong = if evidence.is_none() || evidence != by_the_log {
        Some(format!("{keyring}: {version} retired by {evidence:?}; the log before shows {by_the_log:?}"))
    } else if let Some(Evidence::Quiet { from, through, successor }) = evidence {
        unused(case, step, version, (from, through), report);
        let used = case.requests.sent(keyring, 0, step.stored + TOLERANCE).iter().any(|asked| {
            // Silence may have followed an acceptance.
            let may_count = asked.is_accepted() || *asked.answer == Answer::None;
            asked.version == successor.0 && asked.counts() && may_count
        });
        (!used).then(|| format!("{keyring}: {version} retired behind {successor}, which nobody used"))
    } else {
        None
    };
    report.trial(Promise::Successor, &[step.entry], wrong);
}
