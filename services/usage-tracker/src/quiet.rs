//! The quiet proof: whether what is known of every edge shows that a version was unused for long enough
//! (SAFETY 3, 4). Pure: it is handed the roster's coverage, last contacts and a clock.

use crate::coverage::Stretch;
use keywheel_domain::due::PROOF_AGE_SLACK;
use keywheel_domain::event::{CoverBasis, Covered, QuietProof};
use keywheel_domain::{At, EdgeId, Span};

/// How far the clocks of the bus's servers may differ: one says what time it is, another stored a pulse. It
/// matters only where no edge reports.
pub const CLOCK_MARGIN: Span = Span::secs(2);

/// How far behind an edge's coverage may lie before it is told as the reason of a delay.
const LAG: Span = Span::secs(5);

/// What is known of one edge of the roster. Its silence is to be read after its coverage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Which.
    pub edge: EdgeId,
    /// The time in which its own reports tell every use.
    pub covered: Option<Stretch>,
    /// Its last contact, where that was asked for.
    pub silence: Option<Silence>,
}

/// An edge's last contact, and how long it may serve the keyring after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// When its newest pulse was stored, or since when pulses are kept and it sent none.
    pub contact: At,
    /// The longest time for which it may go on serving the keyring by itself (SAFETY 8).
    pub horizon: Span,
}

/// What a proof is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// How long the version must be unseen.
    pub quiet: Span,
    /// Its newest use that is known, from the same reading as the coverage.
    pub last_use: Option<At>,
    /// Now, by the bus's clock, read before the coverage. No other clock takes part.
    pub now: At,
    /// Every edge of the roster, and each that was removed less than a lease ago.
    pub edges: &'a [Witness],
}

/// Why there is no proof now. Both may be empty: then nothing but a little time is missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocked {
    /// The newest use, when it is too recent.
    pub used: Option<At>,
    /// The edges that block, with the reason.
    pub edges: Vec<(EdgeId, Why)>,
}

/// Why an edge blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its reports do not cover any time.
    NotCovered,
    /// Its reports cover too short a time, from here on.
    CoveredFrom(At),
    /// Its reports end here.
    CoveredThrough(At),
}

impl Silence {
    /// When it can no longer have served: a thousandth and a second more than its horizon, since its
    /// clock may run slower than the bus's.
    pub fn ends(&self) -> At {
        let margin = Span((self.horizon.0 / 1000).saturating_add(1000));
        self.contact.after(self.horizon).after(margin)
    }
}

impl Witness {
    fn is_silent_by(&self, from: At) -> bool {
        self.silence.is_some_and(|silence| silence.ends() <= from)
    }

    /// The last moment of which its reports tell every use.
    fn through(&self) -> At {
        self.covered.map_or(At(0), |stretch| stretch.through.before(Span(1)))
    }

    /// How this edge's silence about the version in `(from, through]` is known.
    fn covers(&self, from: At, through: At) -> Option<Covered> {
        let covered =
            |Stretch { from, through }, basis| Covered { edge: self.edge.clone(), from, through, basis };
        let reported = self.covered.filter(|own| own.from <= from && through < own.through);
        let silent = self.silence.filter(|silence| silence.ends() <= from);
        reported
            .map(|own| covered(own, CoverBasis::Reported))
            .or_else(|| silent.map(|s| covered(Stretch { from: s.ends(), through }, CoverBasis::PastHorizon)))
    }
}

/// Proves that no edge accepted the version in `(X − quiet, X]`, for the latest X for which that can be
/// known, or says what is in the way.
///
/// # Errors
/// The newest use, or the edges, that block.
pub fn prove(asked: &Asked<'_>) -> Result<QuietProof, Blocked> {
    let through = latest_common(asked);
    let from = through.before(asked.quiet);
    let edges: Option<Vec<Covered>> = asked.edges.iter().map(|edge| edge.covers(from, through)).collect();
    let long_enough = through.since(from) >= asked.quiet;
    let unused = asked.last_use.is_none_or(|last| last <= from);
    // An older one would be refused as out of date by the time it is used.
    let recent = asked.now.since(through) <= Span(asked.quiet.0.saturating_add(PROOF_AGE_SLACK.0 / 2));
    match edges {
        Some(edges) if long_enough && unused && recent => {
            Ok(QuietProof { from, complete_through: through, edges })
        }
        Some(_) | None => Err(blocked(asked)),
    }
}

/// The latest moment up to which each edge either reported or, silent past its horizon before the window
/// that ends there, need not. An earlier one makes every condition harder to meet.
fn latest_common(asked: &Asked<'_>) -> At {
    let mut through = latest(asked);
    loop {
        let from = through.before(asked.quiet);
        let needed = asked.edges.iter().filter(|edge| !edge.is_silent_by(from));
        match needed.map(Witness::through).min() {
            Some(reached) if reached < through => through = reached,
            Some(_) | None => return through,
        }
    }
}

fn latest(asked: &Asked<'_>) -> At {
    let reported = asked.edges.iter().map(Witness::through).max();
    asked.now.before(CLOCK_MARGIN).max(reported.unwrap_or_default())
}

/// What blocks, judged by the window that would end now.
fn blocked(asked: &Asked<'_>) -> Blocked {
    let through = latest(asked);
    let from = through.before(asked.quiet);
    let reason = |edge: &Witness| match edge.covered {
        _ if edge.is_silent_by(from) => None,
        None => Some(Why::NotCovered),
        Some(own) if own.through < through.before(LAG) => Some(Why::CoveredThrough(own.through)),
        Some(own) if own.from > from => Some(Why::CoveredFrom(own.from)),
        Some(_) => None,
    };
    Blocked {
        used: asked.last_use.filter(|last| *last > from),
        edges: asked.edges.iter().filter_map(|edge| Some((edge.edge.clone(), reason(edge)?))).collect(),
    }
}

#[cfg(test)]
mod tests;
