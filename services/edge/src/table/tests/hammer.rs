//! The table under several threads: what a verification may see while rows, roster and watermark change.

use super::super::*;
use super::{CREATED, L, WALL_THEN, ask, code, head, log_at};
use crate::scene::EDGE;
use keywheel_domain::event::RotationId;
use keywheel_domain::key::Origin;
use keywheel_domain::{Key, KeySpec, KeyState, KeyringId, Version};
use keywheel_token::{Brand, mint};
use std::sync::atomic::AtomicBool;
use std::thread;

const READERS: usize = 3;
/// Addresses that change in one batch, each in a step of its own, in the order of their names: so many that
/// whoever reads has its turn in between also on a busy machine.
const IN_BATCH: usize = 1500;
const BATCHES: usize = 5;

/// Active keys, each on its own keyring.
struct Fleet {
    texts: Vec<String>,
    states: Vec<(Address, State)>,
}

impl Fleet {
    fn new(count: usize) -> Self {
        let (mut texts, mut states) = (Vec::new(), Vec::new());
        for n in 0..count {
            let fresh = mint(&Brand::default());
            let key = Key {
                kid: fresh.kid,
                digest: fresh.digest,
                spec: KeySpec::default(),
                origin: Origin::Minted,
                issued_at: At(0),
                rotation: RotationId(0),
                replaces: None,
                state: KeyState::Active,
                was_activated: true,
                seen: None,
                quiet: None,
            };
            let address = Address::Keyring(KeyringId::parse(&format!("t/c-{n:05}")).unwrap());
            texts.push(fresh.text.expose().to_owned());
            states.push((address, State { keys: [(Version(1), key)].into(), ..State::default() }));
        }
        Self { texts, states }
    }

    /// With these keys revoked, or without their being so any more.
    fn put(&self, keys: impl Iterator<Item = usize>, is_revoked: bool) -> BTreeMap<Address, State> {
        let state = || KeyState::Revoked { at: At(0), reason: "leaked".to_owned() };
        let change = |n: usize| {
            let (address, mut changed) = self.states[n].clone();
            let key = changed.keys.get_mut(&Version(1)).unwrap();
            key.state = if is_revoked { state() } else { KeyState::Active };
            (address, changed)
        };
        keys.map(change).collect()
    }

    fn all(&self) -> BTreeMap<Address, State> {
        self.states.iter().cloned().collect()
    }

    /// A table that knows them all at 5 and would be fresh for an edge on the roster.
    fn table(&self, is_on_roster: bool) -> Table {
        let clocks = Clocks { boot_ms: || 0, wall_ms: || WALL_THEN, machine_boot: "b1".to_owned() };
        let table = Table::new(EdgeId::parse(EDGE).unwrap(), L, clocks);
        let mut states = self.all();
        states.insert(Address::Installation, roster(is_on_roster));
        table.apply(&states, head(5), Some(CREATED));
        table.prove(table.instant(), 5, log_at(5)).unwrap();
        table
    }
}

fn roster(is_on: bool) -> State {
    let edges = is_on.then(|| (EdgeId::parse(EDGE).unwrap(), 1));
    State { edges: edges.into_iter().collect(), ..State::default() }
}

/// Runs `read` over and over on several threads while `write` works, and to its end.
fn beside(read: impl Fn() + Sync, write: impl FnOnce()) {
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while !is_done.load(Ordering::Acquire) {
                    read();
                }
            });
        }
        // Also when it panics: nobody would be waited for.
        let _done = Done(&is_done);
        write();
    });
}

/// SAFETY 10: what a pulse may say is never ahead of what answers.
#[test]
fn a_key_is_refused_by_whoever_sees_the_watermark_of_its_revocation() {
    let fleet = Fleet::new(IN_BATCH * BATCHES);
    let table = fleet.table(true);
    let read = || {
        let batches = table.status().head.watermark as usize - 5;
        if let Some(last) = (batches * IN_BATCH).checked_sub(1) {
            assert_eq!(code(&table, &fleet.texts[last]), "revoked", "after {batches} batches");
        }
    };
    beside(read, || {
        for batch in 0..BATCHES {
            let revoked = fleet.put(batch * IN_BATCH..(batch + 1) * IN_BATCH, true);
            table.apply(&revoked, head(6 + batch as u64), None);
        }
    });
}

