//! The quiet promise over random traces (SAFETY 3, 4): whatever edges and channel do, a version of which
//! a proof says that it was unused in a window was accepted nowhere in that window.
#![allow(clippy::unwrap_used)]

mod fleet;

use fleet::{Fleet, HORIZON, QUIET};
use keywheel_domain::event::CoverBasis;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use std::cell::Cell;

const EDGES: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Start(usize),
    Show(usize),
    Connect(usize, bool),
    Crash(usize),
    Cut(usize),
    Report {
        edge: usize,
        acknowledged: bool,
        readable: bool,
    },
    Goodbye(usize),
    Restart(usize),
    DeliverAll(bool),
    Deliver(Index, bool),
    Hold,
    Release,
    /// Everything is well for a second.
    Calm,
}

fn one_step() -> impl Strategy<Value = Step> {
    let edge = || 0..EDGES;
    prop_oneof![
        2 => (1u64..9).prop_map(Step::Pass),
        2 => edge().prop_map(Step::Start),
        2 => edge().prop_map(Step::Show),
        1 => (edge(), any::<bool>()).prop_map(|(edge, connected)| Step::Connect(edge, connected)),
        1 => edge().prop_map(Step::Crash),
        1 => edge().prop_map(Step::Cut),
        2 => (edge(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(edge, acknowledged, readable)| Step::Report { edge, acknowledged, readable }),
        1 => edge().prop_map(Step::Goodbye),
        1 => edge().prop_map(Step::Restart),
        2 => any::<bool>().prop_map(Step::DeliverAll),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(which, acknowledged)| Step::Deliver(which, acknowledged)),
        1 => Just(Step::Hold),
        1 => Just(Step::Release),
    ]
}

/// Some trouble, then calm for a while, and so on: only calm lets anything be proved.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let trouble = prop::collection::vec(one_step(), 0..6);
    let spell = (trouble, 0usize..35).prop_map(|(mut steps, calm)| {
        steps.extend(std::iter::repeat_n(Step::Calm, calm));
        steps
    });
    prop::collection::vec(spell, 1..8).prop_map(|spells| spells.concat())
}

/// A use of which the tracker never learns, or learns late: between two calm spells it must block.
fn lost_use() -> impl Strategy<Value = Vec<Step>> {
    let report = |acknowledged, readable| Step::Report { edge: 0, acknowledged, readable };
    let ways = prop::sample::select(vec![
        vec![Step::Show(0), Step::Crash(0), Step::Start(0)],
        vec![Step::Show(0), Step::Pass(1), report(true, false)],
        vec![Step::Show(0), report(true, true), Step::Hold],
        vec![Step::Cut(0), Step::Pass(1), Step::Show(0), Step::Pass(1)],
        vec![Step::Goodbye(0), Step::Start(0), Step::Show(0), Step::Crash(0), Step::Start(0)],
        vec![Step::Connect(0, false), Step::Pass(3), Step::Show(0)],
    ]);
    (18usize..30, ways, 0usize..60).prop_map(|(before, way, after)| {
        let calm = |secs| std::iter::repeat_n(Step::Calm, secs);
        calm(before).chain(way).chain(calm(after)).collect()
    })
}

fn apply(fleet: &mut Fleet, step: &Step) {
    match step.clone() {
        Step::Pass(secs) => fleet.pass(secs),
        Step::Start(edge) => fleet.start(edge),
        Step::Show(edge) => fleet.show(edge),
        Step::Connect(edge, connected) => fleet.connect(edge, connected),
        Step::Crash(edge) => fleet.crash(edge),
        Step::Cut(edge) => fleet.cut(edge),
        Step::Report { edge, acknowledged, readable } => fleet.report(edge, acknowledged, readable),
        Step::Goodbye(edge) => fleet.goodbye(edge),
        Step::Restart(edge) => {
            fleet.goodbye(edge);
            fleet.start(edge);
        }
        Step::DeliverAll(acknowledged) => fleet.deliver_all(acknowledged),
        Step::Deliver(which, acknowledged) => fleet.deliver(which, acknowledged),
        Step::Hold => fleet.hold(),
        Step::Release => fleet.release(),
        Step::Calm => {
            fleet.pass(1);
            (0..EDGES).for_each(|edge| fleet.report(edge, true, true));
            fleet.deliver_all(true);
        }
    }
}

