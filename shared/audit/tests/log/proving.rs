//! Proof documents: they hold, they say what is missing, and none can be bent.

use crate::scene::{Log, signed, signers};
use keywheel_audit::proof::{Document, Evidence, Kind, Material, Summary, check, make};
use keywheel_domain::event::RotationId;
use keywheel_table::Message;
use keywheel_wire::subject::{self, Service};
use serde_json::{Value, json};

/// v2's.
const ROTATION: RotationId = RotationId(4);

struct Case {
    keyring: Vec<Message>,
    roster: Vec<Message>,
    receipts: Vec<Message>,
}

fn case() -> Case {
    let (log, receipt) = Log::proven();
    let roster = subject::event(&keywheel_domain::Address::Installation);
    let (roster, keyring) = log.messages.into_iter().partition(|message| message.subject == roster);
    Case { keyring, roster, receipts: vec![receipt] }
}

impl Case {
    fn make(&self, kind: Kind) -> Result<Document, String> {
        let material = Material { keyring: &self.keyring, roster: &self.roster, receipts: &self.receipts };
        make(&signers(), kind, ROTATION, &material)
    }
}

fn why(document: &Document) -> String {
    check(&signers(), document).unwrap_err()
}

#[test]
fn each_proof_holds_by_its_own_evidence_and_is_complete() {
    let case = case();
    for kind in Kind::ALL {
        let document = case.make(kind).unwrap();
        let text = serde_json::to_string(&document).unwrap();
        let summary = check(&signers(), &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(summary.lacks(), Vec::<&str>::new(), "{kind}");
        match summary {
            Summary::Activation(it) => {
                assert_eq!((it.version, it.applied, it.roster.len()), (2, it.roster, 2))
            }
            Summary::Quiet(it) => {
                let retired = &it.retired[0];
                assert_eq!((retired.version, retired.successor, retired.edges.len()), (1, Some(2), 2));
            }
            Summary::Receipt(it) => {
                assert_eq!((it.refused_on, it.unreached.len(), it.after_ms), (vec!["e1".to_owned()], 1, 40));
            }
        }
    }
}

#[test]
fn a_summary_that_says_anything_else_does_not_hold() {
    fn bend(value: &mut Value, place: &str, found: &mut Vec<(String, Value)>, whole: &Value) {
        let other = match value {
            Value::Object(fields) => {
                for name in fields.keys().cloned().collect::<Vec<_>>() {
                    bend(&mut value[&name], &format!("{place}/{name}"), found, whole);
                }
                return;
            }
            Value::Array(items) if !items.is_empty() => Value::Array(items[1..].to_vec()),
            Value::Array(_) => json!(["e9"]),
            Value::Number(number) => json!(number.as_u64().unwrap() + 1),
            Value::String(text) => json!(format!("{text}x")),
            Value::Null | Value::Bool(_) => json!("x"),
        };
        let mut bent = whole.clone();
        *bent.pointer_mut(place).unwrap() = other;
        found.push((place.to_owned(), bent));
    }
    let (case, mut tried) = (case(), 0);
    for kind in Kind::ALL {
        let document = case.make(kind).unwrap();
        let (mut summary, mut bent) = (document.summary.clone(), Vec::new());
        bend(&mut summary, "", &mut bent, &document.summary);
        let mut more = document.summary.clone();
        more["complete"] = json!(true);
        bent.push(("complete".to_owned(), more));
        for (place, summary) in bent {
            let said = why(&Document { summary, ..document.clone() });
            assert!(said.contains("does not follow"), "{kind} {place}: {said}");
            tried += 1;
        }
    }
    println!("{tried} bent summaries refused");
    assert!(tried > 40);
}

#[test]
fn evidence_that_was_altered_left_out_or_put_in_does_not_hold() {
    let case = case();
    for kind in Kind::ALL {
        let document = case.make(kind).unwrap();
        for at in 0..document.evidence.len() {
            let without = [&document.evidence[..at], &document.evidence[at + 1..]].concat();
            let last_of_roster = at == case.roster.len() - 1;
            let checked = check(&signers(), &Document { evidence: without, ..document.clone() });
            // That later events of the roster were left out shows where the proof names the edge.
            assert!(checked.is_err(), "{kind} without {at} {last_of_roster}");
            let mut altered = document.clone();
            altered.evidence[at].signature =
                document.evidence[(at + 1) % document.evidence.len()].signature.clone();
            assert!(why(&altered).contains("not believed"), "{kind} {at}");
        }
        let mut more = document.clone();
        more.evidence.push(Evidence::from(&signed(Service::Issuer, 99, "kw.evt.acme.b", b"?".to_vec())));
        assert!(why(&more).contains("no part of this proof"));
        let foreign = Document { installation: keywheel_wire::text::Id(8), ..document.clone() };
        assert!(why(&foreign).starts_with("installation"));
        let newer = Document { keywheel_proof: 2, ..document };
        assert!(why(&newer).contains("format 2"));
    }
}

#[test]
fn a_roster_is_told_from_its_beginning() {
    let mut document = case().make(Kind::Activation).unwrap();
    document.evidence.remove(0);
    document.summary["roster"] = json!(["e2"]);
    assert!(why(&document).contains("does not continue"), "an edge was left out, and the summary follows");
}

#[test]
fn a_forged_message_is_no_evidence_and_stops_no_proof() {
    let mut case = case();
    let mut forged = case.keyring[2].clone();
    forged.signed = None;
    forged.seq = 100;
    case.keyring.push(forged.clone());
    case.roster.push(Message { subject: "kw.evt._._".into(), ..forged.clone() });
    let mut notice = case.receipts[0].clone();
    notice.signed =
        Some(signed(Service::Retirer, 2, &notice.subject, notice.payload.clone()).signed.unwrap());
    case.receipts.insert(0, notice);
    for kind in Kind::ALL {
        let document = case.make(kind).unwrap();
        assert!(document.evidence.iter().all(|it| it.seq < 100), "{kind}");
        check(&signers(), &document).unwrap();
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut case = case();
    let whole = case.keyring.clone();
    assert_eq!(case.make(Kind::Receipt).map(|_| ()), Ok(()));
    let receipts = std::mem::take(&mut case.receipts);
    assert_eq!(case.make(Kind::Receipt).unwrap_err(), "v2 is revoked, and has no receipt yet");
    case.receipts = receipts;
    case.keyring.truncate(whole.len() - 1);
    assert_eq!(case.make(Kind::Receipt).unwrap_err(), "v2 was not revoked");
    case.keyring.truncate(whole.len() - 2);
    assert_eq!(case.make(Kind::Quiet).unwrap_err(), "v1 has not ended yet");
    case.keyring.truncate(3);
    assert_eq!(case.make(Kind::Activation).unwrap_err(), "v2 was not activated");
    case.keyring.clear();
    assert_eq!(case.make(Kind::Activation).unwrap_err(), "the log has no such rotation");
}
