//! Random runs, each to be had again by its seed.

use crate::world::World;
use keywheel_domain::verdict::Freshness;
use keywheel_domain::{Address, Fact, KeyState};
use std::collections::BTreeMap;

const RUNS: u64 = 24;
const SEED: u64 = 20_261_123;
/// How long one run's storm lasts, in the world's time.
const STORM: u64 = 420_000;
const AFTERMATH: u64 = 150_000;

/// What has to come up in any number of runs, or they show nothing.
const EXPECTED: [&str; 9] = [
    "deliveries",
    "receipts",
    "quiet retirements",
    "RolledBack",
    "EdgeRemoved",
    "conflicts",
    "goodbyes",
    "served while stale",
    "handshakes",
];

#[test]
fn the_promises_hold_whatever_happens() {
    let (runs, first) = (setting("KEYWHEEL_MODEL_RUNS", RUNS), setting("KEYWHEEL_MODEL_SEED", SEED));
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in first..first + runs {
        let world = live_through(seed);
        for (what, count) in &world.counts {
            *counts.entry(what).or_default() += count;
        }
    }
    println!("{runs} runs from seed {first}: {counts:?}");
    if runs >= RUNS {
        for what in EXPECTED {
            assert!(counts.contains_key(what), "no run showed any {what}: {counts:?}");
        }
    }
}

fn live_through(seed: u64) -> World {
    let mut world = World::stormy(seed);
    world.run(STORM);
    world.calm_down();
    world.run(AFTERMATH);
    assert!(world.promises.broken.is_none(), "seed {seed}: {}\n{}", broken(&world), world.story());
    assert_all_is_well(&mut world, seed);
    world
}

fn broken(world: &World) -> &str {
    world.promises.broken.as_deref().unwrap_or_default()
}

/// Once the storm is over, everything that was begun comes to its end.
fn assert_all_is_well(world: &mut World, seed: u64) {
    let now = world.now;
    let roster = world.log.now(&Address::Installation);
    for edge in &mut world.edges {
        let (id, is_on) = (edge.id.clone(), roster.edges.contains_key(&edge.id) && !edge.is_banned);
        let freshness = edge.running(now).map(|process| process.table.status().freshness);
        assert!(!is_on || freshness == Some(Freshness::Fresh), "seed {seed}: {id} is {freshness:?}");
    }
    for keyring in world.keyrings() {
        let state = world.log.now(&Address::Keyring(keyring.clone()));
        for (version, key) in &state.keys {
            let is_stuck = key.state == KeyState::Issued && key.spec.expires_at.is_none();
            assert!(!is_stuck, "seed {seed}: {keyring} {version} is still pending\n{}", world.story());
        }
        for (version, seen) in
            keywheel_usage_tracker::ledger::summed(&world.tracker.ledger.uses(&keyring).unwrap())
        {
            let truly = world.true_uses(&keyring, version);
            assert!(seen.uses <= truly, "seed {seed}: {keyring} {version}: {} of {truly} uses", seen.uses);
        }
    }
    for recorded in world.log.between(0, world.log.head()) {
        let wants_receipt = matches!(recorded.event.fact, Fact::KeyRetired(_) | Fact::RolledBack(_));
        let has_one = world.promises.receipts.iter().any(|receipt| receipt.seq == recorded.seq);
        assert!(!wants_receipt || has_one, "seed {seed}: no receipt for {}\n{}", recorded.seq, world.story());
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is told by the environment how long to go on")]
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}
