//! The table at work: what each clause of the safety rules asks of it, with a clock that tests turn.

mod hammer;

use super::*;
use crate::scene::{EDGE, EXPIRY, Scene, address};
use keywheel_token::Brand;
use std::cell::Cell;

thread_local! {
    static BOOT: Cell<u64> = const { Cell::new(0) };
    static WALL: Cell<u64> = const { Cell::new(0) };
}

const L: Span = Span::secs(15);
const CREATED: At = At(77);
const WALL_THEN: u64 = EXPIRY - 1_000_000;

fn at(boot_ms: u64) {
    BOOT.set(boot_ms);
    WALL.set(WALL_THEN + boot_ms);
}

fn table() -> Table {
    at(0);
    let clocks = Clocks {
        boot_ms: || BOOT.with(Cell::get),
        wall_ms: || WALL.with(Cell::get),
        machine_boot: "b1".to_owned(),
    };
    Table::new(EdgeId::parse(EDGE).unwrap(), L, clocks)
}

fn head(watermark: u64) -> Head {
    Head { watermark, ..Head::default() }
}

fn log_at(seq: u64) -> LogHead {
    LogHead { seq, created: CREATED }
}

/// A table that has applied `scene` up to 5 and proved itself fresh at 0.
fn fresh(scene: &Scene) -> Table {
    let table = table();
    table.apply(&scene.states, head(5), Some(CREATED));
    table.prove(table.instant(), 5, log_at(5)).unwrap();
    table
}

fn ask(table: &Table, text: &str, is_probe: bool) -> Answered {
    let shown = keywheel_token::look(text.as_bytes(), &Brand::default());
    table.verify(&Asked { shown, scopes: &[], from: None }, is_probe)
}

fn code(table: &Table, text: &str) -> &'static str {
    ask(table, text, true).outcome.map_or_else(Refusal::code, |_| "valid")
}

#[test]
fn every_verification_reads_the_clock_itself() {
    let scene = Scene::new();
    let table = fresh(&scene);
    at(L.0 - 1);
    assert_eq!(code(&table, scene.key("strict")), "valid");
    at(L.0);
    assert_eq!(code(&table, scene.key("strict")), "stale");
    assert_eq!(code(&table, scene.key("unknown")), "stale");
    assert_eq!(ask(&table, scene.key("active"), true).stale_for, Some(L));
}

#[test]
fn nobody_is_served_before_the_own_edge_added_nor_after_removal() {
    let scene = Scene::new();
    let table = table();
    let mut without = scene.states.clone();
    let roster = without.remove(&Address::Installation).unwrap();
    table.apply(&without, head(5), Some(CREATED));
    table.prove(table.instant(), 5, log_at(5)).unwrap();
    assert_eq!(code(&table, scene.key("active")), "not_ready");
    table.apply(&[(Address::Installation, roster)].into(), head(6), None);
    assert_eq!(code(&table, scene.key("active")), "valid");
    table.apply(&[(Address::Installation, State::default())].into(), head(7), None);
    assert_eq!(code(&table, scene.key("active")), "not_ready");
}

#[test]
fn a_table_in_the_middle_of_its_first_reading_serves_nobody() {
    let scene = Scene::new();
    let table = table();
    table.apply(&scene.states, head(3), Some(CREATED));
    table.prove(table.instant(), 3, log_at(5)).unwrap();
    assert_eq!(code(&table, scene.key("active")), "not_ready");
    table.apply(&BTreeMap::new(), head(5), None);
    assert_eq!(code(&table, scene.key("active")), "valid");
}

#[test]
fn a_head_proves_nothing_before_the_log_is_confirmed_nor_when_it_is_another() {
    let scene = Scene::new();
    let table = table();
    table.restore(scene.answers, head(5), None);
    assert_eq!(table.prove(table.instant(), 5, log_at(5)), Err(Doubt::Unconfirmed));
    table.apply(&BTreeMap::new(), head(5), Some(CREATED));
    let recreated = LogHead { seq: 9, created: At(78) };
    assert_eq!(table.prove(table.instant(), 5, recreated), Err(Doubt::OtherLog));
    assert_eq!(table.prove(table.instant(), 5, log_at(4)), Err(Doubt::OtherLog), "it was cut");
    assert_eq!(table.status().freshness, Freshness::NotServing);
    assert_eq!(table.prove(table.instant(), 5, log_at(5)), Ok(()));
    assert_eq!(table.status().freshness, Freshness::Fresh);
}

