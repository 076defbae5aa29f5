//! Events of the next version: what this one passes over, and what it refuses by name.

use crate::samples::{OURS, events};
use keywheel_wire::Malformed;
use keywheel_wire::event::{self, Read};
use keywheel_wire::subject;
use serde_json::{Value, json};

/// A sample after a change to its envelope or body, as MessagePack.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Result<Read, Malformed> {
    let (_, event, link) = events().into_iter().find(|(known, ..)| *known == name).unwrap();
    let mut document = event::to_json(&event::write(&event, link, OURS).unwrap()).unwrap();
    change(&mut document);
    event::read(&subject::event(&event.address), &rmp_serde::to_vec_named(&document).unwrap())
}

fn said(name: &str, change: impl FnOnce(&mut Value)) -> String {
    changed(name, change).unwrap_err().to_string()
}

#[test]
fn unknown_fields_are_passed_over_everywhere() {
    for (name, event, link) in events() {
        let read = changed(name, |document| {
            document["trace"] = json!({ "id": [1, 2, 3], "deep": { "er": null } });
            document["body"]["colour"] = json!("blue");
            for list in ["passed_over", "edges", "withdrawn", "restored"] {
                for entry in document["body"][list].as_array_mut().into_iter().flatten() {
                    if let Some(entry) = entry.as_object_mut() {
                        entry.insert("weight".into(), json!(1.5));
                    }
                }
            }
            if let Some(evidence) = document["body"]["evidence"].as_object_mut() {
                evidence.insert("seal".into(), json!([]));
            }
            if let Some(policy) = document["body"]["policy"].as_object_mut() {
                policy.insert("mood".into(), json!("good"));
            }
        });
        assert_eq!(read, Ok(Read { event, link }), "{name}");
    }
}

#[test]
fn optional_fields_may_be_absent() {
    let read = changed("KeyRetired-revoked", |document| {
        document["body"].as_object_mut().unwrap().remove("evidence");
        document["body"].as_object_mut().unwrap().remove("also");
        document.as_object_mut().unwrap().remove("rotation_id");
    });
    assert!(read.is_ok(), "{read:?}");
}

#[test]
fn what_cannot_be_understood_is_named() {
    let mut seen = Vec::new();
    for (name, event, _) in events() {
        let error = changed(name, |document| document["v"] = json!(2)).unwrap_err();
        assert_eq!(
            (error.field.as_str(), error.to_string().as_str()),
            ("v", "v: written by a newer version (2)")
        );
        let error = changed(name, |document| document["type"] = json!("KeyPolished")).unwrap_err();
        assert_eq!(error.field, "type");
        assert_eq!(error.to_string(), "type: unknown event type `KeyPolished`");
        seen.push(event.fact.kind());
    }
    assert_eq!(seen.len(), 17);
    for (name, field, value, expected) in [
        ("KeyRetired", "cause", json!("bored"), "unknown variant `bored`"),
        ("KeyIssued", "origin", json!("found"), "unknown variant `found`"),
        ("KeyIssued", "reason", json!("whim"), "unknown variant `whim`"),
        ("KeyIssued", "kid", json!("short"), "kid \"short\": use exactly 10 of"),
        ("KeyIssued", "digest", json!("ab"), "body.digest: expected 64 hexadecimal digits"),
        ("KeyIssued", "version", json!(-1), "body.version: "),
        ("EdgeAdded", "edge", json!("Edge A"), "edge \"Edge A\": "),
        ("KeySeen", "last_use", json!("noon"), "body.last_use: `noon` is no time"),
    ] {
        let said = said(name, |document| document["body"][field] = value);
        assert!(said.contains(expected), "{name}.{field}: {said}");
    }
    let evidence = said("KeyRetired", |document| document["body"]["evidence"]["kind"] = json!("dream"));
    assert!(evidence.contains("unknown variant `dream`"), "{evidence}");
    let state = said("RolledBack", |document| document["body"]["withdrawn"][0]["state"] = json!("lost"));
    assert!(state.contains("unknown variant `lost`"), "{state}");
    let cause = said("RolledBack", |document| document["body"]["withdrawn"][0]["cause"] = json!("lost"));
    assert_eq!(cause, "cause: `lost` is no cause");
}

#[test]
fn an_event_belongs_to_its_subject() {
    let (_, event, link) = events().swap_remove(0);
    let payload = event::write(&event, link, OURS).unwrap();
    let said = |subject: &str| event::read(subject, &payload).unwrap_err().to_string();
    assert_eq!(said("kw.evt.acme.other"), "tenant: written for acme/billing, stored at kw.evt.acme.other");
    assert!(said("kw.evt.acme.billing.more").contains("is no event subject"));
    assert!(said("kw.evt.acme._").contains("written for acme/billing"));
}
