//! The export as lines, and the flat formats.

use crate::scene::{Log, OURS, codes, inspect, signed, signers};
use expect_test::expect;
use keywheel_audit::examine::{examine, examine_all};
use keywheel_audit::flat::{COLUMNS, cloud_event, inert, row};
use keywheel_audit::inspect::Witness;
use keywheel_audit::line::{self, Begin, End, Line};
use keywheel_audit::proof::Evidence;
use keywheel_domain::At;
use keywheel_table::{Message, Record};
use keywheel_wire::notice::{Notice, SignedHead};
use keywheel_wire::subject::Service;
use keywheel_wire::text::{Hex32, Id, Moment};
use proptest::prelude::{any, proptest};

fn records() -> Vec<Record> {
    let record = |message: Message| {
        let signed = message.signed.clone().unwrap();
        let headers =
            [("Kw-Signer", signed.by), ("Kw-Signature", signed.signature), ("Odd", "\u{202e}\n".into())];
        let headers = headers.map(|(name, value)| (name.to_owned(), value)).into();
        Record { at: At(1_800_000_000_000 + message.seq), message, headers }
    };
    Log::plain().messages.into_iter().map(record).collect()
}

#[test]
fn what_was_written_is_read_back_whole() {
    let mut messages = Vec::new();
    for record in records() {
        let text = line::write(&record);
        assert!(!text.contains('\n'));
        let Line::Message(read) = Line::read(&text).unwrap() else { panic!("{text}") };
        assert_eq!(
            (&read.message.payload, &read.message.signed),
            (&record.message.payload, &record.message.signed)
        );
        assert_eq!((read.at, read.message.seq, read.headers.len()), (record.at, record.message.seq, 3));
        messages.push(read.message);
    }
    assert_eq!(codes(&inspect(&messages)), []);
    let end = End { messages: 17, last: 17, chain: Some(Hex32([7; 32])) };
    assert!(matches!(Line::read(&end.write()), Ok(Line::End(read)) if read == end));
}

#[test]
fn a_signed_head_is_a_witness_and_nothing_else_is() {
    let head = |of: u128| {
        Notice::Head(SignedHead {
            installation: Id(of),
            log_created: Moment(At(5)),
            seq: 9,
            chain: Hex32([7; 32]),
            digest: Hex32([8; 32]),
            at: Moment(At(6)),
        })
    };
    let notice = |by: Service, notice: &Notice| {
        signed(by, 3, "kw.notice._._.head", serde_json::to_vec(notice).unwrap())
    };
    let message = notice(Service::Propagator, &head(OURS.0));
    let text = line::write_head(&Evidence::from(&message));
    let Ok(Line::Head(read)) = Line::read(&text) else { panic!("{text}") };
    let (witness, created) = Witness::head(&signers(), &read.message().unwrap()).unwrap();
    assert_eq!((witness.seq, witness.chain.0, created), (9, [7; 32], At(5)));
    for (doubtful, why) in [
        (notice(Service::Issuer, &head(OURS.0)), "may not give"),
        (notice(Service::Propagator, &head(8)), "another installation"),
        (Message { signed: None, ..message }, "not signed"),
    ] {
        let said = Witness::head(&signers(), &doubtful).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn the_first_line_says_what_can_be_checked() {
    let whole = Begin {
        keywheel_log: 1,
        installation: Id(7),
        tenant: None,
        from: None,
        to: None,
        signers: vec![],
        log_created: None,
    };
    expect![[r#"{"keywheel_log":1,"installation":"00000000-0000-0000-0000-000000000007","tenant":null,"from":null,"to":null}"#]]
        .assert_eq(&whole.write());
    assert_eq!(Begin::read(&whole.write()), Ok(whole.clone()));
    let newer = Begin { keywheel_log: 2, ..whole.clone() }.write();
    assert!(Begin::read(&newer).unwrap_err().starts_with("keywheel_log: format 2 is newer"));
    for bad in ["", "{}", "x", "{\"seq\":1}"] {
        assert!(Begin::read(bad).unwrap_err().starts_with("this is no exported log"), "{bad}");
    }
    let part = Begin { tenant: Some("acme".into()), ..whole };
    assert!(!part.scope().contiguous && part.scope().from_beginning);
}

#[test]
fn a_row_says_what_happened_or_that_it_did_not_count() {
    let records = records();
    let examined = examine_all(&signers(), &records, 3.try_into().unwrap());
    assert_eq!(examined.len(), records.len());
    let cells = row(&records[1], &examined[1], true);
    assert_eq!(cells.len(), COLUMNS.len());
    let cell =
        |cells: &[String], name: &str| cells[COLUMNS.iter().position(|it| *it == name).unwrap()].clone();
    assert_eq!((cell(&cells, "tenant"), cell(&cells, "type")), ("acme".to_owned(), "KeyIssued".to_owned()));
    assert_eq!((cell(&cells, "kid"), cell(&cells, "doubt")), ("kid0000001".to_owned(), String::new()));
    let skipped = row(&records[1], &examined[1], false);
    assert_eq!((skipped.len(), cell(&skipped, "type")), (COLUMNS.len(), String::new()));
    assert!(cell(&skipped, "doubt").contains("does not continue"));
    let mut forged = records[1].clone();
    forged.message.signed = None;
    let forged = row(&forged, &examine(&signers(), &forged.message), false);
    assert!(cell(&forged, "doubt").contains("not signed"));
}

#[test]
fn an_event_of_ours_is_a_cloud_event() {
    let records = records();
    let examined = examine_all(&signers(), &records, 1.try_into().unwrap());
    let event = cloud_event(&records[1], &examined[1], true, OURS);
    for (name, value) in [
        ("specversion", "1.0"),
        ("type", "io.keywheel.KeyIssued.v1"),
        ("source", "urn:uuid:00000000-0000-0000-0000-000000000007"),
        ("subject", "acme/a"),
        ("sequence", "00000000000000000002"),
    ] {
        assert_eq!(event[name], value);
    }
    assert_eq!(event["data"]["body"]["kid"], "kid0000001");
    let doubtful = cloud_event(&records[1], &examined[1], false, OURS);
    assert_eq!(doubtful["type"], "io.keywheel.NotBelieved.v1");
    assert!(doubtful["data"]["doubt"].as_str().unwrap().contains("does not continue"));
}

proptest! {
    #[test]
    fn no_cell_is_a_formula(text in any::<String>(), start in "[ ]?[=+@\\-|%\t\r\n]?") {
        let cell = inert(&format!("{start}{text}"));
        assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '|', '%']));
        assert!(!cell.starts_with(['\t', '\r', '\n']) && cell.ends_with(&text));
    }

    #[test]
    fn any_line_is_read_or_refused(text in any::<String>()) {
        drop(Line::read(&text));
        drop(Begin::read(&text));
    }
}
