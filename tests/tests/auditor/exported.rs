//! The log verified on the bus and in a file, as operator and as auditor; each damage to the file shows.

use crate::desk::{Desk, document, lines, text};
use serde_json::{Value, json};

const VERIFY_FILE: [&str; 8] =
    ["audit", "verify", "--file", "log.jsonl", "--signers", "signers.toml", "--output", "json"];

/// Writes the lines as `log.jsonl` and verifies that; the exit code, the first wrong position and the codes.
fn verify(desk: &Desk, lines: &[String]) -> (Option<u64>, Vec<String>) {
    std::fs::write(desk.path("log.jsonl"), lines.join("\n") + "\n").unwrap();
    let ended = desk.run(&VERIFY_FILE);
    let sound = ended.status.success();
    let said = document(&ended, i32::from(!sound));
    assert_eq!(said["sound"], sound);
    let found = said["findings"].as_array().unwrap().iter();
    (said["first_wrong"].as_u64(), found.map(|it| it["code"].as_str().unwrap().to_owned()).collect())
}

fn edited(line: &str, edit: impl FnOnce(&mut Value)) -> String {
    let mut document: Value = serde_json::from_str(line).unwrap();
    edit(&mut document);
    document.to_string()
}

fn damages(whole: &[String]) -> Vec<(&'static str, Vec<String>, u64)> {
    let last = whole.len() - 2;
    let with = |at: usize, line: String| {
        let mut lines = whole.to_vec();
        lines[at] = line;
        lines
    };
    let without = |at: usize| [&whole[..at], &whole[at + 1..]].concat();
    let swapped = || {
        let mut lines = whole.to_vec();
        lines.swap(4, 5);
        lines
    };
    let payload = |line: &mut Value| {
        let text = line["payload"].as_str().unwrap().to_owned();
        line["payload"] =
            json!(format!("{}AAAA", text.trim_end_matches('=').split_at(text.len() / 4 * 4 - 4).0));
    };
    let stranger = edited(&whole[last], |line| {
        line["seq"] = json!(last + 1);
        line["headers"]["Kw-Signer"] = json!("UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4");
    });
    vec![
        ("altered", with(5, edited(&whole[5], payload)), 5),
        ("unsigned", with(5, edited(&whole[5], |line| line["headers"] = json!({}))), 5),
        ("elsewhere", with(5, edited(&whole[5], |line| line["subject"] = json!("kw.evt.acme.web"))), 5),
        ("dropped", without(5), 6),
        ("swapped", swapped(), 4),
        ("twice", [&whole[..6], &whole[5..]].concat(), 5),
        ("no message", with(5, "{\"seq\":5}".to_owned()), 5),
        ("cut off", whole[..last].to_vec(), last as u64),
        ("lacks its last message", without(last), last as u64 - 1),
        ("a stranger's", [&whole[..=last], &[stranger], &whole[last + 1..]].concat(), last as u64 + 1),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_verified_on_the_bus_and_in_a_file() {
    let desk = Desk::open().await;
    let said = document(&desk.run_as("context.json", &["audit", "verify", "--output", "json"]), 0);
    assert_eq!(witnesses(&said), ["a signed head", "edge e1", "edge e2"]);
    let verify_as_auditor = ["audit", "verify", "--remember", "verified.json", "--output", "json"];
    let said = document(&desk.run_as("auditor.json", &verify_as_auditor), 0);
    assert!(said["sound"] == true && said["chain"].is_string(), "{said}");
    let again = document(&desk.run_as("auditor.json", &verify_as_auditor), 0);
    assert_eq!(witnesses(&again), ["a signed head", "the verification before"]);

    text(&desk.run_as("auditor.json", &["audit", "export", "--format", "jsonl", "--file", "log.jsonl"]), 0);
    std::fs::copy(&desk.stack.context.signers, desk.path("signers.toml")).unwrap();
    let mut whole = lines(&desk.path("log.jsonl"));
    let in_file = document(&desk.run(&VERIFY_FILE), 0);
    assert_eq!(
        (&in_file["chain"], in_file["messages"].as_u64()),
        (&again["chain"], Some(whole.len() as u64 - 3))
    );
    let head = whole.remove(1);
    assert!(head.starts_with("{\"head\":{"), "{head}");
    let cut = [&whole[..1], std::slice::from_ref(&head), &whole[1..4], &whole[whole.len() - 1..]].concat();
    let (first, codes) = verify(&desk, &cut);
    assert!(first == Some(3) && codes.contains(&"cut_off".to_owned()), "{first:?} {codes:?}");
    let bent = edited(&head, |line| line["head"]["seq"] = json!(0));
    assert_eq!(
        verify(&desk, &[&whole[..1], &[bent], &whole[1..]].concat()),
        (None, vec![]),
        "it is not signed"
    );
    let bent = edited(&head, |line| line["head"]["payload"] = json!("e30="));
    // Whether its signer may be believed is known at the end alone: a later event may introduce it.
    let (first, codes) = verify(&desk, &[&whole[..1], &[bent], &whole[1..]].concat());
    assert!(first.is_some() && !codes.is_empty(), "{first:?} {codes:?}");
    for (what, lines, first) in damages(&whole) {
        let (found, codes) = verify(&desk, &lines);
        assert_eq!(found, Some(first), "{what}: {codes:?}");
    }
    forget_what_was(&desk, &verify_as_auditor);
    flat(&desk);
    tokio::task::block_in_place(|| desk.stack.stop()).unwrap();
}

fn witnesses(said: &Value) -> Vec<String> {
    let all = said["witnesses"].as_array().unwrap().iter();
    all.map(|it| it["who"].as_str().unwrap().to_owned()).collect()
}

/// A remembered position that the log contradicts, or has lost.
fn forget_what_was(desk: &Desk, verify: &[&str]) {
    let remembered = lines(&desk.path("verified.json")).concat();
    let other = |edit: fn(&mut Value)| {
        std::fs::write(desk.path("verified.json"), edited(&remembered, edit)).unwrap();
        let said = document(&desk.run_as("auditor.json", verify), 1);
        said["findings"][0]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(other(|it| it["chain"] = json!("00".repeat(32))), "contradicted");
    assert_eq!(other(|it| it["seq"] = json!(100_000)), "cut_off");
    assert_eq!(other(|it| it["created"] = json!("2020-01-01T00:00:00.000Z")), "another_log");
}

fn flat(desk: &Desk) {
    let export = |words: &[&str]| {
        let ended = desk.run_as("auditor.json", &[&["audit", "export", "--format"], words].concat());
        text(&ended, 0).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let whole = export(&["csv"]);
    assert!(whole[0].starts_with("seq,stored_at,decided_at,tenant,client,type"));
    let acme = export(&["csv", "--tenant", "acme"]);
    assert!(acme.len() > 5 && acme[1..].iter().all(|row| row.contains(",acme,")) && acme.len() < whole.len());
    assert_eq!(export(&["csv", "--from", "2100-01-01T00:00:00Z"]).len(), 1);
    assert_eq!(export(&["csv", "--to", "2100-01-01T00:00:00Z"]), whole);
    let events = export(&["cloudevents"]);
    assert_eq!(events.len(), whole.len() - 1);
    for line in events {
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event["specversion"], "1.0");
        assert!(["id", "source", "type"].iter().all(|name| event[name].is_string()), "{event}");
    }
    let part = export(&["jsonl", "--tenant", "acme"]);
    std::fs::write(desk.path("log.jsonl"), part.join("\n") + "\n").unwrap();
    let said = document(&desk.run(&VERIFY_FILE), 0);
    assert!(said["chain"].is_null() && said["part"]["tenant"] == "acme", "{said}");
    std::fs::write(desk.path("log.jsonl"), [&part[..4], &part[5..]].concat().join("\n") + "\n").unwrap();
    document(&desk.run(&VERIFY_FILE), 1);
}
