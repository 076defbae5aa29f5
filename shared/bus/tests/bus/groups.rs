//! Commands that are taken together: in batches, and each with exactly the effect that it has alone.

use crate::intake::{Tiny, check_staged, document, is_empty, outcome, serve};
use crate::server::Server;
use crate::stage::{Replica, Writer, eventually, fresh_id, keyring, server};
use async_nats::jetstream::consumer::{Consumer, pull};
use async_nats::jetstream::stream::Config;
use keywheel_bus::{Bus, intake, topology};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, Kid};
use keywheel_wire::outcome::{Intent, Outcome, Word};
use keywheel_wire::subject::{self, Service, Verb};
use keywheel_wire::text::Id;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

async fn send(bus: &Bus, address: &Address, verb: Verb, id: u128, fields: Value) {
    bus.send_command(address, verb, &document(id, fields)).await.unwrap();
}

/// One `issue` for each of `count` keyrings.
async fn issue_each(bus: &Bus, count: u32) -> Vec<u128> {
    let mut ids = Vec::new();
    for n in 0..count {
        let id = fresh_id();
        send(bus, &keyring(n), Verb::Issue, id, json!({})).await;
        ids.push(id);
    }
    ids
}

/// Every outcome names the event that its command made, where it stands, and no event has another command.
async fn check_outcomes(bus: &Bus, ids: &[u128]) {
    for id in ids {
        outcome(bus, *id).await;
    }
    let (mut events, mut from) = (BTreeMap::new(), 1);
    loop {
        let page = bus.page(from, None).await.unwrap();
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        for message in &page {
            let read = keywheel_wire::event::read(&message.subject, &message.payload).unwrap();
            let before = events.insert(read.event.command.0, (message.seq, read.event.id.0));
            assert_eq!(before, None, "a command has two events");
        }
    }
    for id in ids {
        let outcome = outcome(bus, *id).await;
        assert_eq!(outcome.outcome, Word::Accepted, "{outcome:?}");
        let event = outcome.event.unwrap();
        assert_eq!(events.remove(id), Some((event.seq, event.id.0)));
    }
    assert!(events.is_empty(), "events of commands that nobody sent: {events:?}");
}

/// How many batches the messages of a stream came in; 0 stands for those that came alone.
async fn batches(server: &Server, stream: &str) -> BTreeMap<String, u64> {
    let stream = server.stranger().await.get_stream(stream).await.unwrap();
    let mut found = BTreeMap::new();
    for seq in 1..=stream.cached_info().state.last_sequence {
        let Ok(message) = stream.get_raw_message(seq).await else { continue };
        let batch = message.headers.get("Nats-Batch-Id").map_or("", |value| value.as_str()).to_owned();
        *found.entry(batch).or_insert(0) += 1;
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_together_goes_out_together() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let ids = issue_each(&bus, 60).await;
    let (refused, unreadable, again) = (fresh_id(), fresh_id(), ids[3]);
    send(&bus, &keyring(100), Verb::Rotate, refused, json!({})).await;
    send(&bus, &keyring(101), Verb::Issue, unreadable, json!({ "colour": 1 })).await;
    send(&bus, &keyring(3), Verb::Issue, again, json!({})).await;
    let replica = Replica::start(&server, 1, folder.path()).await;
    serve(&replica.gate, &Tiny::default());

    check_outcomes(&bus, &ids).await;
    assert_eq!(outcome(&bus, refused).await, Outcome::rejected(refused, "closed", "not today"));
    assert_eq!(outcome(&bus, unreadable).await.rejection.unwrap().code, "malformed");
    eventually("all are handled", || is_empty(&server)).await;
    check_staged(&server, &bus, 60).await;
    for stream in ["KW_EVENTS", "KW_STAGE", "KW_RESULTS"] {
        let batches = batches(&server, stream).await;
        let largest = batches.iter().filter(|(batch, _)| !batch.is_empty()).map(|(_, count)| *count).max();
        assert_eq!(largest, Some(60), "{stream}: {batches:?}");
    }
    assert!(replica.witness.seen().alarms.is_empty(), "readers do not mind the headers of batches");
}

/// The commands of one keyring take effect in their order, whatever else is taken with them.
#[tokio::test(flavor = "multi_thread")]
async fn one_keyrings_commands_come_one_after_another() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut ids = Vec::new();
    for n in 0..36 {
        let id = fresh_id();
        let policy = json!({ "policy": { "quiet": format!("{}m", n + 1) } });
        send(&bus, &keyring(n % 3), Verb::Policy, id, policy).await;
        ids.push(id);
    }
    let replica = Replica::start(&server, 1, folder.path()).await;
    serve(&replica.gate, &Tiny::default());
    check_outcomes(&bus, &ids).await;
    let mut last = BTreeMap::new();
    for (n, id) in ids.iter().enumerate() {
        let seq = outcome(&bus, *id).await.event.unwrap().seq;
        assert!(last.insert(n % 3, seq) < Some(seq), "command {n} overtook the one before it");
    }
}

