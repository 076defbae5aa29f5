//! Two issuers beside each other, an issuer that was away, and many keyrings due at once.

use crate::rig::{Rig, address, clients, keyring, tenant, until};
use keywheel_domain::{Fact, Span};
use keywheel_wire::subject::Verb;
use serde_json::json;
use std::time::Duration;

fn every(span: &str, recipient: &str) -> serde_json::Value {
    json!({ "every": span, "overlap_min": "0s", "quiet": "0s", "max_active": 1000, "recipient": recipient })
}

#[tokio::test(flavor = "multi_thread")]
async fn two_issuers_double_nothing() {
    let rig = Rig::open().await;
    let (one, two) = (rig.issuer(1), rig.issuer(2));
    let clients = clients(10);
    rig.issue(&clients).await;
    rig.operator.policy(&tenant(), every("1s", rig.operator.recipient())).await.unwrap();
    for client in &clients {
        rig.versions(client, 4).await;
    }
    // A rotation by hand among them, close to a due time of its own, is one more and moves the next.
    rig.operator.rotate(&keyring(&clients[0])).await.unwrap();
    rig.versions(&clients[0], 6).await;
    one.stop().await;
    two.stop().await;
    for client in &clients {
        assert!(rig.check(client).await >= 3, "{client}");
    }
    until("no sealed secret is left over", async || rig.staged().await == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_was_away_for_several_periods_rotates_once() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    rig.issue(&clients(1)).await;
    let policy =
        json!({ "every": "3s", "overlap_min": "0s", "quiet": "0s", "recipient": rig.operator.recipient() });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    issuer.stop().await;
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    let began = state.newest().unwrap().1.issued_at;
    tokio::time::sleep(Duration::from_secs(8)).await;
    let issuer = rig.issuer(1);
    rig.versions("client-0", 2).await;
    let back = tokio::time::Instant::now();
    rig.versions("client-0", 3).await;
    assert!(back.elapsed() > Duration::from_millis(1500), "the next one waits for its own period");
    issuer.stop().await;
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    let issued: Vec<_> = state.keys.values().map(|key| key.issued_at.since(began)).collect();
    assert!(issued[1] >= Span::secs(8), "{issued:?}");
    assert!(issued[2].0 - issued[1].0 >= 3000, "{issued:?}");
    assert_eq!(rig.check("client-0").await, 2);
}

/// A burst is worked off, and a command that comes in its middle does not wait for its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_does_not_keep_commands_waiting() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    let clients = clients(150);
    for client in &clients {
        let fields = json!({ "recipient": rig.operator.recipient() });
        rig.operator.accepted(&address(client), Verb::Issue, fields).await.unwrap();
    }
    for client in &clients {
        rig.versions(client, 1).await;
    }
    rig.operator.policy(&tenant(), every("1h", rig.operator.recipient())).await.unwrap();
    // All have been due for long from here on.
    rig.operator.policy(&tenant(), json!({ "every": "1s" })).await.unwrap();
    let asked = rig.operator.accepted(&address("by-hand"), Verb::Issue, json!({})).await.unwrap();
    rig.operator.policy(&tenant(), json!({ "every": "1h" })).await.unwrap();
    let asked = asked.event.unwrap().seq;
    let mut last = 0;
    for client in &clients {
        let (_, events) = rig.operator.history(&address(client)).await.unwrap();
        let issued = events.iter().filter(|recorded| matches!(recorded.event.fact, Fact::KeyIssued(_)));
        last = last.max(issued.map(|recorded| recorded.seq).max().unwrap());
    }
    assert!(asked < last, "the command at {asked} waited for the whole burst, which ended at {last}");
    issuer.stop().await;
    for client in &clients {
        rig.check(client).await;
    }
}
