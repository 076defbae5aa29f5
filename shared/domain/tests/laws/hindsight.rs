//! What an edge is said to have possibly answered, against edges that run: whatever their leases, clocks and
//! delays, their answer is among those (SAFETY 1, 2).

use crate::scene::given;
use crate::trial;
use keywheel_domain::hindsight::{Known, Shown, Step, answer, possible};
use keywheel_domain::key::Cause;
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::{Freshness, Needs, Refusal, Verdict};
use keywheel_domain::{At, KeySpec, KeyState, Span};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

const LEASE: Span = Span::secs(15);
const NEEDS: Needs<'static> = Needs { scopes: &[], address_allowed: true };

/// What may come next for a key, how long after the one before.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let state = prop_oneof![
        1 => Just(KeyState::Issued),
        3 => Just(KeyState::Active),
        2 => Just(KeyState::Retired { at: At(0), cause: Cause::Superseded }),
        1 => Just(KeyState::Revoked { at: At(0), reason: "leaked".to_owned() }),
    ];
    let one = (0..60_000_u64, 1..9_u64, state, any::<bool>(), 0..90_000_u64);
    vec(one, 0..6).prop_map(|drawn| {
        let (mut seq, mut stored) = (0, 1_000_000);
        let mut steps = Vec::new();
        for (after, gap, state, strict, stale_max) in drawn {
            (seq, stored) = (seq + gap, stored + after);
            let class = if strict { Class::Strict } else { Class::Available };
            let known = Known { state, spec: KeySpec::default(), class, stale_max: Span(stale_max) };
            steps.push(Step { seq, stored: At(stored), known: Some(known) });
        }
        steps
    })
}

/// An edge that applies each step so long after it was stored (and never before an earlier one), and looks at
/// the head every so often unless it is cut off.
#[derive(Clone, Debug)]
struct Edge {
    delays: Vec<u64>,
    looks_every: u64,
    cut_off: Option<(u64, u64)>,
}

fn edges() -> impl Strategy<Value = Edge> {
    let delay = prop_oneof![3 => 0..50_u64, 1 => 0..200_000_u64];
    (vec(delay, 6), 500..4_000_u64, proptest::option::of((0..300_000_u64, 0..300_000_u64)))
        .prop_map(|(delays, looks_every, cut_off)| Edge { delays, looks_every, cut_off })
}

impl Edge {
    /// How many steps it has applied at a moment.
    fn applied(&self, steps: &[Step], at: u64) -> usize {
        let mut when = 0;
        let applied = |(step, delay): &(&Step, &u64)| {
            when = when.max(step.stored.0 + **delay);
            when <= at
        };
        steps.iter().zip(&self.delays).take_while(applied).count()
    }

    /// The newest look at a head that its table had reached by then: when it began.
    fn proof(&self, steps: &[Step], at: u64) -> Option<u64> {
        let applied = self.applied(steps, at);
        let is_cut_off = |look: u64| {
            self.cut_off
                .is_some_and(|(from, length)| (1_000_000 + from..1_000_000 + from + length).contains(&look))
        };
        let head = |look: u64| steps.iter().filter(|step| step.stored.0 <= look).count();
        (900_000..=at)
            .rev()
            .step_by(usize::try_from(self.looks_every).unwrap_or(1))
            .find(|look| !is_cut_off(*look) && head(*look) <= applied)
    }

    fn freshness(&self, steps: &[Step], at: u64) -> Option<Freshness> {
        let age = Span(at - self.proof(steps, at)?);
        Some(if age < LEASE { Freshness::Fresh } else { Freshness::Stale { age } })
    }
}

fn is_definite(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Valid => true,
        Verdict::Refused(refusal) => refusal.is_definite(),
    }
}