/// One id that was sent to two keyrings has one effect and one outcome.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_sent_twice_has_one_effect() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let replica = Replica::start(&server, 1, folder.path()).await;
    Writer::default().append(&bus, &keyring(1)).await;
    replica.reaches(1).await;
    let mut ids = issue_each(&bus, 4).await;
    let twice = fresh_id();
    send(&bus, &keyring(10), Verb::Issue, twice, json!({})).await;
    send(&bus, &keyring(11), Verb::Issue, twice, json!({})).await;
    serve(&replica.gate, &Tiny::default());
    ids.push(twice);
    for id in &ids {
        outcome(&bus, *id).await;
    }
    eventually("all are handled", || is_empty(&server)).await;
    assert_eq!(bus.head().await.unwrap().seq, 6, "one of the two keyrings was left alone");
}

/// A command that another has refused, and one that another intends to accept, are taken with others.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_decided_stays() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut ids = issue_each(&bus, 8).await;
    let (refused, intended) = (ids.remove(2), ids[4]);
    let refusal = Outcome::rejected(refused, "closed", "by somebody else");
    let intent = Intent { command_id: Id(intended), intent: 0 };
    let entries = [(refused, serde_json::to_vec(&refusal)), (intended, serde_json::to_vec(&intent))];
    let context = server.stranger().await;
    for (id, entry) in entries {
        context.publish(subject::result(id), entry.unwrap().into()).await.unwrap().await.unwrap();
    }
    let replica = Replica::start(&server, 1, folder.path()).await;
    serve(&replica.gate, &Tiny::default());
    check_outcomes(&bus, &ids).await;
    eventually("all are handled", || is_empty(&server)).await;
    assert_eq!(outcome(&bus, refused).await, refusal);
    check_staged(&server, &bus, 7).await;
}

/// Another wrote to one keyring, and this replica has not seen it: the batch is refused as a whole, the
/// others are accepted all the same, and the one is decided anew. No secret lies about.
#[tokio::test(flavor = "multi_thread")]
async fn one_conflict_stops_nobody_else() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let mut late = Replica::open(&server, 1, folder.path()).await;
    let (other, tiny) = (Replica::start(&server, 2, folder.path()).await, Tiny::default());
    let serving = serve(&other.gate, &tiny);
    let first = fresh_id();
    send(&bus, &keyring(5), Verb::Issue, first, json!({})).await;
    outcome(&bus, first).await;
    serving.abort();
    assert!(serving.await.unwrap_err().is_cancelled());

    let mut ids = issue_each(&bus, 20).await;
    let tiny = Tiny::default();
    serve(&late.gate, &tiny);
    let asked = || async { tiny.asked.load(Ordering::Relaxed) >= 20 };
    eventually("it decides on an older state", asked).await;
    late.follow();
    ids.push(first);
    check_outcomes(&bus, &ids).await;
    eventually("all are handled", || is_empty(&server)).await;
    check_staged(&server, &bus, 21).await;
    late.reaches(21).await;
    let state = late.gate.load(&keyring(5), CommandId(0)).unwrap().state;
    assert_eq!(state.revision, 2, "decided on what the other wrote");
}

/// Two replicas, the same commands three times over: groups that meet fall back to the single way.
#[tokio::test(flavor = "multi_thread")]
async fn groups_that_meet_have_one_effect_each() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let ids: Vec<u128> = (0..120).map(|_| fresh_id()).collect();
    for _ in 0..3 {
        for (n, id) in ids.iter().enumerate() {
            send(&bus, &keyring(u32::try_from(n % 40).unwrap()), Verb::Issue, *id, json!({})).await;
        }
    }
    let one = Replica::start(&server, 1, folder.path()).await;
    let other = Replica::start(&server, 2, folder.path()).await;
    serve(&one.gate, &Tiny::default());
    serve(&other.gate, &Tiny::default());
    check_outcomes(&bus, &ids).await;
    eventually("all are handled", || is_empty(&server)).await;
    check_staged(&server, &bus, 120).await;
    for replica in [&one, &other] {
        replica.reaches(120).await;
        assert!(replica.witness.seen().alarms.is_empty());
    }
    assert_eq!(one.fold.head(), other.fold.head());
}

