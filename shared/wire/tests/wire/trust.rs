//! Who is believed: only an entitled service, in this installation, at this place, word for word.

use crate::samples::{OURS, ROOT, events, key};
use keywheel_domain::event::{Ended, FactKind};
use keywheel_domain::key::Cause;
use keywheel_domain::{Event, Fact, Version};
use keywheel_wire::belief::{self, Doubt, Heard, is_entitled, writes};
use keywheel_wire::event::{self, Link};
use keywheel_wire::notice::{self, Notice};
use keywheel_wire::signature::{Signed, Signer};
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::snapshot;
use keywheel_wire::subject::{self, Service};
use keywheel_wire::text;
use nkeys::KeyPair;
use serde_json::{Value, json};

struct Keys(Vec<(Service, Signer)>);

impl Keys {
    fn fresh() -> Keys {
        let fresh = |service| (service, Signer::from_seed(&KeyPair::new_user().seed().unwrap()).unwrap());
        Keys(Service::ALL.map(fresh).into())
    }

    fn of(&self, service: Service) -> &Signer {
        &self.0.iter().find(|(own, _)| *own == service).unwrap().1
    }

    fn signers(&self) -> Signers {
        let keys = self.0.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
        Signers::rooted(OURS, [key(ROOT).public().to_owned()], keys).unwrap()
    }

    /// What readers make of bytes that a service signed for a subject.
    fn judge(&self, service: Service, subject: &str, payload: &[u8]) -> Result<event::Read, Doubt> {
        let signed = self.of(service).sign(subject, payload).unwrap();
        belief::event(&self.signers(), 7, subject, payload, Some(&signed))
    }
}

/// Of each event, who alone may write it; every other credential is skipped, not frozen.
#[test]
fn each_event_is_believed_from_its_own_service_alone() {
    let keys = Keys::fresh();
    for (name, event, link) in events() {
        let (subject, payload) = (subject::event(&event.address), event::write(&event, link, OURS).unwrap());
        let owners: &[Service] = match &event.fact {
            Fact::KeyIssued(_) | Fact::RolledBack(_) | Fact::PolicySet(_) => &[Service::Issuer],
            Fact::KeyActivated(_)
            | Fact::EdgeAdded(_)
            | Fact::EdgeRemoved(_)
            | Fact::SignerAdded(_)
            | Fact::SignerWithdrawn(_) => &[Service::Propagator],
            Fact::KeySeen(_) => &[Service::UsageTracker],
            Fact::KeyRetired(_) => &[Service::Retirer],
        };
        for service in Service::ALL {
            let judged = keys.judge(service, &subject, &payload);
            if owners.contains(&service) {
                assert_eq!(judged, Ok(event::Read { event: event.clone(), link }), "{name} of {service:?}");
            } else {
                let Err(Doubt::Skip(reason)) = judged else { panic!("{name} of {service:?}: {judged:?}") };
                assert!(reason.contains(&format!("the {} may not write", service.name())), "{reason}");
            }
        }
    }
}

#[test]
fn a_key_is_ended_for_each_cause_by_those_who_find_it() {
    let (_, event, link) = events().into_iter().find(|(name, ..)| *name == "KeyRetired").unwrap();
    let of = |cause| Ended { version: Version(1), also: vec![], cause, reason: None, evidence: None };
    let keys = Keys::fresh();
    for (cause, by) in [
        (Cause::Superseded, vec![Service::Retirer]),
        (Cause::Requested, vec![Service::Retirer]),
        (Cause::Revoked, vec![Service::Retirer]),
        (Cause::Expired, vec![Service::Retirer]),
        // SAFETY 7, and a retire command for a version that was never activated.
        (Cause::Cancelled, vec![Service::Propagator, Service::Retirer]),
        (Cause::RolledBack, vec![]),
    ] {
        let event = Event { fact: Fact::KeyRetired(of(cause)), ..event.clone() };
        let (subject, payload) = (subject::event(&event.address), event::write(&event, link, OURS).unwrap());
        let believed = |service: &Service| keys.judge(*service, &subject, &payload).is_ok();
        assert_eq!(Service::ALL.into_iter().filter(believed).collect::<Vec<_>>(), by, "{cause:?}");
    }
}

