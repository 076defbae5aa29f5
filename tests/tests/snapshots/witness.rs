//! Signed heads: an edge tells which it agrees with, and refuses a log that contradicts one, for good.

use crate::begin;
use crate::process::Process;
use crate::server::Server;
use crate::store::folded;
use keywheel_bus::Bus;
use keywheel_domain::{Address, At, EdgeId};
use keywheel_table::fold::Head;
use keywheel_wire::notice::{Notice, SignedHead};
use keywheel_wire::pulse::Agrees;
use keywheel_wire::text::{Hex32, Id, Moment};
use std::time::{Duration, Instant};

/// Longer than an edge takes from one look to the next.
const LOOK: Duration = Duration::from_millis(1500);

pub fn told(head: Head, created: At) -> SignedHead {
    SignedHead {
        installation: Id(7),
        log_created: Moment(created),
        seq: head.watermark,
        chain: Hex32(head.chain.0),
        digest: Hex32(head.digest),
        at: Moment(At(0)),
    }
}

pub async fn publish(server: &Server, role: &str, head: &SignedHead) {
    let id = keywheel_wire::text::id(keywheel_token::id::fresh());
    let bus = server.connect(role).await;
    bus.notify(&Address::Installation, &id, &Notice::Head(head.clone())).await.unwrap();
}

async fn agreed(admin: &Bus) -> Option<Agrees> {
    let edge = EdgeId::parse("e1").unwrap();
    admin.last_pulse(&edge).await.unwrap().and_then(|stored| stored.pulse.agrees)
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(30), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn is_refused(process: &Process) {
    until("the log is refused", async || process.metric("alarms_total{kind=\"diverged\"}").await == 1).await;
    process.until_ready(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_tells_the_head_that_it_agrees_with_and_refuses_another_history_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let (server, admin, mut history) = begin(folder.path()).await;
    let first = history.add_edge().await;
    let (early, created, _) = folded(&server, folder.path(), first).await;
    let active = history.issue("active").await;
    let seq = history.make_strict("other").await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_ready(true).await;

    // Nobody but the propagator of this installation is heard, and of this log alone. The newest is what is read.
    let mut wrong = told(early, created);
    wrong.chain = Hex32([9; 32]);
    publish(&server, "issuer", &wrong).await;
    tokio::time::sleep(LOOK).await;
    publish(&server, "propagator", &SignedHead { installation: Id(8), ..wrong.clone() }).await;
    tokio::time::sleep(LOOK).await;
    publish(&server, "propagator", &SignedHead { log_created: Moment(At(1)), ..wrong.clone() }).await;
    tokio::time::sleep(LOOK).await;
    let (head, _, _) = folded(&server, folder.path(), seq).await;
    publish(&server, "propagator", &told(head, created)).await;
    let expected = Some(Agrees { seq, chain: Hex32(head.chain.0) });
    until("it agrees", async || agreed(&admin).await == expected).await;
    // One that lies ahead is compared when it is reached.
    let next = history.issue("next").await;
    let (head, _, _) = folded(&server, folder.path(), seq + 1).await;
    publish(&server, "propagator", &told(head, created)).await;
    until("it agrees again", async || agreed(&admin).await.is_some_and(|agrees| agrees.seq == seq + 1)).await;
    assert_eq!(process.metric("alarms_total{kind=\"diverged\"}").await, 0);

    publish(&server, "propagator", &wrong).await;
    is_refused(&process).await;
    assert_eq!(process.check(&active).await, 200, "it goes on with what it knows");
    let late = history.issue("late").await;
    assert_eq!(process.check(&late).await, 503);
    tokio::time::sleep(LOOK).await;
    process.stop().await.unwrap();

    let process = Process::start(&server, folder.path(), "2s").await;
    is_refused(&process).await;
    assert_eq!((process.check(&next).await, process.check(&late).await), (200, 503));
    process.stop().await.unwrap();
    std::fs::remove_dir_all(folder.path().join("edge")).unwrap();
    publish(&server, "propagator", &told(head, created)).await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_check(&late, 200).await;
    process.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_lies_ahead_binds_what_comes_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _admin, mut history) = begin(folder.path()).await;
    let seq = history.add_edge().await;
    let (head, created, _) = folded(&server, folder.path(), seq).await;
    let process = Process::start(&server, folder.path(), "2s").await;
    process.until_ready(true).await;
    let ahead = SignedHead { seq: seq + 2, chain: Hex32([9; 32]), ..told(head, created) };
    // As if the log had gone on elsewhere, and were brought back to where it was.
    publish(&server, "propagator", &ahead).await;
    is_refused(&process).await;
    process.stop().await.unwrap();

    std::fs::remove_dir_all(folder.path().join("edge")).unwrap();
    let (first, second) = (history.issue("first").await, history.issue("second").await);
    let process = Process::start(&server, folder.path(), "2s").await;
    is_refused(&process).await;
    assert_eq!((process.check(&first).await, process.check(&second).await), (503, 503), "never fresh");
    process.stop().await.unwrap();
}