/// A bus that was set up before there were batches, or refuses them for any reason: each step goes singly.
#[tokio::test(flavor = "multi_thread")]
async fn without_batches_everything_goes_singly() {
    for without in ["KW_RESULTS", "KW_STAGE", "KW_EVENTS"] {
        let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
        let (bus, stranger) = (server.bus("admin").await, server.stranger().await);
        let config = topology::streams(1).into_iter().find(|config| config.name == without).unwrap();
        stranger.create_stream(Config { allow_atomic_publish: false, ..config }).await.unwrap();
        topology::ensure(&bus, 1, 2).await.unwrap();
        let ids = issue_each(&bus, 20).await;
        let replica = Replica::start(&server, 1, folder.path()).await;
        serve(&replica.gate, &Tiny::default());
        check_outcomes(&bus, &ids).await;
        eventually("all are handled", || is_empty(&server)).await;
        check_staged(&server, &bus, 20).await;
        let alone = batches(&server, without).await.keys().all(String::is_empty);
        assert!(alone, "{without}");
    }
}

/// Drops the intake after so many of its steps, wherever it then is, again and again, until it got
/// through to the end. What was left lying comes again, to the next.
#[tokio::test(flavor = "multi_thread")]
async fn an_intake_that_dies_anywhere_loses_and_doubles_nothing() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    // What a dead one had in hand comes again soon.
    let commands = server.stranger().await.get_stream("KW_COMMANDS").await.unwrap();
    let queue: Consumer<pull::Config> = commands.get_consumer("issuer").await.unwrap();
    let queue = queue.cached_info().config.clone();
    let soon = pull::Config {
        durable_name: queue.durable_name,
        ack_policy: queue.ack_policy,
        ack_wait: Duration::from_millis(150),
        filter_subjects: queue.filter_subjects,
        ..Default::default()
    };
    commands.update_consumer(soon).await.unwrap();
    let (replica, tiny) = (Replica::start(&server, 1, folder.path()).await, Tiny::default());

    let (mut ids, mut cut_short, mut stages) = (Vec::new(), 0, BTreeSet::new());
    for steps in 4..32 {
        for n in 0..6 {
            let id = fresh_id();
            let policy = json!({ "policy": { "quiet": format!("{}m", ids.len() + 1) } });
            let (verb, fields) = if n % 2 == 0 { (Verb::Policy, policy) } else { (Verb::Issue, json!({})) };
            send(&bus, &keyring(n), verb, id, fields).await;
            ids.push(id);
        }
        let intake = intake::run(&replica.gate, Service::Issuer, &tiny, std::future::pending());
        let ended = tokio::time::timeout(Duration::from_millis(500), polled(intake, steps)).await;
        cut_short += u32::from(ended.is_ok());
        stages.insert(standing(&bus, &ids[ids.len() - 6..]).await);
    }
    assert!(cut_short > 10, "it was rarely stopped in the middle: {cut_short}");
    assert!(stages.len() >= 3, "it was always stopped at the same place: {stages:?}");
    serve(&replica.gate, &Tiny::default());
    check_outcomes(&bus, &ids).await;
    eventually("all are handled", || is_empty(&server)).await;
    for issued in issued(&bus).await {
        assert!(bus.staged(issued).await.unwrap().is_some(), "{issued} is issued, and its secret is nowhere");
    }
}

async fn issued(bus: &Bus) -> Vec<Kid> {
    let log = bus.page(1, None).await.unwrap();
    let read = log.iter().map(|it| keywheel_wire::event::read(&it.subject, &it.payload).unwrap());
    read.filter_map(|read| read.event.fact.issues()).collect()
}

/// How far six commands are: how many intents, events and outcomes there are of them.
async fn standing(bus: &Bus, ids: &[u128]) -> [usize; 3] {
    let mut standing = [0; 3];
    for id in ids {
        match bus.result(CommandId(*id)).await.unwrap().map(|last| last.entry) {
            Some(keywheel_wire::outcome::Result::Intent(_)) => standing[0] += 1,
            Some(keywheel_wire::outcome::Result::Final(_)) => standing[2] += 1,
            None => {}
        }
    }
    let events = bus.page(1, None).await.unwrap();
    let of_them = |message: &keywheel_table::Message| {
        let read = keywheel_wire::event::read(&message.subject, &message.payload).unwrap();
        ids.contains(&read.event.command.0)
    };
    standing[1] = events.iter().filter(|message| of_them(message)).count();
    standing
}

/// Polls a future so often and then gives it up.
async fn polled(future: impl Future, times: u32) {
    let (mut future, mut left) = (std::pin::pin!(future), times);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(());
        }
        left -= 1;
        match future.as_mut().poll(context) {
            std::task::Poll::Ready(_) => std::task::Poll::Ready(()),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(()),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await;
}