#[test]
fn a_table_that_was_halted_answers_and_grows_stale() {
    let scene = Scene::new();
    let table = fresh(&scene);
    table.halt();
    at(L.0);
    table.prove(table.instant(), 5, log_at(5)).unwrap();
    assert_eq!(code(&table, scene.key("active")), "valid");
    assert_eq!(code(&table, scene.key("strict")), "stale");
}

#[test]
fn nothing_is_accepted_or_counted_once_it_is_closed() {
    let scene = Scene::new();
    let table = fresh(&scene);
    ask(&table, scene.key("active"), false);
    table.close();
    assert_eq!(ask(&table, scene.key("active"), false).outcome, Err(Refusal::NotReady));
    assert_eq!(table.take_uses(10).uses.iter().map(|each| each.uses).sum::<u64>(), 1);
}

#[test]
fn only_accepted_keys_that_are_no_probe_count() {
    let scene = Scene::new();
    let table = fresh(&scene);
    for name in ["active", "active", "issued", "retired", "revoked", "unknown", "bound"] {
        ask(&table, scene.key(name), false);
        ask(&table, scene.key(name), true);
    }
    let uses = table.take_uses(10).uses;
    let counted: Vec<(&str, u64)> = uses.iter().map(|each| (each.client.as_str(), each.uses)).collect();
    assert_eq!(counted, [("active", 2), ("issued", 1)]);
}

#[test]
fn only_retired_keys_that_were_shown_whole_count_as_refused() {
    let scene = Scene::new();
    let table = fresh(&scene);
    for _ in 0..3 {
        ask(&table, scene.key("retired"), false);
        ask(&table, scene.key("retired"), true);
        // Whoever knows the kid alone provokes nothing.
        ask(&table, &scene.forged("retired"), false);
        ask(&table, scene.key("revoked"), false);
    }
    let taken = table.take_uses(10);
    let counts: Vec<_> = taken.refused.iter().map(|one| (one.client.as_str(), one.refused)).collect();
    assert_eq!((counts, taken.is_all), (vec![("retired", 3)], true));
    at(L.0 + 1);
    ask(&table, scene.key("retired"), false);
    assert_eq!(table.take_uses(10).refused, [], "a stale edge does not know that it is retired");
}

#[test]
fn a_clock_that_goes_back_never_revives_an_expired_key() {
    let scene = Scene::new();
    let table = fresh(&scene);
    WALL.set(EXPIRY);
    assert_eq!(code(&table, scene.key("expiring")), "expired");
    WALL.set(EXPIRY - 60_000);
    assert_eq!(code(&table, scene.key("expiring")), "expired");
    let note: FreshnessNote = note::read(&table.notes()[0].1).unwrap();
    let restarted = self::table();
    restarted.restore(Scene::new().answers, head(5), Some(note));
    assert_eq!(restarted.now(), At(EXPIRY), "nor does a restart");
}

#[test]
fn what_was_proved_is_noted_once_and_goes_on_after_a_restart() {
    let scene = Scene::new();
    let table = table();
    assert!(table.notes().is_empty(), "nothing was proved");
    let table_2 = fresh(&scene);
    let notes = table_2.notes();
    assert_eq!(notes.iter().map(|note| note.0).collect::<Vec<_>>(), [note::FRESHNESS]);
    assert!(table_2.notes().is_empty());
    table_2.unnote();
    assert_eq!(table_2.notes().len(), 1, "given again when it was not committed");

    let noted: FreshnessNote = note::read(&notes[0].1).unwrap();
    at(4000);
    table.restore(Scene::new().answers, head(5), Some(noted.clone()));
    assert_eq!(table.status().freshness, Freshness::Stale { age: Span(4000) });
    at(4000 + WALL_NOTED_EVERY_MS);
    let again: FreshnessNote = note::read(&table.notes()[0].1).unwrap();
    assert_eq!(again.boot_ms, noted.boot_ms, "a restart proves nothing");
    assert_eq!(again.wall_high_ms, WALL_THEN + 4000 + WALL_NOTED_EVERY_MS);
}

#[test]
fn the_watermark_is_told_after_it_answers() {
    let scene = Scene::new();
    let table = fresh(&scene);
    let mut visible = table.visible();
    visible.mark_unchanged();
    let mut changed = scene.states.clone();
    changed.retain(|known, _| *known == address("active"));
    changed.values_mut().for_each(|state| state.keys.clear());
    table.apply(&changed, head(6), None);
    assert!(visible.has_changed().unwrap());
    assert_eq!((*visible.borrow_and_update(), table.status().head.watermark), (6, 6));
    table.apply(&BTreeMap::new(), head(6), None);
    assert!(!visible.has_changed().unwrap(), "an empty batch is no advance");
}
