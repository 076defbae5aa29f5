//! A receipt in words and for programs.

use crate::failure::Failure;
use crate::session::{Session, now};
use crate::words::{count, list, second, when};
use keywheel_domain::{Address, At};
use keywheel_runtime::{exit, plain};
use keywheel_wire::notice::Receipt;
use keywheel_wire::outcome::Outcome;
use serde_json::{Value, json};

/// Shows that nothing was to be done.
pub(crate) fn show_unchanged(session: &Session<'_>, address: &Address, text: &str) -> Result<u8, Failure> {
    let mut document = addressed(address);
    document["outcome"] = json!("unchanged");
    session.screen.show(&document, &format!("{address}: {text}"))?;
    Ok(exit::DONE)
}

/// Shows what was done and the evidence. `done` is what happened, `effect` what the edges do since.
pub(crate) fn show(
    session: &Session<'_>,
    address: &Address,
    outcome: &Outcome,
    receipt: &Receipt,
    done: &str,
    effect: &str,
) -> Result<u8, Failure> {
    let mut document = addressed(address);
    document["outcome"] = json!("accepted");
    document["version"] = json!(outcome.version);
    document["kid"] = json!(outcome.kid);
    document["command_id"] = json!(outcome.command_id);
    document["event"] = json!(outcome.event);
    document["receipt"] = json!(receipt);
    let text = format!("{address}: {done}\n{}", words(receipt, effect, now()));
    session.screen.show(&document, &text)?;
    Ok(exit::DONE)
}

/// The beginning of a document about an address.
pub(crate) fn addressed(address: &Address) -> Value {
    json!({
        "tenant": address.tenant().map(|tenant| tenant.as_str()),
        "client": address.keyring().map(|id| id.client.as_str()),
    })
}

/// The receipt for programs and, of what many had in common, in words.
pub(crate) fn evidence(receipt: &Receipt, effect: &str) -> (Value, String) {
    (json!(receipt), words(receipt, effect, now()))
}

/// The receipt itself: `effect` is what the edges that applied it do since.
fn words(receipt: &Receipt, effect: &str, now: At) -> String {
    let applied = receipt.applied_on.len();
    let mut lines = vec![match receipt.edges {
        0 => format!("no edge is on the roster; position {}", receipt.seq),
        edges => format!(
            "{effect} on {applied} of {} at position {}, after {} ms",
            count(usize::try_from(edges).unwrap_or(usize::MAX), "edge"),
            receipt.seq,
            receipt.after_ms
        ),
    }];
    if applied > 0 {
        lines.push(format!("  applied: {}", list(&receipt.applied_on)));
    }
    lines.extend(receipt.unreached.iter().map(|unreached| {
        let edge = plain::line(&unreached.edge);
        format!("  {edge} was not reached; it refuses by {}", when(now, unreached.refuses_by.0))
    }));
    if receipt.final_at.0 > now {
        let end = second(receipt.final_at.0);
        lines.push(format!("  final at {end}; until then it assumes that no edge's disk was rolled back"));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_domain::Span;
    use keywheel_wire::notice::Unreached;
    use keywheel_wire::text::{Id, Moment};

    const NOW: At = At(1_800_000_000_000);

    fn receipt(applied: &[&str], unreached: &[&str]) -> Receipt {
        let refuses_by = Moment(NOW.after(Span::secs(15)));
        Receipt {
            event_id: Id(1),
            event_type: "KeyRetired".to_owned(),
            seq: 57,
            command_id: Id(2),
            version: Some(1),
            at: Moment(NOW),
            after_ms: 42,
            edges: (applied.len() + unreached.len()) as u64,
            applied_on: applied.iter().map(|edge| (*edge).to_owned()).collect(),
            unreached: unreached
                .iter()
                .map(|edge| Unreached { edge: (*edge).to_owned(), refuses_by })
                .collect(),
            final_at: Moment(NOW.after(Span::days(1))),
        }
    }

    #[test]
    fn a_receipt_counts_edges_and_names_those_not_reached() {
        expect![[r#"
            refused on 3 of 3 edges at position 57, after 42 ms
              applied: a, b and c
              final at 2027-01-16T08:00:00Z; until then it assumes that no edge's disk was rolled back"#]]
        .assert_eq(&words(&receipt(&["a", "b", "c"], &[]), "refused", NOW));
        expect![[r#"
            refused on 1 of 2 edges at position 57, after 42 ms
              applied: a
              b was not reached; it refuses by 2027-01-15T08:00:15Z (in 15s)"#]]
        .assert_eq(&words(&Receipt { final_at: Moment(NOW), ..receipt(&["a"], &["b"]) }, "refused", NOW));
        expect!["no edge is on the roster; position 57"].assert_eq(&words(
            &Receipt { final_at: Moment(NOW), ..receipt(&[], &[]) },
            "refused",
            NOW,
        ));
    }
}