#[test]
fn every_type_has_an_author_and_entitlement_never_exceeds_it() {
    for kind in FactKind::ALL {
        assert!(Service::ALL.into_iter().any(|service| writes(service, kind)), "{kind:?}");
    }
    for (_, event, _) in events() {
        for service in Service::ALL {
            assert!(writes(service, event.fact.kind()) || !is_entitled(service, &event.fact));
        }
    }
}

fn issued() -> (Event, Link, String, Vec<u8>) {
    let (_, event, link) = events().into_iter().find(|(name, ..)| *name == "KeyIssued").unwrap();
    let (subject, payload) = (subject::event(&event.address), event::write(&event, link, OURS).unwrap());
    (event, link, subject, payload)
}

fn skipped(judged: Result<event::Read, Doubt>, why: &str) {
    let Err(Doubt::Skip(reason)) = &judged else { panic!("{why}: {judged:?}") };
    assert!(reason.contains(why), "{reason}");
}

/// What anybody could have put there never freezes: that would be a lever in everybody's hand.
#[test]
fn what_is_forged_is_skipped() {
    let (keys, (_, _, subject, payload)) = (Keys::fresh(), issued());
    let signers = keys.signers();
    let sound = keys.of(Service::Issuer).sign(&subject, &payload).unwrap();
    let judge =
        |payload: &[u8], signed: Option<&Signed>| belief::event(&signers, 7, &subject, payload, signed);
    assert!(judge(&payload, Some(&sound)).is_ok());

    skipped(judge(&payload, None), "it is not signed");
    skipped(judge(b"\xc1", None), "it is not signed");
    let stranger = Keys::fresh().of(Service::Issuer).sign(&subject, &payload).unwrap();
    skipped(judge(&payload, Some(&stranger)), "is neither in the signers file nor introduced");
    let swapped = Signed { by: keys.of(Service::Retirer).public().to_owned(), ..sound.clone() };
    skipped(judge(&payload, Some(&swapped)), "not that of the retirer");
    let posed =
        Signed { by: sound.by.clone(), ..keys.of(Service::UsageTracker).sign(&subject, &payload).unwrap() };
    skipped(judge(&payload, Some(&posed)), "not that of the issuer");
    let empty = Signed { signature: String::new(), ..sound.clone() };
    skipped(judge(&payload, Some(&empty)), "not that of the issuer");
    for at in 0..payload.len() {
        let mut flipped = payload.clone();
        flipped[at] ^= 1;
        skipped(judge(&flipped, Some(&sound)), "not that of the issuer");
    }
    for other in ["kw.evt.acme.other", "kw.evt.acme._", "kw.evt._._"] {
        skipped(belief::event(&signers, 7, other, &payload, Some(&sound)), "not that of the issuer");
    }
}

/// Also the right service cannot move its words to another place.
#[test]
fn what_belongs_elsewhere_is_skipped() {
    let (keys, (event, link, subject, payload)) = (Keys::fresh(), issued());
    let foreign = event::write(&event, link, Installation(OURS.0 + 1)).unwrap();
    skipped(keys.judge(Service::Issuer, &subject, &foreign), "another installation");
    let homeless = changed(&payload, |document| {
        document.as_object_mut().unwrap().remove("installation");
    });
    skipped(keys.judge(Service::Issuer, &subject, &homeless), "names no installation");
    skipped(keys.judge(Service::Issuer, "kw.evt.acme.other", &payload), "stored at kw.evt.acme.other");
    skipped(keys.judge(Service::Issuer, "kw.evt.acme", &payload), "is no event subject");
}

