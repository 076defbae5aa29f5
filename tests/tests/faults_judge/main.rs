//! The judge of the fault campaign: legal ledgers, made by a small fleet of plain functions, are clean; each kind of
//! broken promise, put into one of them, is found.
#![allow(clippy::unwrap_used)]

mod broken;
mod broken_answers;
mod broken_log;
mod world;
mod world_edge;

use broken::{Broken, KINDS};
use keywheel_tests::faults::check::{Promise, judge};
use keywheel_tests::faults::ledger::Entry;
use keywheel_tests::hostile::chance::Chance;
use std::time::Instant;
use world::World;

/// Each seed is another fleet with another fate.
const SEEDS: u64 = 16;
/// In so many of them each kind is tried, as soon as it finds a place.
const PLACES: u64 = 3;

fn ledgers() -> impl Iterator<Item = (u64, Vec<Entry>)> {
    (0..SEEDS).map(|seed| (seed, World::run(seed)))
}

fn shuffled(mut entries: Vec<Entry>, chance: &mut Chance) -> Vec<Entry> {
    for at in (1..entries.len()).rev() {
        entries.swap(at, chance.index(at + 1));
    }
    entries
}

#[test]
fn a_legal_ledger_is_clean_in_any_order() {
    let mut tried = std::collections::BTreeSet::new();
    for (seed, entries) in ledgers() {
        let report = judge(&shuffled(entries, &mut Chance::new(seed)));
        assert!(report.is_clean(), "seed {seed}\n{report}");
        let is_tried = |promise: &Promise| !report.untried().contains(promise);
        tried.extend(Promise::ALL.iter().copied().filter(is_tried));
        if seed == 0 {
            println!("{report}");
        }
    }
    assert_eq!(tried.len(), Promise::ALL.len(), "tried: {tried:?}");
}

#[test]
fn every_kind_of_broken_promise_is_found() {
    let mut places = vec![0; KINDS.len()];
    for (seed, entries) in ledgers() {
        let open = KINDS.iter().zip(&mut places).filter(|(_, places)| **places < PLACES);
        for ((name, promise, breaks), places) in open {
            let mut chance = Chance::new(seed);
            let mut broken = Broken::new(entries.clone(), &mut chance);
            if breaks(&mut broken).is_none() {
                continue;
            }
            *places += 1;
            let report = judge(&shuffled(broken.entries, &mut chance));
            assert!(report.violations(*promise) > 0, "{name} with seed {seed} is not found as {promise:?}");
        }
        if places.iter().all(|places| *places == PLACES) {
            return;
        }
    }
    let missed = KINDS.iter().zip(places).filter(|(_, places)| *places < PLACES);
    let missed: Vec<_> = missed.map(|((name, ..), places)| (name, places)).collect();
    panic!("too few places in {SEEDS} ledgers: {missed:?}");
}

#[test]
fn a_report_says_what_was_tried_and_shows_what_broke() {
    let (_, mut entries) = ledgers().next().unwrap();
    let clean = judge(&entries);
    let known = clean.checks.get(&Promise::Known).unwrap();
    let text = clean.to_string();
    assert!(text.contains(&format!("below 3/{}", known.trials)), "{text}");
    entries.push(Entry::Leak { place: "a log: acme/web v1".to_owned() });
    let broken = judge(&entries);
    assert!(broken.to_string().contains("a log: acme/web v1") && !broken.is_clean(), "{broken}");
    let json = serde_json::to_value(&broken).unwrap();
    assert_eq!(json["checks"]["secret"]["shown"][0]["entries"][0]["place"], "a log: acme/web v1");
}

#[test]
#[ignore = "a measurement: a million requests"]
fn a_million_requests() {
    let entries = World::run(1);
    let is_request = |entry: &&Entry| matches!(entry, Entry::Request { .. });
    let requests: Vec<Entry> = entries.iter().filter(is_request).cloned().collect();
    let mut all = entries;
    while all.len() < 1_000_000 {
        all.extend(requests.iter().cloned());
    }
    let begun = Instant::now();
    let report = judge(&all);
    println!("{} entries judged in {:?}\n{report}", all.len(), begun.elapsed());
}