/// SAFETY 2: an edge that a batch adds does not serve before that batch's revocations answer.
#[test]
fn an_edge_does_not_serve_before_all_that_its_adding_came_with_answers() {
    let fleet = Fleet::new(IN_BATCH * BATCHES);
    let table = fleet.table(false);
    let current = AtomicU64::new(0);
    let read = || {
        let batch = current.load(Ordering::Acquire) as usize;
        let said = code(&table, &fleet.texts[(batch + 1) * IN_BATCH - 1]);
        assert!(said == "not_ready" || said == "revoked", "a key of batch {batch} is {said}");
    };
    beside(read, || {
        for batch in 0..BATCHES {
            current.store(batch as u64, Ordering::Release);
            let mut changed = fleet.put(batch * IN_BATCH..(batch + 1) * IN_BATCH, true);
            changed.insert(Address::Installation, roster(true));
            table.apply(&changed, head(6 + 2 * batch as u64), None);
            let gone = [(Address::Installation, roster(false))].into();
            table.apply(&gone, head(7 + 2 * batch as u64), None);
        }
    });
}

/// A scrub compares what answers with what was committed at a head, also in the middle of a batch.
#[test]
fn a_batch_that_is_half_applied_does_not_disagree_with_what_is_committed() {
    let fleet = Fleet::new(8);
    let table = fleet.table(true);
    let (active, revoked) = (fleet.put(0..8, false), fleet.put(0..8, true));
    let read = || {
        let now = table.status().head;
        let committed = if now.watermark % 2 == 1 { &active } else { &revoked };
        for (address, state) in committed {
            assert!(table.agrees(now, address, state), "at {}", now.watermark);
        }
    };
    beside(read, || {
        for round in 0..2000 {
            table.apply(if round % 2 == 0 { &revoked } else { &active }, head(6 + round), None);
        }
    });
}

#[test]
fn what_was_accepted_when_it_closed_is_counted_and_nothing_after() {
    for _ in 0..20 {
        let fleet = Fleet::new(20);
        let table = fleet.table(true);
        let (accepted, is_closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut uses = 0;
        let read = || {
            for text in &fleet.texts {
                let was_closed = is_closed.load(Ordering::Acquire);
                if ask(&table, text, false).outcome.is_ok() {
                    accepted.fetch_add(1, Ordering::AcqRel);
                    assert!(!was_closed, "accepted after it was closed");
                }
            }
        };
        beside(read, || {
            while accepted.load(Ordering::Acquire) < 500 {
                thread::yield_now();
            }
            table.close();
            is_closed.store(true, Ordering::Release);
            uses = taken(&table);
        });
        assert_eq!(uses, accepted.into_inner());
    }
}

#[test]
fn uses_are_neither_lost_nor_doubled_while_the_table_is_replaced() {
    let fleet = Fleet::new(50);
    let table = fleet.table(true);
    let (accepted, mut uses) = (AtomicU64::new(0), 0);
    let read = || {
        for text in &fleet.texts {
            assert!(ask(&table, text, false).outcome.is_ok());
            accepted.fetch_add(1, Ordering::AcqRel);
        }
    };
    beside(read, || {
        for round in 0..200 {
            let mut answers = Answers::default();
            let states = fleet.all().into_iter().chain([(Address::Installation, roster(true))]);
            states.for_each(|(address, state)| answers.update(&address, &state));
            table.replace(answers, head(6 + round), None);
            if round % 3 == 0 {
                uses += taken(&table);
            }
        }
    });
    assert_eq!(uses + taken(&table), accepted.into_inner());
}

fn taken(table: &Table) -> u64 {
    let mut uses = 0;
    loop {
        let taken = table.take_uses(7);
        uses += taken.uses.iter().map(|each| each.uses).sum::<u64>();
        if taken.is_all {
            return uses;
        }
    }
}
