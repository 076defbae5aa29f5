//! What an edge can have answered at a moment of the past, by what the log shows of how far it was.
//!
//! Nothing records which position each edge had applied at each moment. What is recorded bounds it: a proof
//! shows that an edge had applied a position by some time, and the lease shows how long one that had not can
//! have gone on (SAFETY 1, 2). So the answer is a set: what remains possible.

use crate::key::{KeySpec, KeyState};
use crate::policy::Class;
use crate::time::{At, Span};
use crate::verdict::{Found, Freshness, Needs, Verdict, judge};

/// What holds for a key from a position of the log on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The position.
    pub seq: u64,
    /// By when it stood in the log, by the bus's clock.
    pub stored: At,
    /// What an edge knows that has applied it; nothing while there is no such key.
    pub known: Option<Known>,
}

/// What an edge knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its state.
    pub state: KeyState,
    /// What it permits.
    pub spec: KeySpec,
    /// What a stale edge does with its keyring.
    pub class: Class,
    /// How long a stale edge serves it when it is available.
    pub stale_max: Span,
}

/// What the log shows of one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// It had applied everything up to here at the moment that is asked about.
    pub applied: u64,
    /// Positions that it had not shown, each with the moment from which it serves nobody by what was before.
    pub refuses_by: Vec<(u64, At)>,
}

/// What an edge answers that knows this much of a key.
pub fn answer(known: Option<&Known>, needs: &Needs<'_>, freshness: Freshness, at: At) -> Verdict {
    let found = known.map_or(Found::Nothing, |known| Found::Key {
        state: &known.state,
        scopes: &known.spec.scopes,
        expires_at: known.spec.expires_at,
        class: known.class,
        stale_max: known.stale_max,
    });
    judge(&found, needs, freshness, at)
}

/// Every definite answer that the edge can have given at a moment: accepted, or a definite no. That it could
/// not say, or did not run at all, is always possible besides; where nothing is left, it is all that is.
/// `history` holds what concerns the key, in order; without a `lease` it is taken for endless.
pub fn possible(
    history: &[Step],
    shown: &Shown,
    needs: &Needs<'_>,
    lease: Option<Span>,
    at: At,
) -> Vec<Verdict> {
    let first = history.partition_point(|step| step.seq <= shown.applied);
    let mut answers = Vec::new();
    for count in first..=history.len() {
        let known = count.checked_sub(1).and_then(|last| history[last].known.as_ref());
        for freshness in freshnesses(history.get(count), shown, lease, at).into_iter().flatten() {
            let answer = answer(known, needs, freshness, at);
            let is_definite = match answer {
                Verdict::Valid => true,
                Verdict::Refused(refusal) => refusal.is_definite(),
            };
            if is_definite && !answers.contains(&answer) {
                answers.push(answer);
            }
        }
    }
    answers
}

/// How fresh an edge can have been that had not applied `missed`: fresh, and stale since when at the latest.
fn freshnesses(missed: Option<&Step>, shown: &Shown, lease: Option<Span>, at: At) -> [Option<Freshness>; 2] {
    let Some(missed) = missed else {
        return [Some(Freshness::Fresh), Some(Freshness::Stale { age: lease.unwrap_or(Span(0)) })];
    };
    let refuses = shown.refuses_by.iter().any(|(seq, by)| *seq >= missed.seq && at >= *by);
    if refuses {
        return [None, Some(Freshness::Stale { age: Span(u64::MAX) })];
    }
    // Its last look at a head came before this was stored.
    let since = at.since(missed.stored);
    let can_be_fresh = lease.is_none_or(|lease| since < with_margin(lease));
    let age = Span(since.0.saturating_sub(margin(since)));
    [can_be_fresh.then_some(Freshness::Fresh), Some(Freshness::Stale { age })]
}

/// Clocks of edges and of the bus may run differently.
fn margin(span: Span) -> u64 {
    (span.0 / 50).saturating_add(1000)
}

fn with_margin(span: Span) -> Span {
    Span(span.0.saturating_add(margin(span)))
}
