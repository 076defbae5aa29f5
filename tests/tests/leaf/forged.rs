//! A leaf's operator has the mirror in his hands. What he changes in it is not believed, and makes nobody fresh.

use crate::site::{LEASE, PATIENCE, Site};
use async_nats::{Client, ConnectOptions, HeaderMap};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn administrator(site: &Site) -> Client {
    let seed = std::fs::read_to_string(site.at_leaf().join("admin.nk")).unwrap();
    let options = ConnectOptions::with_nkey(seed.trim().to_owned()).custom_inbox_prefix("_INBOX_admin");
    options.connect(site.leaf_url()).await.unwrap()
}

async fn call(client: &Client, call: &str, request: Option<Value>) -> Value {
    let request = request.map(|request| request.to_string()).unwrap_or_default();
    let answer = client.request(format!("$JS.API.{call}"), request.into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer["error"].is_null(), "{call}: {answer}");
    answer
}

/// Every message of the mirror in order: its subject, headers and payload.
async fn messages(site: &Site) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let leaf = async_nats::jetstream::new(administrator(site).await);
    let stream = leaf.get_stream("KW_EVENTS").await.unwrap();
    let mut messages = Vec::new();
    for seq in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(seq).await.unwrap();
        messages.push((message.subject.to_string(), message.headers, message.payload.to_vec()));
    }
    messages
}

/// What is newer than the newest signed head is held against the next one, a second later.
async fn await_signed_head(site: &Site) {
    let (end, began) = (site.operator.bus.head().await.unwrap().seq, Instant::now());
    while site.operator.bus.newest_head().await.unwrap().is_none_or(|head| head.seq < end) {
        assert!(began.elapsed() < PATIENCE, "nobody signs the head");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_in_which_a_revocation_was_replaced_is_not_followed() {
    let mut site = Site::start().await;
    let (ring, key) = site.issue("bank", "strict").await;
    site.command(&["revoke", "acme/bank", "--all", "--reason", "leaked"]);
    site.until(&key, "revoked").await;
    await_signed_head(&site).await;
    let mut all = messages(&site).await;
    site.kill_edge();
    let subject = format!("kw.evt.{}.{}", ring.tenant, ring.client);
    let revocation = all.iter().rposition(|(at, ..)| *at == subject).unwrap();
    // Genuine, signed, and old news: the same number of messages, and no revocation.
    all[revocation] = all[0].clone();

    let path = site.at_leaf().join("accounts.conf");
    let accounts = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, accounts.replacen("\"kw.restore.>\"", "\">\"", 1)).unwrap();
    site.kill_leaf();
    site.start_leaf().await;
    let admin = administrator(&site).await;
    call(&admin, "STREAM.DELETE.KW_EVENTS", None).await;
    let forged = json!({
        "name": "KW_EVENTS", "subjects": ["kw.evt.>"], "storage": "file", "num_replicas": 1, "retention": "limits",
        "discard": "old", "max_consumers": 10, "duplicate_window": 100_000_000,
    });
    call(&admin, "STREAM.CREATE.KW_EVENTS", Some(forged)).await;
    let context = async_nats::jetstream::new(admin);
    for (subject, mut headers, payload) in all {
        // Only what the bus itself makes of them is left out.
        headers = headers.iter().filter(|(name, _)| !name.to_string().starts_with("Nats-")).fold(
            HeaderMap::new(),
            |mut kept, (name, values)| {
                values.iter().for_each(|value| kept.append(name.clone(), value.clone()));
                kept
            },
        );
        context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
    }
    site.mirror();
    std::fs::remove_dir_all(site.at_leaf().join("edge-p1")).unwrap();
    site.start_edge();

    let began = Instant::now();
    while !site.said().contains("nothing more is applied") {
        assert!(began.elapsed() < PATIENCE, "{}", site.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let began = Instant::now();
    while began.elapsed() < LEASE * 2 {
        let answer = site.ask(key.expose()).await;
        assert!(!answer.valid, "{answer:?}");
        assert_eq!(site.info().await["lease"]["fresh"], false);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
