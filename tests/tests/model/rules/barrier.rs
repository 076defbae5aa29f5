//! Rules 1, 2 and 13: when a key may be handed out, and what its activation supersedes.

use super::{
    CLIENT, E2, PROPAGATOR, V1, V2, V3, cut_off, is_delivered, is_fresh, keyring, restart_propagator, rotate,
    scene, state, use_at_e2, wait_for_delivery,
};
use crate::commands::Ask;
use crate::gate::Task;
use crate::world::{LEASE, Who, World, Wrong};
use keywheel_domain::event::{Barrier, CommandId};
use keywheel_domain::key::Cause;
use keywheel_domain::verdict::Refusal;
use keywheel_domain::{Act, Address, Fact, KeyState};

/// Rotates while edge e2 cannot apply what comes; it must never say a definite no to the new key.
fn rotate_beside_a_lagging_edge(trouble: impl Fn(&mut World)) {
    let mut world = scene();
    trouble(&mut world);
    let began = world.now;
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.assert_kept();
    assert!(world.now - began >= LEASE.0, "handed out while e2 may be fresh");
    world.run(3 * LEASE.0);
    world.assert_kept();
    assert_eq!(use_at_e2(&mut world, V2), Some(Err(Refusal::Stale)));
}

#[test]
fn rule_01_the_pulse_gets_out_and_the_consumer_is_stalled() {
    rotate_beside_a_lagging_edge(|world| world.edges[E2].is_stalled = true);
}

#[test]
fn rule_01_the_pulse_gets_out_and_nothing_comes_in() {
    rotate_beside_a_lagging_edge(|world| world.edges[E2].gets_in = false);
}

#[test]
fn rule_01_what_comes_in_is_applied_and_no_pulse_gets_out() {
    let mut world = scene();
    world.edges[E2].gets_out = false;
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(2 * LEASE.0);
    world.assert_kept();
    assert_eq!(use_at_e2(&mut world, V2), Some(Ok(())), "it knows the key, and is stale");
}

#[test]
fn rule_01_an_edge_that_begins_is_not_fresh_before_a_handshake_of_its_own() {
    let mut world = scene();
    world.crash_edge(E2);
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    cut_off(&mut world);
    world.start_edge(E2);
    world.run(2 * LEASE.0);
    world.assert_kept();
    assert_eq!(use_at_e2(&mut world, V2), Some(Err(Refusal::Stale)));
}

/// e2 hung for more than a lease, so that it counts as silent. Its next handshake is slow, and the key is
/// issued in the midst of it.
fn issue_in_the_midst_of_a_handshake(wrong: Wrong) -> World {
    let mut world = scene();
    world.wrong = wrong;
    world.edges[E2].paused_until = world.now + 2 * LEASE.0;
    world.run(2 * LEASE.0 - 1);
    world.edges[E2].pulse_lag = 2000;
    world.edges[E2].is_stalled = true;
    world.run(100);
    rotate(&mut world);
    world.run(20);
    world.read_back(PROPAGATOR);
    wait_for_delivery(&mut world, V2);
    world.run(2 * LEASE.0);
    world
}

#[test]
fn rule_01_only_a_head_that_is_read_after_the_pulse_was_stored_proves_anything() {
    issue_in_the_midst_of_a_handshake(Wrong::Nothing).assert_kept();
    let world = issue_in_the_midst_of_a_handshake(Wrong::HeadBeforePulse);
    assert!(world.promises.broken.is_some(), "the scene does not show what the order is for");
}

#[test]
fn rule_02_a_propagator_that_begins_anew_waits_for_a_whole_lease() {
    let mut world = scene();
    world.edges[E2].is_stalled = true;
    world.propagators[PROPAGATOR].reads = false;
    rotate(&mut world);
    world.run(2000);
    restart_propagator(&mut world);
    world.propagators[PROPAGATOR].hears = false;
    let began = world.now;
    wait_for_delivery(&mut world, V2);
    world.assert_kept();
    assert!(world.now - began >= LEASE.0, "its clock begins with it");
}

/// The propagator does not hear the pulses of e2 any more.
fn deafen(world: &mut World) {
    let only_of = Some(world.edges[E2].id.clone());
    let propagator = &mut world.propagators[PROPAGATOR];
    (propagator.hears, propagator.only_of) = (false, only_of);
}

#[test]
fn rule_02_a_silence_that_was_seen_before_the_event_says_nothing() {
    let mut world = scene();
    cut_off(&mut world);
    world.run(2 * LEASE.0);
    deafen(&mut world);
    world.propagators[PROPAGATOR].reads = false;
    world.heal(Who::Edge(E2));
    world.run(10_000);
    assert!(is_fresh(&mut world), "it is back, and the propagator has not heard of it");
    world.edges[E2].is_stalled = true;
    rotate(&mut world);
    world.run(3 * LEASE.0);
    assert!(is_delivered(&world, V2));
    world.assert_kept();
}

