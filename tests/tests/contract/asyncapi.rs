//! `schemas/asyncapi.json`: subjects, streams, messages and who may do what, held against the code's own tables.

use crate::schemas::{Schemas, read_json, wrong};
use keywheel_domain::{Address, EdgeId, KeyringId, Kid, Version};
use keywheel_stack::permissions::{self, Role};
use keywheel_wire::subject::{self, Service, Verb};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const FILE: &str = "asyncapi.json";

/// A message as it lies in a stream.
pub struct Found {
    pub stream: String,
    pub subject: String,
    pub headers: BTreeMap<String, String>,
    pub payload: Vec<u8>,
}

/// The description of the bus.
pub struct AsyncApi {
    schemas: Schemas,
}

impl AsyncApi {
    pub fn load() -> AsyncApi {
        AsyncApi { schemas: Schemas::load() }
    }

    fn document(&self) -> &Value {
        &self.schemas.documents[FILE]
    }

    /// The channels that lie on the bus, each with its address.
    pub fn channels(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let channels = self.document()["channels"].as_object().unwrap().iter();
        channels.filter_map(|(name, channel)| Some((name.as_str(), channel["address"].as_str()?, channel)))
    }

    /// Holds a message against its channel: exactly one of the channel's messages must describe it.
    pub fn check(&self, found: &Found) -> Result<String, String> {
        let of_stream = |channel: &Value| channel["x-stream"] == json!(found.stream);
        let mut channels = self.channels().filter(|(_, address, _)| fits(address, &found.subject));
        let (name, _, channel) = channels.next().ok_or("no channel has this subject")?;
        if channels.next().is_some() || !of_stream(channel) {
            return Err(format!("{name} is not the one channel of this subject in this stream"));
        }
        let mut said = Vec::new();
        let messages: Vec<&String> = channel["messages"].as_object().unwrap().keys().collect();
        let fitting: Vec<&&String> = messages
            .iter()
            .filter(|message| self.check_message(message, found).map_err(|error| said.push(error)).is_ok())
            .collect();
        match fitting.as_slice() {
            [message] => Ok(message.to_string()),
            _ => Err(format!("{name}: {} messages describe it: {}", fitting.len(), said.join("\n"))),
        }
    }

    fn check_message(&self, name: &str, found: &Found) -> Result<(), String> {
        let place = format!("/components/messages/{name}");
        let message = self.document().pointer(&place).unwrap();
        let payload = match message["contentType"].as_str().unwrap() {
            "application/msgpack" => {
                keywheel_wire::event::to_json(&found.payload).map_err(|e| e.to_string())?
            }
            "application/json" => {
                serde_json::from_slice(&found.payload).map_err(|error| error.to_string())?
            }
            _ => json!(String::from_utf8_lossy(&found.payload)),
        };
        let check = |part: &str, value: &Value| {
            let said = wrong(&self.schemas.at(&format!("{FILE}#{place}/{part}")), value);
            said.map_or(Ok(()), |error| Err(format!("{name} {part}: {error}")))
        };
        if message["headers"].is_object() {
            check("headers", &json!(found.headers))?;
        }
        check("payload", &payload)
    }

    /// Who does what with which channel.
    fn operations(&self) -> BTreeSet<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let operations = self.document()["operations"].as_object().unwrap().values();
        let channel = |operation: &Value| text(&operation["channel"]["$ref"]).replace("#/channels/", "");
        operations.map(|it| (text(&it["x-role"]), text(&it["action"]), channel(it))).collect()
    }
}

/// Whether a subject is an instance of an address.
fn fits(address: &str, subject: &str) -> bool {
    let (address, subject): (Vec<&str>, Vec<&str>) =
        (address.split('.').collect(), subject.split('.').collect());
    address.len() == subject.len() && address.iter().zip(&subject).all(|(a, s)| a.starts_with('{') || a == s)
}

/// Whether a subject with wildcards lets a subject through.
fn lets(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(wanted), Some(token)) if wanted == token => {}
            (_, _) => return false,
        }
    }
}

fn edge() -> EdgeId {
    EdgeId::parse("e1").unwrap()
}

fn slot() -> keywheel_wire::snapshot::Slot {
    keywheel_wire::snapshot::Slot::all().next().unwrap()
}

/// A subject of every channel, spelled by the code.
fn subjects() -> BTreeMap<String, String> {
    let keyring = KeyringId::parse("acme/billing").unwrap();
    let address = Address::Keyring(keyring.clone());
    let mut subjects: BTreeMap<String, String> = [
        ("events", subject::event(&address)),
        ("results", subject::result(7)),
        ("usage", subject::usage(&edge())),
        ("stage", subject::stage(Kid::parse("0123456789").unwrap())),
        ("delivery", subject::delivery(&keyring, Version(3))),
        ("pulses", subject::pulse(&edge())),
        ("receipts", subject::notice(&address, "receipt")),
        ("alarms", subject::notice(&address, "alarm")),
        ("heads", subject::HEADS.to_owned()),
        ("questions", subject::ask_usage(&keyring)),
        ("snapshot-questions", subject::ASK_SNAPSHOT.to_owned()),
        ("snapshot-manifests", subject::manifest(slot())),
        ("snapshot-chunks", subject::chunks(slot())),
    ]
    .map(|(name, subject)| (name.to_owned(), subject))
    .into();
    subjects
        .extend(Verb::ALL.map(|verb| (format!("command-{}", verb.word()), subject::command(&address, verb))));
    subjects
}