proptest! {
    #![proptest_config(trial())]

    #[test]
    fn what_an_edge_answers_was_called_possible(
        steps in steps(), edge in edges(), after in 0..500_000_u64, shown_before in 0..100_000_u64, known in any::<bool>(),
    ) {
        let at = 1_000_000 + after;
        let count = edge.applied(&steps, at);
        let now_knows = count.checked_sub(1).and_then(|last| steps[last].known.as_ref());
        if let Some(freshness) = edge.freshness(&steps, at) {
            let said = answer(now_knows, &NEEDS, freshness, At(at));
            // Some time before, it had shown how far it was; or nothing was ever recorded of it.
            let before = edge.applied(&steps, at.saturating_sub(shown_before));
            let applied = if known { before.checked_sub(1).map_or(0, |last| steps[last].seq) } else { 0 };
            let reached = steps.iter().filter(|step| step.stored.0 <= at).count();
            let shown = Shown { applied, refuses_by: Vec::new() };
            for lease in [Some(LEASE), None] {
                let possible = possible(&steps[..reached], &shown, &NEEDS, lease, At(at));
                assert!(
                    !is_definite(said) || possible.contains(&said),
                    "it said {said:?}, {freshness:?}, knowing {count} of {reached}; possible {possible:?}"
                );
            }
        }
    }

    /// The more is recorded, the less remains open.
    #[test]
    fn evidence_only_narrows(steps in steps(), applied in 0..40_u64, more in 0..40_u64, after in 0..500_000_u64) {
        let at = At(1_000_000 + after);
        let of = |applied| {
            let shown = Shown { applied, refuses_by: Vec::new() };
            possible(&steps, &shown, &NEEDS, Some(LEASE), at)
        };
        let (less, more) = (of(applied), of(applied + more));
        assert!(more.iter().all(|answer| less.contains(answer)), "{more:?} of {less:?}");
    }
}

fn known(state: KeyState, class: Class) -> Option<Known> {
    Some(Known { state, spec: KeySpec::default(), class, stale_max: Span::hours(24) })
}

fn revoked_at(class: Class) -> Vec<Step> {
    let revoked = KeyState::Revoked { at: At(0), reason: "leaked".to_owned() };
    vec![
        Step { seq: 3, stored: At(0), known: known(KeyState::Active, class) },
        Step { seq: 7, stored: At(100_000), known: known(revoked, class) },
    ]
}

const YES: Verdict = Verdict::Valid;
const NO: Verdict = Verdict::Refused(Refusal::Revoked);

#[track_caller]
fn check(steps: &[Step], shown: (u64, &[(u64, u64)]), lease: Option<Span>, at: u64, expected: &[Verdict]) {
    let refuses_by = shown.1.iter().map(|(seq, by)| (*seq, At(*by))).collect();
    let shown = Shown { applied: shown.0, refuses_by };
    assert_eq!(possible(steps, &shown, &NEEDS, lease, At(at)), expected);
}

#[test]
fn a_proof_decides_and_nothing_less() {
    let steps = revoked_at(Class::Available);
    check(&steps[..1], (3, &[]), Some(LEASE), 99_000, &[YES]);
    check(&steps, (7, &[]), Some(LEASE), 101_000, &[NO]);
    check(&steps, (3, &[]), Some(LEASE), 101_000, &[YES, NO]);
    check(&steps, (3, &[]), Some(LEASE), 200_000, &[YES, NO]);
    check(&steps, (0, &[]), None, 200_000, &[Verdict::Refused(Refusal::Unknown), YES, NO]);
}

#[test]
fn a_lease_decides_for_a_strict_keyring_and_a_horizon_for_an_available_one() {
    let strict = revoked_at(Class::Strict);
    check(&strict, (3, &[]), Some(LEASE), 100_000 + 15_000, &[YES, NO]);
    check(&strict, (3, &[]), Some(LEASE), 100_000 + 17_000, &[NO]);
    check(&strict, (3, &[]), None, 100_000 + 17_000, &[YES, NO]);
    let available = revoked_at(Class::Available);
    let day = Span::hours(24).0;
    check(&available, (3, &[]), Some(LEASE), 100_000 + day, &[YES, NO]);
    check(&available, (3, &[]), Some(LEASE), 100_000 + day + day / 40 + 5_000, &[NO]);
    // A receipt has said so earlier.
    check(&available, (3, &[(7, 130_000)]), Some(LEASE), 129_999, &[YES, NO]);
    check(&available, (3, &[(7, 130_000)]), Some(LEASE), 130_000, &[NO]);
    check(&available, (3, &[(6, 130_000)]), Some(LEASE), 130_000, &[YES, NO]);
}

/// The story's own state at each hour is what a cut by that hour means.
#[test]
fn a_cut_by_time_ends_before_the_first_later_event() {
    use crate::scene::hour;
    use keywheel_domain::Cut;
    let story = given().issued(1).at(hour(2)).activated(1, &[]).at(hour(1)).used(1).at(hour(3)).revoked(1);
    let count = |cut: Cut| story.log.iter().take_while(|recorded| !cut.ends_before(recorded)).count();
    assert_eq!([0, 1, 2, 3].map(|n| count(Cut::Time(hour(n)))), [1, 1, 3, 4]);
    assert_eq!([0, 1, 2, 3, 9].map(|n| count(Cut::Seq(n))), [0, 1, 2, 3, 4]);
}
