//! SAFETY 1: an edge is fresh by the head that the log's leader tells. A server that leads no more, and does not know
//! it yet, must not make an edge look fresh: what was appended before a handshake began is in the head that it reads.

use crate::nodes::{Nodes, edge};
use keywheel_bus::Bus;
use keywheel_domain::At;
use keywheel_propagator::HEADS_LATE;
use keywheel_stack::permissions::Role;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::text::{Hex32, Id, Moment};
use nix::sys::signal::Signal;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// When each append was acknowledged, and at which position.
type Appended = Arc<Mutex<Vec<(Instant, u64)>>>;

/// Appends one message after the other through `at`, until it is dropped.
async fn append(nodes: &Nodes, at: usize, appended: Appended) -> tokio::task::JoinHandle<()> {
    let context = nodes.stranger(at).await;
    tokio::spawn(async move {
        loop {
            let sent = async { context.publish("kw.evt.acme.web", "x".into()).await?.await };
            if let Ok(Ok(stored)) = tokio::time::timeout(Duration::from_secs(2), sent).await {
                appended.lock().unwrap().push((Instant::now(), stored.sequence));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

/// What an edge at one server is told, and since when its lease counts by that.
#[derive(Clone, Copy, Debug)]
struct Told {
    began: Instant,
    head: u64,
}

async fn handshakes(bus: Bus, told: Arc<Mutex<Vec<Told>>>) {
    let mut number = 0;
    loop {
        number += 1;
        let began = Instant::now();
        let shaken = async {
            bus.put_pulse(&edge(), &pulse(number)).await?;
            bus.head_and_age().await
        };
        if let Ok(Ok((head, age))) = tokio::time::timeout(Duration::from_secs(5), shaken).await {
            told.lock().unwrap().push(Told { began: began - age, head: head.seq });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub fn pulse(number: u64) -> Pulse {
    Pulse {
        id: edge().to_string(),
        boot: Id(1),
        number,
        watermark: 0,
        chain: Hex32([0; 32]),
        digest: Hex32([0; 32]),
        clock: Moment(At(0)),
        keys: 0,
        version: "0".to_owned(),
        lease_ms: 15_000,
        agrees: None,
    }
}

/// For how long an old head was told: from the acknowledgement of the first append that is not in it to the beginning of
/// the last handshake that read it. Nothing when no handshake missed anything that stood in the log when it began.
fn told_late(told: &[Told], appended: &[(Instant, u64)]) -> (usize, Duration) {
    let missed = |one: &Told| {
        let first = appended.iter().find(|(_, seq)| *seq > one.head)?;
        one.began.checked_duration_since(first.0)
    };
    let late: Vec<Duration> = told.iter().filter_map(missed).collect();
    (late.len(), late.into_iter().max().unwrap_or_default())
}

/// Deposes whoever leads, again and again, while edges shake hands with it and others append.
async fn drill(name: &str, rounds: u32, depose: impl Fn(&Nodes, usize), restore: impl Fn(&Nodes, usize)) {
    let nodes = Nodes::start().await;
    let (mut handshaken, mut stale, mut longest) = (0, 0, Duration::ZERO);
    for _ in 0..rounds {
        let leader = nodes.leader("KW_EVENTS", &[0, 1, 2]).await;
        let others: Vec<usize> = (0..3).filter(|at| *at != leader).collect();
        let (appended, told) = (Appended::default(), Arc::new(Mutex::new(Vec::new())));
        // Through the server that can reach both others, whatever is cut.
        let appending = append(&nodes, (leader + 2) % 3, Arc::clone(&appended)).await;
        let mut shaking = Vec::new();
        for _ in 0..EDGES {
            let bus = nodes.connect(&Role::Edge(edge()), &[leader]).await;
            shaking.push(tokio::spawn(handshakes(bus, Arc::clone(&told))));
        }
        depose(&nodes, leader);
        nodes.leader("KW_EVENTS", &others).await;
        // As long as it may go on for: whatever is told later is found below.
        tokio::time::sleep(LATE).await;
        restore(&nodes, leader);
        tokio::time::sleep(LATE).await;
        appending.abort();
        shaking.iter().for_each(|task| task.abort());
        let (appended, told) = (appended.lock().unwrap(), told.lock().unwrap());
        let (count, late) = told_late(&told, &appended);
        (handshaken, stale, longest) = (handshaken + told.len(), stale + count, longest.max(late));
        println!(
            "{name}: {} appended, {} handshakes, {count} told an old head, for {late:?}",
            appended.len(),
            told.len()
        );
    }
    println!("{name}: of {handshaken} handshakes {stale} told an old head, for {longest:?} at most");
    assert!(handshaken > 0);
    assert!(longest < LATE, "edges counted an old head for longer than the propagator waits");
}

/// The propagator waits so much longer than a lease before it takes every edge for fresh or stale.
const LATE: Duration = Duration::from_millis(HEADS_LATE.0);
const EDGES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused() {
    drill(
        "paused",
        1,
        |nodes, at| nodes.signal(at, Signal::SIGSTOP),
        |nodes, at| nodes.signal(at, Signal::SIGCONT),
    )
    .await;
}

/// It still reaches one of the two, and so its clients' pulses are stored; the third has the vote of the same one.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_one_other_cannot_reach() {
    drill(
        "cut off from one",
        1,
        |nodes, at| nodes.link(at, (at + 1) % 3).cut(),
        |nodes, at| nodes.link(at, (at + 1) % 3).mend(),
    )
    .await;
}
