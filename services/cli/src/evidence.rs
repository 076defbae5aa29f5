//! What was recorded of how far each edge was: activation proofs in the log, receipts beside it.

use crate::words::second;
use keywheel_domain::hindsight::Shown;
use keywheel_domain::{At, EdgeId, Fact};
use keywheel_table::history::Happened;
use keywheel_wire::notice::Receipt;
use keywheel_wire::text::moment;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An edge on the roster, with what shows how far it was by a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Which.
    pub edge: EdgeId,
    /// The bounds that follow.
    pub shown: Shown,
    basis: Basis,
}

/// What shows that an edge had applied a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Basis {
    /// It serves nobody before it has applied its own `EdgeAdded`.
    EdgeAdded,
    /// An activation's barrier names it.
    Activation { seq: u64, by: At },
    /// A receipt names it.
    Receipt { seq: u64, by: At },
}

/// What is known at `at` of each edge on `roster`, by a keyring's events and receipts.
pub(crate) fn gather(
    roster: &BTreeMap<EdgeId, u64>,
    events: &[Happened],
    receipts: &[Receipt],
    at: At,
) -> Vec<Evidence> {
    let added = |(edge, seq): (&EdgeId, &u64)| {
        let shown = Shown { applied: *seq, refuses_by: Vec::new() };
        (edge.clone(), Evidence { edge: edge.clone(), shown, basis: Basis::EdgeAdded })
    };
    let mut all: BTreeMap<EdgeId, Evidence> = roster.iter().map(added).collect();
    for Happened { recorded, .. } in events.iter().filter(|happened| happened.recorded.event.at <= at) {
        if let Fact::KeyActivated(activated) = &recorded.event.fact {
            let basis = Basis::Activation { seq: recorded.seq, by: recorded.event.at };
            let edges = activated.barrier.edges.iter();
            edges.for_each(|edge| applied(&mut all, edge, activated.barrier.position, basis));
        }
    }
    for receipt in receipts {
        let basis = Basis::Receipt { seq: receipt.seq, by: receipt.at.0 };
        let named = receipt.applied_on.iter().filter_map(|edge| EdgeId::parse(edge).ok());
        if receipt.at.0 <= at {
            named.for_each(|edge| applied(&mut all, &edge, receipt.seq, basis));
        }
        for unreached in &receipt.unreached {
            let by = unreached.refuses_by.0;
            let edge = EdgeId::parse(&unreached.edge).ok().and_then(|edge| all.get_mut(&edge));
            if let Some(known) = edge.filter(|_| receipt.at.0 <= at || by <= at) {
                known.shown.refuses_by.push((receipt.seq, by));
            }
        }
    }
    all.into_values().collect()
}

fn applied(all: &mut BTreeMap<EdgeId, Evidence>, edge: &EdgeId, position: u64, basis: Basis) {
    if let Some(known) = all.get_mut(edge).filter(|known| known.shown.applied < position) {
        known.shown.applied = position;
        known.basis = basis;
    }
}

impl Evidence {
    /// Positions after the applied one that it was not seen to reach.
    fn unreached(&self) -> impl Iterator<Item = &(u64, At)> {
        self.shown.refuses_by.iter().filter(|(seq, _)| *seq > self.shown.applied)
    }

    /// In words.
    pub fn words(&self) -> String {
        let applied = self.shown.applied;
        let applied = match self.basis {
            Basis::EdgeAdded => format!("on the roster since position {applied}, nothing later is recorded"),
            Basis::Activation { seq, by } => {
                format!("had applied position {applied} by {} (activation at {seq})", second(by))
            }
            Basis::Receipt { by, .. } => {
                format!("had applied position {applied} by {} (receipt)", moment(by))
            }
        };
        let unreached = self.unreached().map(|(seq, by)| {
            format!("; not reached with position {seq}: refuses by itself by {}", second(*by))
        });
        std::iter::once(applied).chain(unreached).collect()
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let (kind, seq, by) = match self.basis {
            Basis::EdgeAdded => ("edge_added", self.shown.applied, None),
            Basis::Activation { seq, by } => ("activation", seq, Some(by)),
            Basis::Receipt { seq, by } => ("receipt", seq, Some(by)),
        };
        let unreached =
            self.unreached().map(|(seq, by)| json!({ "position": seq, "refuses_by": moment(*by) }));
        json!({
            "position": self.shown.applied,
            "by": by.map(moment),
            "shown_by": { "kind": kind, "seq": seq },
            "unreached": unreached.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scene::{issued, messages, signers};
    use crate::waiting_words::tests::NOW;
    use expect_test::expect;
    use keywheel_domain::event::{Activated, Barrier, IssueReason};
    use keywheel_domain::{Span, Version};
    use keywheel_table::History;
    use keywheel_wire::notice::Unreached;
    use keywheel_wire::text::{Id, Moment};

    fn edge(name: &str) -> EdgeId {
        EdgeId::parse(name).unwrap()
    }

    /// v1 was issued two hours ago and activated an hour ago, when e1 had applied position 9.
    fn events() -> History {
        let barrier =
            Barrier { position: 9, edges: vec![edge("e1")], passed_over: Vec::new(), by_hand: None };
        let activated =
            Fact::KeyActivated(Activated { version: Version(1), supersedes: Vec::new(), barrier });
        let mut history = History::new(signers());
        let messages = messages(vec![issued(1, IssueReason::Issue), activated], NOW);
        history.take(&messages.into_iter().map(|message| (message, NOW)).collect::<Vec<_>>());
        history
    }

    /// Half an hour ago: e1 had applied position 12, e2 was not reached.
    fn receipt() -> Receipt {
        let refuses_by = Moment(NOW.after(Span::hours(20)));
        Receipt {
            event_id: Id(1),
            event_type: "KeyRetired".to_owned(),
            seq: 12,
            command_id: Id(2),
            version: Some(1),
            at: Moment(NOW.before(Span::secs(1800))),
            after_ms: 5,
            edges: 2,
            applied_on: vec!["e1".to_owned(), "stranger".to_owned(), "NO EDGE".to_owned()],
            unreached: vec![Unreached { edge: "e2".to_owned(), refuses_by }],
            final_at: refuses_by,
        }
    }

    fn words_at(at: At) -> String {
        let roster = BTreeMap::from([(edge("e1"), 2), (edge("e2"), 3)]);
        let history = events();
        let all = gather(&roster, history.events(), &[receipt()], at);
        let line = |evidence: &Evidence| format!("{} {}", evidence.edge, evidence.words());
        all.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_was_shown_later_is_no_evidence() {
        expect![[r#"
            e1 on the roster since position 2, nothing later is recorded
            e2 on the roster since position 3, nothing later is recorded"#]]
        .assert_eq(&words_at(NOW.before(Span::hours(2))));
        expect![[r#"
            e1 had applied position 9 by 2027-01-15T07:00:00Z (activation at 2)
            e2 on the roster since position 3, nothing later is recorded"#]]
        .assert_eq(&words_at(NOW.before(Span::hours(1))));
        expect![[r#"
            e1 had applied position 12 by 2027-01-15T07:30:00.000Z (receipt)
            e2 on the roster since position 3, nothing later is recorded; not reached with position 12: refuses by itself by 2027-01-16T04:00:00Z"#]]
        .assert_eq(&words_at(NOW));
    }
}
