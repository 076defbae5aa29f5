//! How long after a retirement or a revocation was stored somebody was still accepted at an edge without a fault.

use super::Case;
use super::history::Phase;
use super::report::{Report, Spread};
use crate::faults::ledger::Micros;

/// An end counts when somebody asked within this time after it.
const OBSERVED_WITHIN: Micros = 2_000_000;

/// Measures both.
pub fn measure(case: &Case<'_>, report: &mut Report) {
    let (mut retired, mut revoked) = (Vec::new(), Vec::new());
    for (keyring, lives) in &case.history.lives {
        for (version, life) in lives {
            for (at, change) in life.changes.iter().enumerate().filter(|(_, change)| change.phase.is_end()) {
                let next = life.changes.get(at + 1).map_or(Micros::MAX, |next| next.stored);
                let all = if change.phase == Phase::Revoked { &mut revoked } else { &mut retired };
                all.extend(still_accepted(case, keyring, *version, change.stored, next));
            }
        }
    }
    (report.retired_still_accepted, report.revoked_still_accepted) =
        (Spread::of(retired), Spread::of(revoked));
}

/// From `stored` to the last accepted request; nothing when nobody asked soon enough to tell.
fn still_accepted(
    case: &Case<'_>,
    keyring: &str,
    version: u32,
    stored: Micros,
    next: Micros,
) -> Option<Micros> {
    let recovery = super::RECOVERY + case.lease;
    let sound = |asked: &&super::asked::Asked<'_>| {
        asked.version == version
            && asked.is_definite()
            && !case.outages.touch(asked.edge, asked.sent, asked.answered, recovery)
    };
    let after: Vec<_> = case.requests.sent(keyring, stored, next).iter().filter(sound).collect();
    after.first().filter(|asked| asked.sent - stored <= OBSERVED_WITHIN)?;
    let last = after.iter().rfind(|asked| asked.is_accepted() && asked.answered <= next);
    Some(last.map_or(0, |asked| asked.sent - stored))
}
