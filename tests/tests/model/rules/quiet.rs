//! Rules 3, 4 and 5: when a version counts as unused, and who has to have moved on before it retires.

use super::{
    CLIENT, E2, V1, V2, WELL, cut_off, is_delivered, keyring, rotate, rotate_and_move, scene, state,
    use_at_e2,
};
use crate::bus::Queued;
use crate::commands::{Ask, QUIET, STALE_MAX, class};
use crate::world::{LEASE, Who, World};
use keywheel_domain::policy::Class;
use keywheel_domain::{Address, KeyState};
use keywheel_usage_tracker::ledger::summed;

fn is_retired(world: &World) -> bool {
    matches!(state(world, V1), KeyState::Retired { .. })
}

/// Somebody uses version 1 at e2 every second, for as long as e2 lets him.
fn go_on_using_v1(world: &mut World, seconds: u64) -> u64 {
    let mut accepted = 0;
    for _ in 0..seconds {
        if use_at_e2(world, V1) == Some(Ok(())) {
            accepted += 1;
        }
        world.run(1000);
    }
    accepted
}

/// e2 is cut off, and serves version 1 for as long as its class allows.
fn cut_off_while_it_serves(horizon: u64) {
    let mut world = scene();
    rotate_and_move(&mut world);
    cut_off(&mut world);
    let accepted = go_on_using_v1(&mut world, (horizon + QUIET.0) / 1000);
    world.assert_kept();
    assert!(accepted * 1000 > horizon / 2 && !is_retired(&world), "{accepted} uses");
    world.run_until("v1 is quiet", is_retired);
    world.assert_kept();
}

#[test]
fn rule_03_an_edge_that_is_cut_off_blocks_the_proof_until_it_can_serve_no_more() {
    cut_off_while_it_serves(STALE_MAX.0);
}

#[test]
fn rule_03_for_a_strict_keyring_that_is_one_lease() {
    let mut world = scene();
    world.order_key(&keyring(), Ask::Policy(class(Class::Strict)));
    world.run(5000);
    rotate_and_move(&mut world);
    cut_off(&mut world);
    let began = world.now;
    go_on_using_v1(&mut world, LEASE.0 / 1000 + 5);
    world.run_until("v1 is quiet", is_retired);
    world.assert_kept();
    assert!(world.now - began < STALE_MAX.0, "nobody waits for the horizon of an available keyring");
}

#[test]
fn rule_03_a_removed_edge_is_no_reason_to_forget_what_it_served() {
    let mut world = scene();
    rotate_and_move(&mut world);
    cut_off(&mut world);
    go_on_using_v1(&mut world, 20);
    let id = world.edges[E2].id.clone();
    world.edges[E2].is_banned = true;
    world.order(Address::Installation, Ask::RemoveEdge(id));
    go_on_using_v1(&mut world, LEASE.0 / 1000 + 5);
    world.run_until("v1 is quiet", is_retired);
    world.assert_kept();
}

/// Version 2 is in use, version 1 was not used for long, and nothing of that was proved yet.
fn unproved() -> World {
    let mut world = scene();
    rotate_and_move(&mut world);
    world.tracker.service.is_cut = true;
    world.run(30_000);
    world
}

fn prove_at_last(mut world: World) {
    world.heal(Who::Tracker);
    world.run_until("v1 is quiet", is_retired);
    world.assert_kept();
}

#[test]
fn rule_04_a_crash_that_loses_a_count_begins_the_coverage_anew() {
    let mut world = unproved();
    world.run(500);
    assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
    world.restart_edge(E2);
    world.run(5000);
    prove_at_last(world);
}

#[test]
fn rule_04_a_report_that_is_missing_begins_the_coverage_anew() {
    let mut world = unproved();
    assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
    world.run(5000);
    let before = world.bus.usage.len();
    world.bus.usage.retain(|queued| !queued.report.uses.iter().any(|used| used.version == V1.0));
    assert_eq!(world.bus.usage.len() + 1, before);
    prove_at_last(world);
}

/// A report is cut, then version 1 is used, and only then the report is stored.
#[test]
fn rule_04_a_report_covers_no_more_than_the_storing_of_the_one_before() {
    let mut world = unproved();
    world.run(700);
    world.edges[E2].report_lag = 20_000;
    let is_out = |world: &World| world.edges[E2].process.as_ref().is_some_and(|own| own.reporting.is_some());
    world.run_until("a report is on its way", is_out);
    assert_eq!(world.ask(WELL, &keyring(), V1, false), Some(Ok(())), "nothing is quiet before this");
    world.run(10_000);
    assert!(is_out(&world));
    assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
    prove_at_last(world);
}

#[test]
fn rule_04_a_use_counts_as_seen_when_its_report_was_stored() {
    for offset in (0..2000).step_by(250) {
        let mut world = unproved();
        // Its reports do not come at the same moments as those of e2.
        world.edges[WELL].paused_until = world.now + 2400;
        world.run(5000 + offset);
        assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
        world.run(QUIET.0);
        prove_at_last(world);
    }
}

#[test]
fn rule_04_a_report_counts_once_however_often_it_comes() {
    let mut world = unproved();
    for _ in 0..3 {
        assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
        world.run(3000);
    }
    let stored_at = keywheel_domain::At(world.now);
    let again = |queued: &Queued| {
        let (edge, report) = (queued.edge.clone(), queued.report.clone());
        Queued { edge, report, stored_at, next_at: queued.next_at }
    };
    let doubled: Vec<Queued> = world.bus.usage.iter().map(again).collect();
    world.bus.usage.extend(doubled);
    world.heal(Who::Tracker);
    world.clients[CLIENT].is_idle = true;
    world.run(10_000);
    let counted = summed(&world.tracker.ledger.uses(&keyring()).unwrap());
    for version in [V1, V2] {
        assert_eq!(counted[&version].uses, world.true_uses(&keyring(), version), "{version}");
    }
}

#[test]
fn rule_04_a_goodbye_joins_two_processes_and_a_lost_one_does_not() {
    let mut world = scene();
    rotate_and_move(&mut world);
    for _ in 0..6 {
        use_at_e2(&mut world, V1);
        world.end_edge(E2);
        world.run(4000);
        world.start_edge(E2);
        world.run(2500);
        use_at_e2(&mut world, V1);
        world.restart_edge(E2);
        world.run(2500);
    }
    assert!(world.counts.contains_key("goodbyes"));
    prove_at_last(world);
}

#[test]
fn rule_05_an_idle_client_that_never_fetched_the_new_key_keeps_the_old_one() {
    let mut world = scene();
    (world.clients[CLIENT].fetches, world.clients[CLIENT].is_idle) = (false, true);
    rotate(&mut world);
    world.run(150_000);
    world.assert_kept();
    assert!(is_delivered(&world, V2) && !is_retired(&world), "held past its deadline");
    (world.clients[CLIENT].fetches, world.clients[CLIENT].is_idle) = (true, false);
    world.clients[CLIENT].edge = Some(WELL);
    world.fetch(CLIENT);
    world.run_until("v1 is quiet", is_retired);
    world.assert_kept();
}
