//! Reports over a small history: what stands in them, what is a finding, and that nothing in a cell is more than text.

use crate::scene::{Log, signers};
use keywheel_audit::examine::examine;
use keywheel_audit::register::{Nist, Register};
use keywheel_audit::report::html::{Source, escape, page};
use keywheel_audit::report::{Kind, Period, Report, report};
use keywheel_domain::event::{CommandId, EventId, Fact};
use keywheel_domain::{Actor, Address, At, Event, KeyringId, PolicyPatch, Recorded, Span, Tenant};
use keywheel_wire::belief;
use keywheel_wire::notice::Notice;
use proptest::prelude::{any, proptest};

const DAY: u64 = Span::days(1).0;
const BEGIN: At = At(1_800_000_000_000);

fn register(upto: usize, with_receipt: bool) -> Register {
    let (log, receipt) = Log::proven();
    let (signers, mut register) = (signers(), Register::default());
    for message in &log.messages[..upto] {
        let event = examine(&signers, message).read.unwrap().event;
        register.take(&Recorded { seq: message.seq, event });
    }
    if with_receipt {
        let read = belief::notice(
            &signers,
            belief::Heard::Stored,
            &receipt.subject,
            &receipt.payload,
            receipt.signed.as_ref(),
        );
        let Ok(Notice::Receipt(receipt)) = read else { panic!("a receipt") };
        register.receive(receipt);
    }
    register
}

fn of(kind: Kind, register: &Register, days: u64) -> Report {
    report(kind, register, Period { from: At(0), to: At(BEGIN.0 + days * DAY) })
}

fn cell<'r>(report: &'r Report, row: usize, column: &str) -> &'r str {
    let at = report.columns.iter().position(|name| *name == column).unwrap();
    &report.rows[row].cells[at]
}

#[test]
fn an_inventory_has_the_standards_states() {
    let whole = of(Kind::Inventory, &register(10, true), 1);
    assert_eq!(whole.rows.len(), 2);
    assert_eq!((cell(&whole, 0, "state"), cell(&whole, 1, "state")), ("deactivated", "compromised"));
    assert_eq!(cell(&whole, 1, "last_use"), "2027-01-15T08:00:07Z");
    let earlier = of(Kind::Inventory, &register(5, false), 1);
    assert_eq!((cell(&earlier, 0, "state"), cell(&earlier, 1, "state")), ("active", "pre-activation"));
    assert!(whole.rows.iter().all(|row| row.cells.len() == whole.columns.len()));
    let later = Period { from: At(BEGIN.0 + DAY), to: At(BEGIN.0 + 2 * DAY) };
    assert_eq!(report(Kind::Inventory, &register(10, true), later).rows.len(), 0, "both had ended before");
    assert_eq!([Nist::Active, Nist::Destroyed].map(Nist::word), ["active", "destroyed"]);
}

#[test]
fn a_ledger_tells_each_rotation_with_the_version_it_took_the_place_of() {
    let ledger = of(Kind::Ledger, &register(10, true), 1);
    assert_eq!(ledger.rows.len(), 1);
    for (column, text) in [
        ("keyring", "acme/a"),
        ("new_version", "2"),
        ("old_version", "1"),
        ("by", "alice"),
        ("why", "on command"),
        ("policy", "overlap 1s to 30d, quiet 1s"),
        ("overlap", "3s"),
        ("old_last_use", ""),
        ("ended_because", "superseded"),
    ] {
        assert_eq!(cell(&ledger, 0, column), text, "{column}");
    }
    assert_eq!(
        of(Kind::Ledger, &register(5, false), 1).rows[0].finding.as_deref(),
        Some("not activated yet")
    );
}

#[test]
fn a_compromise_is_followed_to_the_last_edges_refusal() {
    let told = of(Kind::Compromise, &register(10, true), 1);
    assert_eq!(told.rows.len(), 1);
    assert_eq!((cell(&told, 0, "edges_refusing"), cell(&told, 0, "unreached")), ("1 of 2", "e2"));
    assert_eq!(cell(&told, 0, "seconds_to_last_refusal"), "15.000");
    assert_eq!(told.rows[0].finding.as_deref(), Some("not every edge was reached"));
    let without = of(Kind::Compromise, &register(10, false), 1);
    assert!(without.rows[0].finding.as_deref().unwrap().starts_with("no receipt"));
}

#[test]
fn an_overlap_without_an_end_is_a_finding() {
    let open = register(6, false);
    assert_eq!(of(Kind::Overlaps, &open, 1).findings(), 0);
    let late = of(Kind::Overlaps, &open, 40);
    assert_eq!(late.rows[0].finding.as_deref(), Some("has not ended, past its limit"));
    assert_eq!((cell(&late, 0, "old_version"), cell(&late, 0, "at_limit")), ("1", "held"));
    let overdue = of(Kind::Overdue, &open, 40);
    assert_eq!(cell(&overdue, 0, "rule"), "its overlap does not end");
    assert_eq!(of(Kind::Overdue, &register(10, true), 40).rows, []);
    assert_eq!(of(Kind::Overlaps, &register(10, true), 40).findings(), 0, "it ended");
}

#[test]
fn a_key_past_its_schedule_and_one_that_nobody_got_are_findings() {
    let mut register = register(7, false);
    let fact = Fact::PolicySet(PolicyPatch { every: Some(Some(Span::days(30))), ..PolicyPatch::NONE });
    let event = Event {
        id: EventId(1),
        address: Address::Tenant(Tenant::parse("acme").unwrap()),
        at: BEGIN,
        actor: Actor::parse("alice").unwrap(),
        command: CommandId(1),
        rotation: None,
        fact,
    };
    register.take(&Recorded { seq: 99, event });
    let rules = |days: u64| {
        let overdue = of(Kind::Overdue, &register, days);
        (0..overdue.rows.len()).map(|row| cell(&overdue, row, "rule").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rules(20), Vec::<String>::new());
    assert_eq!(rules(31), ["its overlap does not end", "not rotated by its schedule"]);
    assert!(
        of(Kind::Inventory, &register, 31).rows[1].finding.as_deref().unwrap().starts_with("not rotated")
    );
    assert_eq!(register.policy(&KeyringId::parse("acme/a").unwrap()).every, Some(Span::days(30)));
    let pending = of(Kind::Overdue, &self::register(5, false), 2);
    assert_eq!(cell(&pending, 0, "rule"), "issued and never activated");
}

#[test]
fn a_page_is_whole_and_holds_nothing_but_text() {
    let mut told = of(Kind::Compromise, &register(10, true), 1);
    told.rows[0].cells[3] = "<script>alert(1)</script>\u{202e}\"'&".to_owned();
    told.rows[0].finding = Some("<img src=x>".to_owned());
    let html = page(&told, &Source { lines: vec!["</footer><b>".to_owned()] });
    for bad in ["<script", "<img", "<b>", "\u{202e}"] {
        assert!(!html.contains(bad), "{bad}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)") && html.contains("default-src 'none'"));
    assert!(html.ends_with("</html>\n") && html.matches("<tr").count() == 2);
}

proptest! {
    #[test]
    fn escaped_text_has_no_markup(text in any::<String>()) {
        let escaped = escape(&text);
        assert!(!escaped.contains(['<', '>', '"', '\'', '\u{202e}', '\u{0}']));
        let entities = escaped.matches('&').count();
        assert_eq!(entities, text.matches(['&', '<', '>', '"', '\'']).count());
    }
}
