//! Who uses which version, and which edges cannot tell: answers from the ledger.

use crate::coverage::Coverage;
use crate::ledger::UseAt;
use keywheel_domain::undo::Refusals;
use keywheel_domain::{At, EdgeId, Span, Version};
use keywheel_wire::text::Moment;
use keywheel_wire::usage::{RefusedSince, Silent, Usage, UsageAt};
use std::collections::BTreeMap;

/// An edge whose reports reach less close to the present is told as silent.
const SILENT_AFTER: Span = Span::secs(5);

/// Refusals as they are told.
pub fn refused(refusals: BTreeMap<Version, Refusals>) -> Vec<RefusedSince> {
    let told = |(version, refusals): (Version, Refusals)| RefusedSince {
        version: version.0,
        since: Moment(refusals.since),
        refused: refusals.refused,
        accepted: refusals.accepted,
    };
    refusals.into_iter().map(told).collect()
}

/// The answer about one keyring: its `uses`, and the edges of the roster whose `coverage` does not reach
/// the present.
pub fn usage<'a>(
    uses: Vec<UseAt>,
    roster: impl IntoIterator<Item = &'a EdgeId>,
    coverage: &BTreeMap<EdgeId, Coverage>,
    now: At,
) -> Usage {
    let used = |one: UseAt| UsageAt {
        version: one.version.0,
        edge: one.edge,
        last_use: Moment(one.seen.last),
        uses: one.seen.uses,
    };
    let silent = |edge: &EdgeId| {
        let through = coverage.get(edge).and_then(|coverage| coverage.through);
        let is_silent = through.is_none_or(|through| through < now.before(SILENT_AFTER));
        is_silent.then(|| Silent { edge: edge.to_string(), through: through.map(Moment) })
    };
    Usage {
        versions: uses.into_iter().map(used).collect(),
        silent: roster.into_iter().filter_map(silent).collect(),
        refused: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::Version;
    use keywheel_domain::key::Seen;

    #[test]
    fn edges_that_do_not_reach_the_present_are_silent() {
        let edge = |name| EdgeId::parse(name).unwrap();
        let covered = |through| Coverage { through, ..Coverage::default() };
        let coverage = BTreeMap::from([
            (edge("a"), covered(Some(At(95_000)))),
            (edge("b"), covered(Some(At(94_999)))),
            (edge("c"), covered(None)),
        ]);
        let roster = ["a", "b", "c", "d"].map(edge);
        let seen = Seen { first: At(1), last: At(2), uses: 3 };
        let uses = vec![UseAt { version: Version(1), edge: "a".to_owned(), seen }];
        let usage = usage(uses, &roster, &coverage, At(100_000));
        let silent: Vec<_> = usage.silent.iter().map(|s| (s.edge.as_str(), s.through.map(|m| m.0))).collect();
        assert_eq!(silent, [("b", Some(At(94_999))), ("c", None), ("d", None)]);
        assert_eq!(usage.versions.len(), 1);
        assert_eq!((usage.versions[0].uses, usage.versions[0].last_use), (3, Moment(At(2))));
    }
}
