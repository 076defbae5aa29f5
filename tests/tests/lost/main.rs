//! The log is lost on every server, under traffic, and put back from an edge's copy.
#![allow(clippy::unwrap_used, missing_docs)]

mod cluster;
mod refusals;
mod site;

use keywheel_domain::{Address, KeyringId, Tenant};
use keywheel_tests::traffic::{Traffic, ask, swap};
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use serde_json::json;
use site::Site;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn keyring(name: &str) -> KeyringId {
    KeyringId::parse(name).unwrap()
}

/// An edge that is behind when the log is lost goes on too: what it lacks comes with the restored log. What was revoked
/// stays so, also on an edge that starts with nothing.
#[tokio::test(flavor = "multi_thread")]
async fn known_keys_stay_valid_through_loss_and_restore_and_nothing_revoked_comes_back() {
    let Some(site) = Site::open().await else { return };
    let (web, old) = (keyring("acme/web"), keyring("acme/old"));
    let (_, key) = site.operator.issue(&web).await.unwrap();
    let (_, revoked) = site.operator.issue(&old).await.unwrap();
    let holder = Arc::new(Mutex::new(Arc::new(key)));
    let fields = json!({ "version": 1, "reason": "leaked" });
    site.operator.accepted(&Address::Keyring(old.clone()), Verb::Revoke, fields).await.unwrap();
    site.all_have(site.head().await).await;
    site.stack.signal("edge-e2", Signal::SIGSTOP).unwrap();
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    site.operator.policy(&tenant, json!({ "quiet": "5s" })).await.unwrap();
    let last = site.head().await;
    site.has("e1", last).await;

    let edges: Vec<String> = site.stack.context.edges.iter().map(|edge| edge.http.clone()).collect();
    let traffic =
        Traffic::start(vec![("web".to_owned(), Arc::clone(&holder))], &edges[..1], Duration::from_millis(10));
    site.lose_the_log();
    site.stack.signal("edge-e2", Signal::SIGCONT).unwrap();
    let (code, told) = site.run(&["doctor", "--output", "json"]);
    assert_eq!(code, 1);
    let findings = told["findings"].as_array().unwrap();
    let lost = findings.iter().find(|finding| finding["code"] == "log_lost").unwrap();
    assert!(lost["next"].as_str().unwrap().contains("restore --from-edge e"), "{lost}");

    let (code, planned) = site.run(&["restore", "--from-edge", "--dry-run", "--output", "json"]);
    assert_eq!((code, &planned["restored"], &planned["last"]), (0, &json!(false), &json!(last)), "{planned}");
    let (code, done) = site.run(&["restore", "--from-edge", "--output", "json"]);
    assert_eq!((code, &done["restored"], &done["put_back"]), (0, &json!(true), &json!(last)), "{done}");
    assert!(done["seen_the_same"].as_array().unwrap().iter().any(|seen| seen["upto"] == last), "{done}");
    let (code, again) = site.run(&["restore", "--from-edge", "--output", "json"]);
    assert_eq!((code, &again["put_back"]), (0, &json!(0)), "{again}");
    site.all_have(last).await;
    site.await_well();

    // Everybody goes on: services decide, edges apply.
    let version = site.operator.rotate(&web).await.unwrap();
    let fresh = site.operator.delivered(&web, version).await.unwrap();
    swap(&holder, fresh);
    site.all_have(site.head().await).await;
    let tally = traffic.stop().await;
    assert_eq!(tally.refused.load(Ordering::Relaxed), 0, "{:?}", tally.complaints);
    let accepted = tally.accepted.load(Ordering::Relaxed);
    assert!(accepted > 100, "{accepted}");
    site.begin_without("e2", |_| true).await;
    // A table that has applied all of it, and a copy that has nothing.
    site.begin_without("e1", |name| name == "log.jsonl").await;
    for edge in ["e1", "e2"] {
        site.is_copied(edge, site.head().await).await;
    }
    for edge in &edges {
        let answer = ask(&reqwest::Client::new(), edge, revoked.expose(), true).await.unwrap();
        assert_eq!((answer.valid, answer.code.as_deref()), (false, Some("revoked")));
    }
    let (code, audit) = site.run(&["audit", "verify", "--output", "json"]);
    assert_eq!((code, &audit["sound"]), (0, &json!(true)), "{audit}");
    println!("{accepted} answers through loss and restore of {last} messages, none refused");
}

/// `up` that finds its bus empty makes no empty log, which nobody would go on with, but waits for the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_log_waits_until_it_is_restored() {
    let Some(mut site) = Site::open().await else { return };
    let web = keyring("acme/web");
    let (_, key) = site.operator.issue(&web).await.unwrap();
    let last = site.head().await;
    site.all_have(last).await;
    site.start_again_without_the_log().await;
    let answer =
        ask(&reqwest::Client::new(), site.stack.edge("e1").unwrap(), key.expose(), true).await.unwrap();
    assert!(answer.valid, "{answer:?}");
    let (_, another) = site.operator.issue(&keyring("acme/app")).await.unwrap();
    site.all_have(site.head().await).await;
    let answer =
        ask(&reqwest::Client::new(), site.stack.edge("e2").unwrap(), another.expose(), true).await.unwrap();
    assert!(answer.valid, "{answer:?}");
}
