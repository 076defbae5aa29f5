//! The gate: one effect for one id, decided on what holds, whoever asks at once.

use crate::server::Server;
use crate::stage::{Replica, actor, keyring, server};
use keywheel_bus::gate::Order;
use keywheel_bus::{BusError, Executed, topology};
use keywheel_domain::event::CommandId;
use keywheel_domain::policy::{Change, PolicyChange};
use keywheel_domain::{Act, Address, EdgeId, Policy, Rejection, Span};
use keywheel_wire::subject::Service;
use std::collections::BTreeSet;
use tempfile::TempDir;

fn quiet(n: u64) -> Act {
    Act::SetPolicy {
        change: PolicyChange { quiet: Change::Set(Span(n)), ..PolicyChange::default() },
        beneath: Policy::default(),
    }
}

fn edge(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

async fn two() -> (Server, TempDir, Replica, Replica) {
    two_as(Service::Issuer).await
}

async fn two_as(role: Service) -> (Server, TempDir, Replica, Replica) {
    let ((mut server, _), folder) = (server().await, tempfile::tempdir().unwrap());
    server.take_for(role);
    let one = Replica::start(&server, 1, folder.path()).await;
    let other = Replica::start(&server, 2, folder.path()).await;
    (server, folder, one, other)
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_decide_the_same_do_it_once() {
    let (_server, _folder, one, other) = two().await;
    for n in 0..20 {
        let (address, actor, id) = (keyring(n % 3), actor(), CommandId(u128::from(n) + 1));
        let ask = |replica: &Replica| {
            let (gate, address, actor) = (replica.gate.clone(), address.clone(), actor.clone());
            async move { gate.execute(&address, id, &actor, quiet(u64::from(n))).await.unwrap() }
        };
        let (a, b) = tokio::join!(ask(&one), ask(&other));
        let Executed::Done(done) = a else { panic!("{a:?}") };
        assert_eq!(b, Executed::Done(done), "both know the one event");
        assert_eq!(done.seq, u64::from(n) + 1, "and there is no other");
        assert_eq!(ask(&one).await, Executed::Done(done), "for ever");
    }
    one.reaches(20).await;
    assert!(one.witness.seen().alarms.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_ask_different_things_take_turns() {
    let (_server, _folder, one, other) = two().await;
    let asked = (0..24_u128).map(|n| {
        let gate = if n % 2 == 0 { one.gate.clone() } else { other.gate.clone() };
        let act = quiet(u64::try_from(n).unwrap() + 1);
        tokio::spawn(async move { gate.execute(&keyring(0), CommandId(n), &actor(), act).await })
    });
    let mut seqs = BTreeSet::new();
    for asked in asked.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(Executed::Done(done)) => assert!(seqs.insert(done.seq)),
            // Sixteen times outrun: to be asked again, and nothing was done.
            Err(BusError::Contended(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    let last = *seqs.last().unwrap();
    assert_eq!(seqs, (1..=last).collect(), "every event belongs to one of them");
    one.reaches(last).await;
    assert_eq!(one.gate.load(&keyring(0), CommandId(0)).unwrap().state.revision, last);
    assert!(one.witness.seen().alarms.is_empty(), "and each continues the one before");
}

/// Two replicas that carry out the same fifty at once, one of them behind another's write: each is done once,
/// and what one batch could not carry is decided anew.
#[tokio::test(flavor = "multi_thread")]
async fn many_are_executed_as_one_by_one() {
    let (server, _folder, one, other) = two().await;
    topology::ensure(one.gate.bus(), 1, 3).await.unwrap();
    let order = |n: u32| Order {
        address: keyring(n),
        id: CommandId(u128::from(n) + 1),
        actor: actor(),
        act: quiet(u64::from(n) + 1),
    };
    let late_folder = tempfile::tempdir().unwrap();
    let mut late = Replica::open(&server, 3, late_folder.path()).await;
    one.gate.execute(&keyring(7), CommandId(999), &actor(), quiet(77)).await.unwrap();
    let (orders, others): (Vec<_>, Vec<_>) =
        ((0..50).map(order).collect(), (0..50).rev().map(order).collect());
    let behind = {
        let (gate, orders) = (late.gate.clone(), orders.clone());
        tokio::spawn(async move { gate.execute_all(&orders).await })
    };
    let (ours, theirs) = tokio::join!(one.gate.execute_all(&orders), other.gate.execute_all(&others));
    late.follow();
    let seq = |executed: Result<Executed, BusError>| match executed.unwrap() {
        Executed::Done(done) => done.seq,
        other @ (Executed::Unchanged | Executed::Rejected(_)) => panic!("{other:?}"),
    };
    let ours: Vec<u64> = ours.into_iter().map(seq).collect();
    let theirs: Vec<u64> = theirs.into_iter().rev().map(seq).collect();
    let behind: Vec<u64> = behind.await.unwrap().into_iter().map(seq).collect();
    assert_eq!((&ours, &ours), (&theirs, &behind), "answered in order, one event each");
    assert_eq!(ours.iter().copied().collect::<BTreeSet<_>>(), (2..=51).collect());
    one.reaches(51).await;
    assert_eq!(one.gate.load(&keyring(7), CommandId(0)).unwrap().state.revision, 2);

    let again = Order { id: CommandId(100), ..order(3) };
    let odd = Order {
        id: CommandId(101),
        address: Address::Installation,
        act: Act::RemoveEdge { edge: edge("b") },
        ..order(0)
    };
    let said = one.gate.execute_all(&[again, odd, order(50)]).await;
    let [again, odd, new] = <[_; 3]>::try_from(said).unwrap().map(Result::unwrap);
    assert_eq!((again, odd), (Executed::Unchanged, Executed::Rejected(Rejection::UnknownEdge(edge("b")))));
    assert_eq!(seq(Ok(new)), 52);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_to_do_and_nothing_allowed_leave_no_trace() {
    let (_server, _folder, one, _other) = two_as(Service::Propagator).await;
    let execute = |id, act| {
        let gate = one.gate.clone();
        async move { gate.execute(&Address::Installation, CommandId(id), &actor(), act).await.unwrap() }
    };
    assert!(matches!(execute(1, Act::AddEdge { edge: edge("a") }).await, Executed::Done(_)));
    assert_eq!(execute(2, Act::AddEdge { edge: edge("a") }).await, Executed::Unchanged);
    let unknown = Rejection::UnknownEdge(edge("b"));
    assert_eq!(execute(3, Act::RemoveEdge { edge: edge("b") }).await, Executed::Rejected(unknown));
    assert_eq!(execute(4, quiet(1)).await, Executed::Rejected(Rejection::WrongAddress));
    assert_eq!(one.gate.bus().head().await.unwrap().seq, 1);
}

/// A replica whose fold is behind must not refuse by what is no longer so.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_decided_on_the_newest_state() {
    let ((mut server, _), folder) = (server().await, tempfile::tempdir().unwrap());
    server.take_for(Service::Propagator);
    let one = Replica::start(&server, 1, folder.path()).await;
    let mut late = Replica::open(&server, 2, folder.path()).await;
    let add = Act::AddEdge { edge: edge("a") };
    one.gate.execute(&Address::Installation, CommandId(1), &actor(), add).await.unwrap();
    assert_eq!(late.fold.head().watermark, 0);

    let gate = late.gate.clone();
    let remove = Act::RemoveEdge { edge: edge("a") };
    let asked =
        tokio::spawn(
            async move { gate.execute(&Address::Installation, CommandId(2), &actor(), remove).await },
        );
    late.follow();
    let done = asked.await.unwrap().unwrap();
    assert!(matches!(done, Executed::Done(done) if done.seq == 2), "{done:?}");
}

/// A replica that lost to others catches up before it tries again, however long that takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_lost_catches_up_before_it_tries_again() {
    let ((mut server, _), folder) = (server().await, tempfile::tempdir().unwrap());
    server.take_for(Service::Propagator);
    let one = Replica::start(&server, 1, folder.path()).await;
    let mut late = Replica::open(&server, 2, folder.path()).await;
    let add = |name: &str| Act::AddEdge { edge: edge(name) };
    one.gate.execute(&Address::Installation, CommandId(1), &actor(), add("a")).await.unwrap();

    let (gate, act) = (late.gate.clone(), add("b"));
    let asked =
        tokio::spawn(async move { gate.execute(&Address::Installation, CommandId(2), &actor(), act).await });
    tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    late.follow();
    let done = asked.await.unwrap().unwrap();
    assert!(matches!(done, Executed::Done(done) if done.seq == 2), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_keyring_decides_nothing() {
    let (server, _folder, one, _other) = two().await;
    server.publish_signed("kw.evt.acme.client-0", b"?").await;
    one.reaches(1).await;
    let refused = one.gate.execute(&keyring(0), CommandId(1), &actor(), quiet(1)).await;
    assert!(matches!(refused, Err(BusError::Frozen(_))), "{refused:?}");
    let done = one.gate.execute(&keyring(1), CommandId(1), &actor(), quiet(1)).await.unwrap();
    assert!(matches!(done, Executed::Done(_)), "the others go on");
}
