//! One scene for each trace of SAFETY's table: what the rule keeps from happening. Each is played in the
//! same world as the random runs, but for chance, and fails when the rule is taken out.

mod barrier;
mod ending;
mod quiet;
mod receipt;

use crate::commands::{Ask, short};
use crate::world::{Who, World};
use keywheel_domain::policy::PolicyChange;
use keywheel_domain::verdict::{Freshness, Refusal};
use keywheel_domain::{Address, Key, KeyState, KeyringId, Version};

const V1: Version = Version(1);
const V2: Version = Version(2);
const V3: Version = Version(3);
/// The one client.
const CLIENT: usize = 0;
/// The edge that has the trouble; the other one is well.
const WELL: usize = 0;
const E2: usize = 1;
const PROPAGATOR: usize = 0;

fn keyring() -> KeyringId {
    KeyringId::parse("t/a").unwrap()
}

/// Two edges and one of each service; the client holds version 1, and uses it.
fn scene() -> World {
    let mut world = World::new(1, 1);
    world.order(World::tenant(), Ask::Policy(short()));
    world.join("e1");
    world.join("e2");
    world.run(3000);
    world.add_client("t/a");
    world.order_key(&keyring(), Ask::Issue { client: CLIENT, expires_in: None });
    world.run_until("v1 is in use", |world| key(world, V1).is_some_and(|key| key.seen.is_some()));
    world
}

fn key(world: &World, version: Version) -> Option<Key> {
    world.log.now(&Address::Keyring(keyring())).keys.get(&version).cloned()
}

fn state(world: &World, version: Version) -> KeyState {
    key(world, version).expect("it was issued").state
}

fn rotate(world: &mut World) {
    let ask = Ask::Rotate { client: CLIENT, supersedes: Vec::new(), change: PolicyChange::default() };
    world.order_key(&keyring(), ask);
}

fn is_delivered(world: &World, version: Version) -> bool {
    world.bus.delivered.contains_key(&(keyring(), version))
}

fn wait_for_delivery(world: &mut World, version: Version) {
    world.run_until("it is delivered", |world| is_delivered(world, version));
}

/// Rotates; the client moves to version 2 and uses it at the edge that is well.
fn rotate_and_move(world: &mut World) {
    world.clients[CLIENT].edge = Some(WELL);
    rotate(world);
    world.run_until("v2 is in use", |world| key(world, V2).is_some_and(|key| key.seen.is_some()));
}

/// Someone shows a version to the edge that has the trouble.
fn use_at_e2(world: &mut World, version: Version) -> Option<Result<(), Refusal>> {
    world.ask(E2, &keyring(), version, false)
}

fn cut_off(world: &mut World) {
    (world.edges[E2].gets_out, world.edges[E2].gets_in) = (false, false);
}

/// Whether e2 counts as fresh by itself.
fn is_fresh(world: &mut World) -> bool {
    let process = world.edges[E2].running(world.now);
    process.is_some_and(|process| process.table.status().freshness == Freshness::Fresh)
}

/// Where the keyring's newest event stands.
fn position(world: &World) -> u64 {
    world.log.last_of(&Address::Keyring(keyring()), world.log.head())
}

fn restart_propagator(world: &mut World) {
    world.restart(Who::Propagator(PROPAGATOR));
}
