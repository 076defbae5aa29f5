//! The server answers to whatever subject a request names. No answer to anybody but the administrator may get into a
//! stream, or be taken for a call.

use crate::rig::Rig;
use crate::wire::Wire;
use keywheel_stack::permissions::Role;
use keywheel_stack::settings::Server;
use serde_json::Value;
use std::collections::BTreeMap;

/// One message for each stream, by somebody who may.
const STORED: [(&str, &str); 9] = [
    ("issuer", "kw.evt.acme.web"),
    ("operator", "kw.cmd.acme.web.rotate"),
    ("issuer", "kw.res.id"),
    ("edge-e1", "kw.use.e1"),
    ("issuer", "kw.stage.kid"),
    ("propagator", "kw.dlv.acme.web.1"),
    ("edge-e1", "kw.edge.e1.pulse"),
    ("propagator", "kw.notice.acme.web.receipt"),
    ("propagator", "$O.KW_SNAPSHOTS.C.slot-1"),
];

/// Where an answer would do harm: over what is stored, beside it, and at what destroys when it is asked with nothing.
fn targets() -> Vec<String> {
    let mut targets: Vec<String> = STORED.map(|(_, subject)| subject.to_owned()).into();
    let others = ["kw.evt._._", "kw.evt.x.y.z", "kw.res.other", "kw.stage.other", "kw.dlv.acme.web.2"];
    targets.extend(others.map(str::to_owned));
    targets.extend(["kw.notice._._.alarm", "kw.edge.e2.pulse", "kw.use.e2"].map(str::to_owned));
    let streams = [
        "KW_EVENTS",
        "KW_COMMANDS",
        "KW_RESULTS",
        "KW_USAGE",
        "KW_STAGE",
        "KW_DELIVERY",
        "KW_PULSE",
        "KW_NOTICES",
        "OBJ_KW_SNAPSHOTS",
    ];
    for stream in streams {
        for call in ["STREAM.PURGE", "STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.UPDATE"] {
            targets.extend(["$JS.API", "kw.api"].map(|api| format!("{api}.{call}.{stream}")));
        }
    }
    for durable in ["KW_EVENTS.edge-e2", "KW_EVENTS.issuer-1", "KW_COMMANDS.issuer"] {
        targets.extend(["$JS.API", "kw.api"].map(|api| format!("{api}.CONSUMER.DELETE.{durable}")));
    }
    targets
}

/// What a role may ask, so that the answer is a document, a stored message, or nothing at all.
fn requests(role: &str) -> Vec<(String, &'static str)> {
    let none = "{\"batch\":1,\"no_wait\":true}";
    let next = |durable: &str| (format!("$JS.API.CONSUMER.MSG.NEXT.{durable}"), none);
    let mut requests = vec![("$JS.API.STREAM.INFO.KW_EVENTS".to_owned(), "")];
    match role {
        "operator" | "auditor" => {}
        "usage-tracker" => {
            requests.extend([next("KW_EVENTS.usage-tracker-1"), next("KW_USAGE.usage-tracker")])
        }
        service if !service.starts_with("edge-") => {
            requests.extend([next(&format!("KW_EVENTS.{role}-1")), next(&format!("KW_COMMANDS.{role}"))]);
        }
        _ => requests.push(next(&format!("KW_EVENTS.{role}"))),
    }
    if role.starts_with("edge-") {
        let gets = ["{\"seq\":1}", "{\"seq\":999}", ""];
        requests.extend(gets.map(|get| ("$JS.API.DIRECT.GET.OBJ_KW_SNAPSHOTS".to_owned(), get)));
    } else {
        let gets = ["{\"seq\":1}", "{\"seq\":999}", ""];
        requests.extend(gets.map(|get| ("$JS.API.DIRECT.GET.KW_EVENTS".to_owned(), get)));
    }
    requests
}

/// Of each stream: how many messages it has, the last one's sequence, its durables.
async fn streams(rig: &Rig) -> BTreeMap<String, (u64, u64, Vec<String>)> {
    let url = rig.settings.server.monitor_urls().remove(0);
    let url = format!("{url}/jsz?accounts=true&streams=true&consumers=true");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let says: Value = serde_json::from_str(&text).unwrap();
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let streams =
        all(&says["account_details"]).into_iter().flat_map(|account| all(&account["stream_detail"]));
    let told = |stream: Value| {
        let durables = all(&stream["consumer_detail"]);
        let mut durables: Vec<String> =
            durables.iter().map(|durable| durable["name"].as_str().unwrap().to_owned()).collect();
        durables.sort();
        let count = |field: &str| stream["state"][field].as_u64().unwrap();
        let found = (count("messages"), count("last_seq"), durables);
        (stream["name"].as_str().unwrap().to_owned(), found)
    };
    streams.map(told).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_reaches_no_stream_and_no_call() {
    let rig = Rig::start().await;
    let Server::Own { port, .. } = rig.settings.server else { panic!("it is ours") };
    let wire = async |role: &str| Wire::open(port, &rig.home.credential(role)).await;
    for (role, subject) in STORED {
        let stored = wire(role).await.ask(subject, &format!("_INBOX_{role}.x"), "x").await;
        assert!(stored.contains("\"seq\":1"), "{role} at {subject}: {stored}");
    }
    let before = streams(&rig).await;
    assert_eq!(before.len(), STORED.len());
    assert!(before.values().all(|(messages, last, _)| (*messages, *last) == (1, 1)), "{before:?}");

    let roles = Role::fixed().iter().map(Role::name).collect::<Vec<_>>();
    for role in roles.iter().map(String::as_str).chain(["edge-e1"]).filter(|role| *role != "admin") {
        let mut wire = wire(role).await;
        for (request, payload) in requests(role) {
            let asked: Vec<_> =
                targets().into_iter().map(|target| (request.clone(), target, payload.to_owned())).collect();
            let denied = wire.ask_for_others(&asked).await;
            assert!(denied.publish.is_empty(), "{role} may not ask {request}: the test shows nothing");
            wire.ask(&request, &format!("_INBOX_{role}.y"), payload).await;
            wire.ask("$JS.API.STREAM.INFO.KW_EVENTS", &format!("_INBOX_{role}.z"), "").await;
            assert_eq!(streams(&rig).await, before, "{role} asked {request} with `{payload}`");
        }
    }
    // An acknowledgement is one more thing that an empty answer could be taken for: the server itself denies it.
    let mut edge = wire("edge-e1").await;
    let next = "$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.edge-e1".to_owned();
    let ack = "$JS.ACK.KW_COMMANDS.issuer.1.1.1.1.0".to_owned();
    let denied = edge.ask_for_others(&[(next, ack.clone(), String::new())]).await;
    assert!(denied.reply.contains(&ack), "{denied:?}");

    // Within the streams' account it is so: the test would see it.
    let mut admin = wire("admin").await;
    let empty = ("$JS.API.CONSUMER.MSG.NEXT.KW_EVENTS.edge-e1", "{\"batch\":1,\"no_wait\":true}");
    for target in ["kw.stage.junk", "$JS.API.STREAM.PURGE.KW_RESULTS", "$JS.API.STREAM.DELETE.KW_EVENTS"] {
        admin.ask_for_others(&[(empty.0.to_owned(), target.to_owned(), empty.1.to_owned())]).await;
        admin.ask("$JS.API.INFO", "_INBOX_admin.x", "").await;
    }
    let after = streams(&rig).await;
    assert_eq!(after["KW_STAGE"].0, 2);
    assert_eq!(after["KW_RESULTS"].0, 0);
    assert!(!after.contains_key("KW_EVENTS"));
}
