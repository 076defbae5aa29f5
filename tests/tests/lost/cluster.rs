//! Three servers lose everything at once: what is put back stands on each of them.

use super::{Site, keyring};
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::traffic::{Traffic, swap};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// More than one batch and one page: what the servers have to agree on several times.
const KEYRINGS: usize = 1500;

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_three_servers_lost_is_back_on_each_of_them() {
    let Some(site) = Site::open_on(3).await else { return };
    let web = keyring("acme/web");
    let (_, key) = site.operator.issue(&web).await.unwrap();
    site.import(KEYRINGS);
    let last = site.head().await;
    site.all_have(last).await;
    let holder = Arc::new(Mutex::new(Arc::new(key)));
    let edges: Vec<String> = site.stack.context.edges.iter().map(|edge| edge.http.clone()).collect();
    let pause = Duration::from_millis(10);
    let traffic = Traffic::start(vec![("web".to_owned(), Arc::clone(&holder))], &edges, pause);
    site.lose_the_log();
    let (code, done) = site.run(&["restore", "--from-edge", "--output", "json"]);
    assert_eq!((code, &done["restored"], &done["put_back"]), (0, &json!(true), &json!(last)), "{done}");
    site.all_have(last).await;
    site.await_well();

    let version = site.operator.rotate(&web).await.unwrap();
    swap(&holder, site.operator.delivered(&web, version).await.unwrap());
    site.all_have(site.head().await).await;
    let tally = traffic.stop().await;
    assert_eq!(tally.refused.load(Ordering::Relaxed), 0, "{:?}", tally.complaints);
    assert!(tally.accepted.load(Ordering::Relaxed) > 100);
    let (code, audit) = site.run(&["audit", "verify", "--output", "json"]);
    assert_eq!((code, &audit["sound"]), (0, &json!(true)), "{audit}");
    let head = site.head().await;
    for (name, node) in site.servers() {
        holds(&name, node.monitor, head).await;
    }
}

/// Until the log lies whole on that server, up to `head`.
async fn holds(name: &str, monitor: u16, head: u64) {
    let url = format!("http://127.0.0.1:{monitor}/jsz?acc=KEYWHEEL&accounts=true&streams=true");
    let begun = Instant::now();
    loop {
        let told: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
        let streams = told["account_details"][0]["stream_detail"].as_array().cloned().unwrap_or_default();
        let log = streams.into_iter().find(|stream| stream["name"] == "KW_EVENTS").unwrap_or_default();
        if log["state"]["messages"] == head && log["state"]["last_seq"] == head {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{name}: {log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
