//! Rules 6, 14 and 15: how versions end, and how they come back.

use super::{
    CLIENT, E2, V1, V2, V3, cut_off, key, keyring, position, rotate, rotate_and_move, scene, state,
    use_at_e2, wait_for_delivery,
};
use crate::commands::Ask;
use crate::gate::Task;
use crate::world::{LEASE, Who, World};
use keywheel_domain::command::Retirement;
use keywheel_domain::event::CommandId;
use keywheel_domain::verdict::Refusal;
use keywheel_domain::{Act, Address, KeyState};

fn roll_back(world: &mut World, to_seq: u64, revoke_new: bool) {
    world.order_key(&keyring(), Ask::Rollback { to_seq, revoke_new });
    world.run(500);
}

#[test]
fn rule_06_a_rollback_leaves_the_newer_key_to_those_who_hold_it() {
    let mut world = scene();
    let before = position(&world);
    rotate_and_move(&mut world);
    roll_back(&mut world, before, false);
    assert_eq!(state(&world, V1), KeyState::Active);
    assert!(matches!(state(&world, V2), KeyState::Retiring(_)));
    world.run(150_000);
    world.assert_kept();
    assert_eq!(world.clients[CLIENT].held, Some(V2));
    assert!(state(&world, V2).is_accepted(), "nothing newer is in use");
}

#[test]
fn rule_06_a_version_that_was_never_activated_is_cancelled() {
    let mut world = scene();
    let before = position(&world);
    world.edges[E2].is_stalled = true;
    rotate(&mut world);
    world.run(500);
    assert_eq!(state(&world, V2), KeyState::Issued);
    roll_back(&mut world, before, false);
    world.run(2 * LEASE.0);
    assert!(matches!(state(&world, V2), KeyState::Retired { .. }));
    assert_eq!(state(&world, V1), KeyState::Active);
    world.assert_kept();
}

#[test]
fn rule_06_a_version_whose_secret_nobody_had_is_not_revived() {
    let mut world = scene();
    (world.clients[CLIENT].fetches, world.clients[CLIENT].is_idle) = (false, true);
    rotate(&mut world);
    wait_for_delivery(&mut world, V2);
    let while_v2_was_active = position(&world);
    rotate(&mut world);
    wait_for_delivery(&mut world, V3);
    world.order_key(&keyring(), Ask::Retire(V2));
    world.run(500);
    assert!(key(&world, V2).is_some_and(|key| key.seen.is_none() && !key.state.is_accepted()));
    roll_back(&mut world, while_v2_was_active, false);
    assert!(!state(&world, V2).is_accepted(), "{:?}", state(&world, V2));
    assert_eq!(state(&world, V3), KeyState::Active, "there was nothing to restore");
    world.assert_kept();
}

#[test]
fn rule_14_the_last_accepted_version_is_not_retired_even_in_a_race() {
    let mut world = scene();
    let before = position(&world);
    rotate_and_move(&mut world);
    let who = Who::Retirer(0);
    world.service_mut(who).paused_until = world.now + 10_000;
    roll_back(&mut world, before, true);
    assert!(matches!(state(&world, V2), KeyState::Revoked { .. }));
    // Decided on what held before the rollback.
    let (id, life) = (CommandId(world.fresh_id()), world.life(who));
    let act = Act::Retire { version: V1, why: Retirement::Requested };
    world.decide(Task { who, life, address: Address::Keyring(keyring()), id, act, settles: None });
    world.run(1000);
    world.assert_kept();
    assert_eq!(state(&world, V1), KeyState::Active);
    assert!(world.counts["conflicts"] > 0 && world.counts["rejections"] == 1, "decided anew and refused");
}

#[test]
fn rule_15_a_stale_edge_cannot_tell_whether_a_retired_key_was_revived() {
    let mut world = scene();
    let before = position(&world);
    rotate_and_move(&mut world);
    let is_retired = |world: &World| matches!(state(world, V1), KeyState::Retired { .. });
    world.run_until("v1 retires", is_retired);
    world.run(3000);
    assert_eq!(use_at_e2(&mut world, V1), Some(Err(Refusal::Retired)), "while it is fresh");
    cut_off(&mut world);
    world.promises.receipts.clear();
    roll_back(&mut world, before, false);
    assert_eq!(state(&world, V1), KeyState::Active);
    world.run_until("the rollback is effective", |world| !world.promises.receipts.is_empty());
    world.run(LEASE.0);
    world.assert_kept();
    assert_eq!(use_at_e2(&mut world, V1), Some(Err(Refusal::Stale)));
}