fn changed(payload: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut document = event::to_json(payload).unwrap();
    change(&mut document);
    rmp_serde::to_vec_named(&document).unwrap()
}

#[test]
fn what_is_signed_and_not_understood_freezes() {
    let (keys, (_, _, subject, payload)) = (Keys::fresh(), issued());
    let unknown = changed(&payload, |document| document["type"] = json!("KeyPolished"));
    let newer = changed(&payload, |document| document["v"] = json!(2));
    let body = changed(&payload, |document| document["body"]["digest"] = json!("ab"));
    let later = changed(&payload, |document| document["actor"] = json!(7));
    for odd in [unknown, newer, body, later, b"\xc1".to_vec()] {
        let judged = keys.judge(Service::Issuer, &subject, &odd);
        let Err(Doubt::Freeze(reason)) = &judged else { panic!("{judged:?}") };
        assert!(reason.contains(&format!("{subject} cannot be understood")), "{reason}");
    }
    // Nothing that it could say would be its to say.
    let body = changed(&payload, |document| document["body"]["digest"] = json!("ab"));
    skipped(keys.judge(Service::UsageTracker, &subject, &body), "may not write KeyIssued");
}

#[test]
fn a_reason_is_short_and_plain() {
    let (keys, (_, _, subject, payload)) = (Keys::fresh(), issued());
    let odd =
        changed(&payload, |document| document["type"] = json!(format!("a\u{1b}[2J\n{}", "x".repeat(9000))));
    let reason = keys.judge(Service::Issuer, &subject, &odd).unwrap_err().to_string();
    assert!(reason.chars().count() <= 300 && !reason.contains(char::is_control), "{reason:?}");
    let far = format!("kw.evt.acme.{}", "x".repeat(4000));
    let reason = keys.judge(Service::Issuer, &far, &payload).unwrap_err().to_string();
    assert!(reason.chars().count() <= 300, "{reason:?}");
    let signed = Signed { by: format!("U\n{}", "y".repeat(9000)), signature: String::new() };
    let reason =
        belief::event(&keys.signers(), 7, &subject, &payload, Some(&signed)).unwrap_err().to_string();
    assert!(reason.chars().count() <= 300 && !reason.contains(char::is_control), "{reason:?}");
}

#[test]
fn a_notice_is_believed_from_who_may_give_it() {
    let keys = Keys::fresh();
    let sample = |name: &str| {
        let path = crate::golden::path(name);
        notice::read(&std::fs::read(path).unwrap()).unwrap()
    };
    let Notice::Alarm(mut alarm) = sample("notice-alarm.json") else { panic!("no alarm") };
    alarm.code = belief::AUTO_ROLLBACK.to_owned();
    let undone = Notice::Alarm(alarm);
    for (notice, by) in [
        (sample("notice-receipt.json"), vec![Service::Propagator]),
        (sample("notice-head.json"), vec![Service::Propagator]),
        (sample("notice-alarm.json"), vec![Service::Issuer, Service::Propagator, Service::Retirer]),
        (undone, Service::ALL.to_vec()),
    ] {
        let subject = format!("kw.notice.acme.billing.{}", notice.kind());
        let payload = serde_json::to_vec(&notice).unwrap();
        let judge = |service: Service| -> Result<Notice, String> {
            let signed = keys.of(service).sign(&subject, &payload).unwrap();
            belief::notice(&keys.signers(), Heard::Live, &subject, &payload, Some(&signed))
        };
        let believed: Vec<_> = Service::ALL.into_iter().filter(|service| judge(*service).is_ok()).collect();
        assert_eq!(believed, by, "{}", notice.kind());
        assert!(belief::notice(&keys.signers(), Heard::Live, &subject, &payload, None).is_err());
        let signed = keys.of(Service::Propagator).sign(&subject, &payload).unwrap();
        let elsewhere = "kw.notice.acme.other.receipt";
        assert!(belief::notice(&keys.signers(), Heard::Live, elsewhere, &payload, Some(&signed)).is_err());
    }
}

