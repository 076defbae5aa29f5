//! What operators watch at a deciding service: each figure counts what it says, and no more often than it happened.

use crate::intake::{Tiny, document, is_empty, outcome, serve};
use crate::server::Server;
use crate::stage::{Writer, eventually, fresh_id, keyring, server};
use keywheel_bus::batch::BATCH_MAX;
use keywheel_bus::follow::Unobserved;
use keywheel_bus::gate::Sources;
use keywheel_bus::{Bus, Follower, Gate, Station, Watch};
use keywheel_domain::{Address, At};
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::{Service, Verb};
use keywheel_wire::text::Moment;
use serde_json::{Value, json};
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// An issuer that does not follow the log yet.
async fn issuer(server: &Server, folder: &Path, watch: &Watch) -> (Gate, Follower) {
    let sources = Sources { now: || At(1_769_860_800_000), fresh_id };
    let (config, first) = (server.config(), NonZeroU32::MIN);
    let Station { gate, follower, .. } =
        Station::open(&config, watch, first, folder, |_| false, sources).await.unwrap();
    eventually("it is connected", || async { gate.bus().connections() == 1 }).await;
    (gate, follower)
}

fn follow(follower: Follower) {
    tokio::spawn(async move { follower.run(Unobserved, std::future::pending()).await });
}

/// The one figure of this name, with all of these labels.
async fn value(watch: &Watch, name: &str, labels: &[&str]) -> f64 {
    let text = watch.text().await;
    let is_it = |line: &&str| {
        let named = line.strip_prefix("keywheel_service_").and_then(|rest| rest.split('{').next());
        named == Some(name) && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<&str> = text.lines().filter(is_it).collect();
    let [line] = found[..] else { panic!("{name} {labels:?}: {found:?} of\n{text}") };
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

async fn decided(watch: &Watch, verb: &str, outcome: &str) -> f64 {
    let labels = [format!("verb=\"{verb}\""), format!("outcome=\"{outcome}\"")];
    value(watch, "commands_total", &labels.each_ref().map(String::as_str)).await
}

async fn send(bus: &Bus, n: u32, verb: Verb, fields: Value) -> u128 {
    let id = fresh_id();
    bus.send_command(&keyring(n), verb, &document(id, fields)).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_decides_and_writes_is_counted_as_often_as_it_happens() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let began = Instant::now();
    let watch = Watch::new(Service::Issuer, |_| ());
    let (gate, follower) = issuer(&server, folder.path(), &watch).await;
    follow(follower);
    serve(&gate, &Tiny::default());
    for n in 0..3 {
        send(&bus, n, Verb::Issue, json!({})).await;
    }
    let policy = json!({ "policy": { "quiet": "2h" } });
    let set = send(&bus, 0, Verb::Policy, policy.clone()).await;
    assert_eq!(outcome(&bus, set).await.outcome, Word::Accepted);
    send(&bus, 0, Verb::Policy, policy).await;
    send(&bus, 0, Verb::Rotate, json!({})).await;
    send(&bus, 0, Verb::Issue, json!({ "colour": 1 })).await;
    bus.send_command(&keyring(0), Verb::Issue, &json!({ "id": 7 })).await.unwrap();
    eventually("all are handled", || is_empty(&server)).await;

    assert_eq!(decided(&watch, "issue", "accepted").await, 3.0);
    assert_eq!(decided(&watch, "policy", "accepted").await, 1.0);
    assert_eq!(decided(&watch, "policy", "unchanged").await, 1.0);
    assert_eq!(decided(&watch, "rotate", "rejected").await, 1.0);
    assert_eq!(decided(&watch, "other", "rejected").await, 1.0, "it could not be read");
    assert_eq!(value(&watch, "decision_seconds_count", &[]).await, 8.0);
    let spent = value(&watch, "decision_seconds_sum", &[]).await;
    assert!(spent > 0.0 && spent < 8.0 * began.elapsed().as_secs_f64(), "{spent} s");
    assert_eq!(value(&watch, "events_total", &["event=\"KeyIssued\""]).await, 3.0);
    assert_eq!(value(&watch, "events_total", &["event=\"PolicySet\""]).await, 1.0);
    assert_eq!(value(&watch, "conflicts_total", &[]).await, 0.0);
    assert_eq!(value(&watch, "unbatched_total", &[]).await, 0.0);

    let alarm = Alarm { code: "unheard_of".to_owned(), detail: String::new(), at: Moment(At(0)), seq: None };
    gate.bus().notify(&Address::Installation, "unheard-of", &Notice::Alarm(alarm)).await.unwrap();
    assert_eq!(value(&watch, "alarms_total", &["kind=\"malformed\""]).await, 1.0);
    assert_eq!(value(&watch, "alarms_total", &["kind=\"other\""]).await, 1.0);
    assert_eq!(value(&watch, "alarms_total", &["kind=\"frozen\""]).await, 0.0, "and not missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_and_who_came_first_is_counted() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append(&bus, &keyring(5)).await;
    let watch = Watch::new(Service::Issuer, |_| ());
    assert_eq!(watch.ready().await, Err("not_connected"));
    let (gate, follower) = issuer(&server, folder.path(), &watch).await;
    assert_eq!(watch.ready().await, Err("behind"));
    let stands = (value(&watch, "watermark", &[]).await, value(&watch, "lag", &[]).await);
    assert_eq!(stands, (0.0, 1.0));

    // It decides on a state in which the fifth keyring has no event yet.
    let ids = [send(&bus, 4, Verb::Issue, json!({})).await, send(&bus, 5, Verb::Issue, json!({})).await];
    let tiny = Tiny::default();
    serve(&gate, &tiny);
    eventually("it decides", async || tiny.asked.load(Ordering::Relaxed) >= 2).await;
    follow(follower);
    for id in ids {
        assert_eq!(outcome(&bus, id).await.outcome, Word::Accepted);
    }
    assert_eq!(value(&watch, "unbatched_total", &[]).await, 1.0);
    assert_eq!(value(&watch, "conflicts_total", &[]).await, 1.0);
    assert_eq!(watch.ready().await, Ok(()));
    let stands = (value(&watch, "watermark", &[]).await, value(&watch, "lag", &[]).await);
    assert_eq!(stands, (3.0, 0.0));

    eventually("all are handled", || is_empty(&server)).await;
    let (pause, asked) = (tiny.pause.lock().await, tiny.asked.load(Ordering::Relaxed));
    send(&bus, 6, Verb::Issue, json!({})).await;
    eventually("it has one in hand", async || tiny.asked.load(Ordering::Relaxed) > asked).await;
    let issue = |n| (keyring(100 + n), Verb::Issue, document(fresh_id(), json!({})));
    let commands: Vec<_> = (0..u32::try_from(BATCH_MAX).unwrap() + 7).map(issue).collect();
    assert_eq!(bus.send_commands(&commands).await.unwrap(), [0; 0]);
    drop(pause);
    // Whoever waited for it longer has it first.
    let pause = tiny.pause.lock().await;
    let waiting = async || value(&watch, "backlog", &[]).await;
    eventually("those wait that were not taken with the others", async || waiting().await == 7.0).await;
    drop(pause);
    eventually("all are handled", || is_empty(&server)).await;
    eventually("nothing waits", async || waiting().await == 0.0).await;
}