/// Runs a trace with a proof asked for after each step. Gives how many edges the proofs rested on: by
/// their reports, and by their horizon.
fn holds(steps: &[Step]) -> Result<(u32, u32), TestCaseError> {
    let mut fleet = Fleet::new(EDGES);
    (0..EDGES).for_each(|edge| fleet.start(edge));
    let (mut reported, mut silent) = (0, 0);
    for step in steps {
        apply(&mut fleet, step);
        let Ok(proof) = fleet.prove() else { continue };
        let broken = fleet.accepted.iter().find(|at| proof.from < **at && **at <= proof.complete_through);
        prop_assert_eq!(broken, None, "{:?}", proof);
        for covered in &proof.edges {
            match covered.basis {
                CoverBasis::Reported => reported += 1,
                CoverBasis::PastHorizon => silent += 1,
            }
        }
    }
    Ok((reported, silent))
}

/// The same traces every time, so that a failure is one for everybody.
fn run(cases: u32, traces: impl Strategy<Value = Vec<Step>>) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let (reported, silent) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new_with_rng(config, rng).run(&traces, |steps| {
        let (by_report, by_horizon) = holds(&steps)?;
        reported.set(reported.get() + by_report);
        silent.set(silent.get() + by_horizon);
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(reported.get() > 300 && silent.get() > 20, "{} {}", reported.get(), silent.get());
}

#[test]
fn no_proof_is_ever_false() {
    run(300, steps());
}

#[test]
fn a_use_that_is_lost_or_late_is_never_proved_away() {
    run(300, lost_use());
}

/// A fleet in which everybody reported for so many seconds.
fn calm(secs: u64) -> Fleet {
    let mut fleet = Fleet::new(EDGES);
    (0..EDGES).for_each(|edge| fleet.start(edge));
    calm_for(&mut fleet, secs);
    fleet
}

fn calm_for(fleet: &mut Fleet, secs: u64) {
    (0..secs).for_each(|_| apply(fleet, &Step::Calm));
}

#[test]
fn a_calm_fleet_is_proved_quiet_as_soon_as_it_is() {
    let secs = QUIET.0 / 1000;
    assert!(calm(secs + 1).prove().is_err());
    assert!(calm(secs + 3).prove().is_ok());
}

#[test]
fn a_restart_on_purpose_costs_no_time() {
    let mut fleet = calm(QUIET.0 / 1000);
    apply(&mut fleet, &Step::Restart(0));
    calm_for(&mut fleet, 3);
    assert!(fleet.prove().is_ok());
    fleet.crash(0);
    fleet.start(0);
    calm_for(&mut fleet, 3);
    assert!(fleet.prove().is_err());
}

#[test]
fn an_edge_that_is_cut_off_blocks_and_later_does_not() {
    let mut fleet = calm(QUIET.0 / 1000 + 5);
    fleet.connect(0, false);
    fleet.pass(2);
    fleet.show(0);
    let cut_off = *fleet.accepted.last().unwrap();
    let mut passed = 0;
    let proof = loop {
        calm_for(&mut fleet, 1);
        passed += 1;
        match fleet.prove() {
            Ok(proof) if proof.complete_through >= cut_off => break proof,
            Ok(_) | Err(_) => {}
        }
    };
    assert!(proof.from >= cut_off, "{proof:?}");
    assert!(passed * 1000 <= QUIET.0 + HORIZON.0 + 3000, "{passed}");
}