#[test]
fn it_is_an_asyncapi_document() {
    let meta =
        read_json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/meta/asyncapi-3.0.0.json"));
    let validator = jsonschema::options().offline().build(&meta).unwrap();
    let api = AsyncApi::load();
    assert_eq!(wrong(&validator, api.document()), None);
    let mut broken = api.document().clone();
    broken["operations"]["edge-sends-pulses"]["action"] = json!("whisper");
    assert!(wrong(&validator, &broken).is_some());
}

#[test]
fn its_references_lead_somewhere() {
    let api = AsyncApi::load();
    let mut count = 0;
    crate::schemas::visit(&mut api.document().clone(), &mut |part| {
        if let Some(target) = part.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix('#')) {
            assert!(api.document().pointer(target).is_some(), "{target}");
            count += 1;
        }
    });
    assert!(count > 50, "{count}");
    for name in api.document()["components"]["messages"].as_object().unwrap().keys() {
        api.schemas.at(&format!("{FILE}#/components/messages/{name}/payload"));
    }
}

#[test]
fn channels_are_the_codes_subjects_and_streams() {
    let api = AsyncApi::load();
    let subjects = subjects();
    let named: BTreeSet<&str> = api.channels().map(|(name, ..)| name).collect();
    assert_eq!(named, subjects.keys().map(String::as_str).collect());
    let streams = keywheel_bus::topology::streams(1);
    let mut used = BTreeSet::new();
    for (name, address, channel) in api.channels() {
        let subject = &subjects[name];
        assert!(fits(address, subject), "{name}: {address} and {subject}");
        let taking = streams.iter().find(|stream| stream.subjects.iter().any(|it| lets(it, subject)));
        let stream = taking.map(|stream| stream.name.as_str());
        assert_eq!(channel["x-stream"].as_str(), stream, "{name}");
        used.extend(stream);
    }
    assert_eq!(used.len(), streams.len(), "every stream has a channel: {used:?}");
}

/// What a credential may do, by the table from which every server's configuration is written.
fn permitted(role: &Role, name: &str) -> BTreeSet<(String, String, String)> {
    let permissions = permissions::of(role, 1);
    let api = AsyncApi::load();
    let mut found = BTreeSet::new();
    for (channel, subject) in subjects() {
        let stream = api.document()["channels"][&channel]["x-stream"].as_str().unwrap_or("none");
        let mut put = |action: &str| found.insert((name.to_owned(), action.to_owned(), channel.clone()));
        if permissions.publish.iter().any(|pattern| lets(pattern, &subject)) {
            put("send");
        }
        let reads = |call: &String| {
            let whole = ["STREAM.MSG.GET", "DIRECT.GET"]
                .iter()
                .any(|get| *call == format!("{}.{get}.{stream}", subject::API_MAPPED));
            let alone = *call == format!("{}.DIRECT.GET.{stream}.{subject}", subject::API_MAPPED);
            whole
                || alone
                || call.starts_with(&format!("{}.CONSUMER.MSG.NEXT.{stream}.", subject::API_MAPPED))
        };
        // A service's durable on the commands lets through only those that it decides.
        let own = match (role, Verb::ALL.iter().find(|verb| channel == format!("command-{}", verb.word()))) {
            (Role::Service(service), Some(verb)) => verb.decided_by() == *service,
            (_, _) => true,
        };
        let hears = permissions.subscribe.iter().any(|pattern| lets(pattern, &subject));
        if hears || own && permissions.publish.iter().any(reads) {
            put("receive");
        }
    }
    found
}

#[test]
fn operations_are_what_credentials_may_do() {
    let mut roles = vec![
        (Role::Operator, "operator".to_owned()),
        (Role::Auditor, "auditor".to_owned()),
        (Role::Edge(edge()), "edge".to_owned()),
    ];
    roles.extend(Service::ALL.map(|service| (Role::Service(service), service.name().to_owned())));
    let permitted: BTreeSet<_> = roles.iter().flat_map(|(role, name)| permitted(role, name)).collect();
    let described = AsyncApi::load().operations();
    let show = |set: BTreeSet<&(String, String, String)>| format!("{set:#?}");
    let (more, less) =
        (described.difference(&permitted).collect(), permitted.difference(&described).collect());
    assert!(permitted == described, "described, not permitted: {}\nthe reverse: {}", show(more), show(less));
}

/// A subject that nobody described, or a message in the wrong place, is found.
#[test]
fn a_message_that_differs_is_found() {
    let api = AsyncApi::load();
    let pulse = std::fs::read(crate::schemas::folder().join("golden/v1/pulse.json")).unwrap();
    let check = |stream: &str, subject: &str| {
        let (stream, subject) = (stream.to_owned(), subject.to_owned());
        let payload = pulse.clone();
        api.check(&Found { stream, subject, headers: [].into(), payload })
    };
    assert_eq!(check(subject::PULSE, "kw.edge.edge-a.pulse"), Ok("pulse".to_owned()));
    assert!(check(subject::USAGE, "kw.edge.edge-a.pulse").is_err());
    assert!(check(subject::PULSE, "kw.edge.edge-a.breath").is_err());
    assert!(check(subject::NOTICES, "kw.notice.acme.app.alarm").is_err());
    assert!(check(subject::EVENTS, "kw.evt.acme.app").is_err());
}