#[test]
fn a_snapshot_is_believed_from_the_propagator_alone_at_its_own_place() {
    let keys = Keys::fresh();
    let sample = std::fs::read(crate::golden::path("manifest.json")).unwrap();
    let (slot, mut manifest) = snapshot::read(&sample).unwrap();
    let at = subject::manifest(slot);
    let judge = |service: Service, at: &str, manifest: &snapshot::Manifest| {
        let payload = serde_json::to_vec(manifest).unwrap();
        let signed = keys.of(service).sign(at, &payload).unwrap();
        belief::snapshot(&keys.signers(), at, &payload, Some(&signed))
    };
    manifest.metadata.installation = text::Id(OURS.0 + 1);
    assert!(judge(Service::Propagator, &at, &manifest).unwrap_err().contains("another installation"));
    manifest.metadata.installation = text::Id(OURS.0);
    for service in Service::ALL {
        let judged = judge(service, &at, &manifest);
        assert_eq!(judged.is_ok(), service == Service::Propagator, "{}: {judged:?}", service.name());
    }
    let other = snapshot::Slot::all().map(subject::manifest).find(|other| *other != at).unwrap();
    assert!(judge(Service::Propagator, &other, &manifest).unwrap_err().contains("another slot"));
    let payload = serde_json::to_vec(&manifest).unwrap();
    let moved = keys.of(Service::Propagator).sign(&at, &payload).unwrap();
    assert!(belief::snapshot(&keys.signers(), &other, &payload, Some(&moved)).is_err());
    assert!(belief::snapshot(&keys.signers(), &at, &payload, None).is_err());
    manifest.nuid = "slot-3".to_owned();
    assert!(judge(Service::Propagator, &at, &manifest).unwrap_err().contains("another slot"));
}

#[test]
fn a_signers_file_says_what_it_was_written_from() {
    let keys = Keys::fresh();
    let written = keys.signers().to_string();
    let read = Signers::parse(&written).unwrap();
    assert_eq!(read.installation(), OURS);
    assert!(read.keys().eq(keys.signers().keys()));
    assert_eq!(read.to_string(), written);
}

#[test]
fn a_bad_signers_file_names_what_is_wrong() {
    const ID: &str = "installation = \"0b5e55ed-0000-4000-8000-000000000001\"\n";
    let public = KeyPair::new_user().public_key();
    let server = KeyPair::new_server().public_key();
    let said = |text: &str| Signers::parse(text).unwrap_err().to_string();
    for (text, expected) in [
        (String::new(), "missing field `installation`".to_owned()),
        (ID.to_owned(), "missing field `signers`".to_owned()),
        (format!("{ID}[signers]\n"), "signers: names nobody; list each service's public nkey".to_owned()),
        (
            format!("installation = \"home\"\n[signers]\n{public} = \"issuer\"\n"),
            "`installation` must be a UUID".to_owned(),
        ),
        (
            format!("{ID}[signers]\n{public} = \"boss\"\n"),
            "signers: `boss` is no role; write one of issuer, propagator, usage-tracker, retirer".to_owned(),
        ),
        (
            format!("{ID}[signers]\nUABC = \"issuer\"\n"),
            "signers: signer: `UABC` is no user's public nkey".to_owned(),
        ),
        (format!("{ID}[signers]\n{server} = \"issuer\"\n"), "is no user's public nkey (U…)".to_owned()),
        (format!("{ID}colour = 1\n[signers]\n{public} = \"issuer\"\n"), "unknown field `colour`".to_owned()),
        (
            format!("{ID}[signers]\n{public} = \"issuer\"\n{public} = \"retirer\"\n"),
            "duplicate key".to_owned(),
        ),
        (format!("{ID}[signers\n"), "(line 2)".to_owned()),
    ] {
        let said = said(&text);
        assert!(said.contains(&expected), "{text}: {said}");
    }
}
