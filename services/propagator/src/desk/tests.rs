//! A desk on which much waits: it gives everything once, in order, and costs what it gives.

use super::*;
use keywheel_domain::event::{CommandId, EventId, IssueReason, Issued};
use keywheel_domain::key::Origin;
use keywheel_domain::{Actor, Digest, KeySpec, Policy};
use keywheel_wire::text::{Hex32, Id, Moment};
use std::time::{Duration, Instant};

fn issued(seq: u64) -> Recorded {
    let body = Issued {
        version: Version(1),
        kid: Kid::parse(&format!("{seq:010}")).unwrap(),
        digest: Digest([0; 32]),
        spec: KeySpec::default(),
        origin: Origin::Imported,
        reason: IssueReason::Issue,
        policy: Policy::default(),
        cancels: Vec::new(),
    };
    let event = Event {
        id: EventId(u128::from(seq)),
        address: Address::Keyring(KeyringId::parse(&format!("acme/c{seq}")).unwrap()),
        at: At(0),
        actor: Actor::service("test"),
        command: CommandId(u128::from(seq)),
        rotation: None,
        fact: Fact::KeyIssued(body),
    };
    Recorded { seq, event }
}

fn desk_of(count: u64) -> Desk {
    let mut desk = Desk::new(Span::secs(15));
    desk.set_roster([(EdgeId::parse("a").unwrap(), 1)].into(), 0);
    (1..=count).for_each(|seq| desk.take(&issued(seq), 0));
    desk
}

fn show(desk: &mut Desk, number: u64, watermark: u64) {
    let edge = EdgeId::parse("a").unwrap();
    let pulse = Pulse {
        id: "a".to_owned(),
        boot: Id(1),
        number,
        watermark,
        chain: Hex32([0; 32]),
        digest: Hex32([0; 32]),
        clock: Moment(At(0)),
        keys: 0,
        version: String::new(),
        lease_ms: 15_000,
        agrees: None,
    };
    desk.hear(&edge, &pulse, 1);
}

fn given(desk: &mut Desk) -> Vec<u64> {
    let seq = |effect| match effect {
        Effect::Activate { seq, .. } => seq,
        Effect::Deliver { .. } | Effect::Receipt { .. } | Effect::Withdraw { .. } | Effect::Settle { .. } => {
            panic!("{effect:?}")
        }
    };
    desk.step(1).into_iter().map(seq).collect()
}

#[test]
fn what_is_ready_is_given_once_and_in_order() {
    let mut desk = desk_of(3000);
    assert_eq!(given(&mut desk), [0; 0]);
    show(&mut desk, 1, 500);
    assert_eq!(given(&mut desk), (1..=500).collect::<Vec<_>>());
    assert_eq!(given(&mut desk), [0; 0], "given already");
    (1..=499).for_each(|seq| assert!(desk.done(seq).is_some()));
    desk.take(&issued(500), 0);
    assert_eq!(given(&mut desk), [0; 0], "it is in hand, also when it comes from the log again");
    desk.again(500);
    desk.take(&issued(3), 0);
    assert_eq!(
        given(&mut desk),
        [3, 500],
        "what was done may come again from the log, and what failed comes again"
    );

    show(&mut desk, 2, 3000);
    assert_eq!(given(&mut desk).len(), IN_HAND_MAX - 2);
    assert_eq!(given(&mut desk), [0; 0], "its hands are full");
    for seq in 1..=3000 {
        desk.done(seq);
    }
    assert_eq!(given(&mut desk).first(), Some(&(500 + 1 + IN_HAND_MAX as u64 - 2)));
}

#[test]
fn what_waits_costs_nothing() {
    let mut desk = desk_of(50_000);
    let began = Instant::now();
    (0..20_000).for_each(|_| assert_eq!(given(&mut desk), [0; 0]));
    assert!(began.elapsed() < Duration::from_secs(20), "looking at all of it each time takes minutes");
}

/// SAFETY 1, 2: a pulse that is stored while an old head may still be told is no reason to take the edge for stale.
#[test]
fn an_old_head_that_may_be_told_is_waited_for() {
    let mut fleet = crate::fleet::Fleet::new(Span::secs(15));
    let edge = EdgeId::parse("a").unwrap();
    let patience = fleet.patience();
    let silent = |fleet: &mut crate::fleet::Fleet, late: u64| {
        fleet.told_late(Span(late));
        fleet.is_silent(&edge, 100_000)
    };
    fleet.set_roster([(edge.clone(), 1)].into(), 0);
    // None stored, as was found first at 50 s and again later.
    fleet.find_stored(&edge, None, 50_000, 50_000);
    fleet.find_stored(&edge, None, 101_000, 101_000);
    assert!(silent(&mut fleet, 0) && !silent(&mut fleet, 3000));
    fleet.find_stored(&edge, None, 103_000, 103_000);
    assert!(silent(&mut fleet, 3000));
    assert_eq!(fleet.patience(), patience + 3000);
}