#[test]
fn rule_02_nor_does_a_reading_that_began_before_the_event_and_ended_after_it() {
    let mut world = scene();
    cut_off(&mut world);
    world.run(2 * LEASE.0);
    deafen(&mut world);
    world.propagators[PROPAGATOR].read_lag = 11_000;
    world.run(6000);
    (world.edges[E2].gets_in, world.edges[E2].gets_out) = (true, true);
    world.run(9000);
    assert!(is_fresh(&mut world));
    world.edges[E2].is_stalled = true;
    rotate(&mut world);
    world.run(3 * LEASE.0);
    assert!(is_delivered(&world, V2));
    world.assert_kept();
}

#[test]
fn rule_02_an_edge_that_is_silent_is_not_waited_for() {
    let mut world = scene();
    cut_off(&mut world);
    world.run(2 * LEASE.0);
    let began = world.now;
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(LEASE.0);
    world.assert_kept();
    assert!(world.bus.delivered[&(keyring(), V2)] - began < LEASE.0 / 2);
}

#[test]
fn rule_02_pulses_that_the_bus_has_lost_are_no_silence() {
    let mut world = scene();
    world.edges[E2].gets_out = false;
    world.edges[E2].is_stalled = true;
    world.bus.forget_pulses(world.now);
    restart_propagator(&mut world);
    world.run(1000);
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(LEASE.0);
    world.assert_kept();
}

#[test]
fn rule_02_a_removed_edge_counts_for_one_lease_more() {
    let mut world = scene();
    let id = world.edges[E2].id.clone();
    world.edges[E2].is_banned = true;
    world.order(Address::Installation, Ask::RemoveEdge(id.clone()));
    world.run(500);
    assert!(!world.log.now(&Address::Installation).edges.contains_key(&id));
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(LEASE.0);
    world.assert_kept();
}

#[test]
fn rule_02_a_propagator_that_begins_anew_still_counts_a_removed_edge() {
    let mut world = scene();
    let id = world.edges[E2].id.clone();
    world.edges[E2].is_banned = true;
    world.order(Address::Installation, Ask::RemoveEdge(id));
    world.run(500);
    restart_propagator(&mut world);
    world.run(500);
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(LEASE.0);
    world.assert_kept();
}

#[test]
fn rule_02_an_edge_serves_nobody_before_its_own_addition_is_applied() {
    let mut world = scene();
    let e3 = world.build_edge("e3");
    world.start_edge(e3);
    world.run(5000);
    world.edges[e3].is_stalled = true;
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    world.run(1000);
    let id = world.edges[e3].id.clone();
    world.order(Address::Installation, Ask::AddEdge(id));
    world.run(LEASE.0);
    world.assert_kept();
    assert_eq!(world.ask(e3, &keyring(), V2, true), Some(Err(Refusal::NotReady)));
}

/// Passes the barrier by hand.
fn activate(world: &mut World, version: keywheel_domain::Version) {
    let by_hand = Some("a scene".to_owned());
    let barrier = Barrier { position: world.log.head(), edges: Vec::new(), passed_over: Vec::new(), by_hand };
    let (who, id) = (Who::Propagator(PROPAGATOR), CommandId(world.fresh_id()));
    let act = Act::Activate { version, barrier };
    let life = world.life(who);
    world.decide(Task { who, life, address: Address::Keyring(keyring()), id, act, settles: None });
}

#[test]
fn rule_13_a_late_activation_never_supersedes_a_newer_version() {
    let mut world = scene();
    world.crash_edge(E2);
    rotate(&mut world);
    world.run(100);
    let other = world.add_client("t/a");
    world.order_key(&keyring(), Ask::Issue { client: other, expires_in: None });
    world.run(100);
    activate(&mut world, V3);
    world.run(10);
    assert_eq!((state(&world, V2), state(&world, V3)), (KeyState::Issued, KeyState::Active));
    wait_for_delivery(&mut world, V2);
    assert_eq!((state(&world, V2), state(&world, V3)), (KeyState::Active, KeyState::Active));
    assert!(matches!(state(&world, V1), KeyState::Retiring(_)));
    world.assert_kept();
}

#[test]
fn rule_13_a_rotation_cancels_the_one_that_is_pending() {
    let mut world = scene();
    world.edges[E2].is_stalled = true;
    rotate(&mut world);
    world.run(100);
    rotate(&mut world);
    wait_for_delivery(&mut world, V3);
    world.run(3 * LEASE.0);
    let cancelled = matches!(state(&world, V2), KeyState::Retired { cause: Cause::Cancelled, .. });
    assert!(cancelled && !is_delivered(&world, V2), "{:?}", state(&world, V2));
    let mut activated = world.log.between(0, world.log.head()).into_iter().filter_map(|recorded| {
        if let Fact::KeyActivated(activated) = recorded.event.fact { Some(activated) } else { None }
    });
    let last = activated.next_back().unwrap();
    assert_eq!((last.version, last.supersedes), (V3, vec![V1]));
    assert_eq!(world.clients[CLIENT].held, Some(V3));
    world.assert_kept();
}
