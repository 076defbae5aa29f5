//! Rules 8, 9 and 10: what a receipt says, and what stands behind it.

use super::{E2, V1, cut_off, keyring, scene, use_at_e2};
use crate::commands::{Ask, STALE_MAX, class};
use crate::promises::Receipt;
use crate::world::{LEASE, World, Wrong};
use keywheel_domain::Version;
use keywheel_domain::command::Which;
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::Refusal;

fn revoke(world: &mut World) {
    world.order_key(&keyring(), Ask::Revoke(Which::One(V1)));
}

fn receipt(world: &mut World) -> Receipt {
    world.run_until("the receipt", |world| !world.promises.receipts.is_empty());
    world.promises.receipts[0].clone()
}

/// Shows the revoked key to e2 every second; says how often it was accepted.
fn go_on_showing(world: &mut World, version: Version, seconds: u64) -> u64 {
    let mut accepted = 0;
    for _ in 0..seconds {
        accepted += u64::from(use_at_e2(world, version) == Some(Ok(())));
        world.run(1000);
    }
    accepted
}

#[test]
fn rule_08_an_edge_that_missed_the_stricter_policy_is_bound_by_the_older_one() {
    let mut world = scene();
    cut_off(&mut world);
    let began = world.now;
    world.order_key(&keyring(), Ask::Policy(class(Class::Strict)));
    world.run(1000);
    revoke(&mut world);
    let receipt = receipt(&mut world);
    assert!(receipt.unreached[&world.edges[E2].id].0 > began + STALE_MAX.0 - LEASE.0);
    let accepted = go_on_showing(&mut world, V1, 90);
    assert!(accepted > 20, "e2 serves by the older policy, {accepted} times");
    assert_eq!(use_at_e2(&mut world, V1), Some(Err(Refusal::Stale)));
    world.assert_kept();
}

#[test]
fn rule_08_an_edge_may_have_applied_a_looser_policy_without_telling() {
    let mut world = scene();
    world.order_key(&keyring(), Ask::Policy(class(Class::Strict)));
    world.run(5000);
    world.edges[E2].gets_out = false;
    world.order_key(&keyring(), Ask::Policy(class(Class::Available)));
    world.run(1000);
    cut_off(&mut world);
    revoke(&mut world);
    receipt(&mut world);
    let accepted = go_on_showing(&mut world, V1, 90);
    assert!(accepted > 20, "e2 serves by the newer policy, {accepted} times");
    world.assert_kept();
}

#[test]
fn rule_08_a_strict_keyring_is_refused_after_one_lease() {
    let mut world = scene();
    world.order_key(&keyring(), Ask::Policy(class(Class::Strict)));
    world.run(5000);
    cut_off(&mut world);
    let began = world.now;
    revoke(&mut world);
    let receipt = receipt(&mut world);
    assert!(receipt.unreached[&world.edges[E2].id].0 <= began + LEASE.0 + 1500);
    go_on_showing(&mut world, V1, 40);
    world.assert_kept();
}

/// e2 is cut off and begins again on its own disk when most of its time is over.
fn restart_in_the_dark(reboots: bool) {
    let mut world = scene();
    world.run(5000);
    cut_off(&mut world);
    revoke(&mut world);
    let receipt = receipt(&mut world);
    assert!(receipt.unreached.contains_key(&world.edges[E2].id));
    let before = go_on_showing(&mut world, V1, 20);
    if reboots {
        let now = world.now;
        world.edges[E2].reboot(now);
    }
    world.restart_edge(E2);
    let after = go_on_showing(&mut world, V1, 90);
    assert!(before > 0 && after > 0, "{before} {after}");
    world.assert_kept();
}

#[test]
fn rule_09_a_restart_never_resets_the_instant_of_freshness() {
    restart_in_the_dark(false);
}

#[test]
fn rule_09_nor_does_a_restart_of_the_machine() {
    restart_in_the_dark(true);
}

#[test]
fn rule_09_an_old_disk_accepts_until_the_receipt_is_final_and_not_after() {
    let mut world = scene();
    world.run(5000);
    world.copy_disk(E2);
    revoke(&mut world);
    let receipt = receipt(&mut world);
    assert!(receipt.applied_on.contains(&world.edges[E2].id));
    cut_off(&mut world);
    world.restart_edge_on_copy(E2);
    assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())), "which is why the receipt says when it is final");
    world.leap(receipt.final_at.0 - world.now + 1000);
    assert_eq!(use_at_e2(&mut world, V1), Some(Err(Refusal::Stale)));
    world.assert_kept();
}

/// What was committed answers late.
fn revoke_where_rows_answer_late(wrong: Wrong) -> World {
    let mut world = scene();
    world.wrong = wrong;
    world.edges[E2].visible_lag = 8000;
    revoke(&mut world);
    go_on_showing(&mut world, V1, 20);
    assert!(!world.promises.receipts.is_empty());
    world
}

#[test]
fn rule_10_a_pulse_tells_nothing_that_does_not_answer_yet() {
    revoke_where_rows_answer_late(Wrong::Nothing).assert_kept();
    let world = revoke_where_rows_answer_late(Wrong::PulseTellsCommitted);
    assert!(world.promises.broken.is_some(), "the scene does not show what the rule is for");
}

/// The process is killed between the two halves of applying the revocation.
fn crash_between_the_halves(wrong: Wrong) -> World {
    let mut world = scene();
    world.run(3000);
    world.wrong = wrong;
    world.edges[E2].visible_lag = 8000;
    revoke(&mut world);
    world.run(4000);
    cut_off(&mut world);
    world.restart_edge(E2);
    go_on_showing(&mut world, V1, 20);
    world
}

#[test]
fn rule_10_a_pulse_tells_nothing_that_is_not_committed_yet() {
    crash_between_the_halves(Wrong::Nothing).assert_kept();
    let world = crash_between_the_halves(Wrong::AnswersBeforeCommit);
    assert!(world.promises.broken.is_some(), "the scene does not show what the rule is for");
}

#[test]
fn rule_10_a_process_that_was_stopped_looks_at_the_clock_before_it_answers() {
    let mut world = scene();
    world.order_key(&keyring(), Ask::Policy(class(Class::Strict)));
    world.run(5000);
    assert_eq!(use_at_e2(&mut world, V1), Some(Ok(())));
    world.edges[E2].paused_until = world.now + LEASE.0 + 3000;
    world.run(LEASE.0 + 2999);
    world.edges[E2].paused_until = world.now;
    assert_eq!(use_at_e2(&mut world, V1), Some(Err(Refusal::Stale)), "before anything else runs");
    world.assert_kept();
}
