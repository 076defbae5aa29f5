//! Rows for SAFETY 3: what proves that a version was unused, and what blocks.

use super::*;

const QUIET: Span = Span::secs(3600);
const NOW: At = At(100_000_000);
/// The last moment of the window when everybody reports.
const X: At = At(NOW.0 - 1500);

fn edge(name: &str) -> EdgeId {
    EdgeId::parse(name).unwrap()
}

/// An edge that reports since long ago, of which `through` is the last moment that is certain.
fn reporting(name: &str, through: At) -> Witness {
    reporting_since(name, At(0), through)
}

fn reporting_since(name: &str, from: At, through: At) -> Witness {
    let covered = Some(Stretch { from, through: At(through.0 + 1) });
    Witness { edge: edge(name), covered, silence: None }
}

/// An edge without reports whose last contact lies at `contact`.
fn silent(name: &str, contact: At, horizon: Span) -> Witness {
    Witness { edge: edge(name), covered: None, silence: Some(Silence { contact, horizon }) }
}

fn ask(edges: &[Witness], last_use: Option<At>) -> Result<QuietProof, Blocked> {
    let proof = prove(&Asked { quiet: QUIET, last_use, now: NOW, edges })?;
    assert!(proof.complete_through.since(proof.from) >= QUIET);
    assert!(last_use.is_none_or(|last| last <= proof.from));
    assert_eq!(proof.edges.len(), edges.len());
    for covered in &proof.edges {
        assert!(covered.from <= proof.from && proof.complete_through <= covered.through, "{covered:?}");
    }
    Ok(proof)
}

#[track_caller]
fn proves(edges: &[Witness], last_use: Option<At>, through: At) -> Vec<CoverBasis> {
    let proof = ask(edges, last_use).unwrap();
    assert_eq!((proof.from, proof.complete_through), (through.before(QUIET), through));
    proof.edges.iter().map(|covered| covered.basis).collect()
}

#[track_caller]
fn blocks(edges: &[Witness], last_use: Option<At>) -> (Option<At>, Vec<(String, Why)>) {
    let Blocked { used, edges } = ask(edges, last_use).unwrap_err();
    (used, edges.into_iter().map(|(edge, why)| (edge.to_string(), why)).collect())
}

#[test]
fn the_window_ends_where_the_last_edges_coverage_ends() {
    let edges = [reporting("a", At(X.0 + 700)), reporting("b", X), reporting("c", At(X.0 + 20))];
    assert_eq!(proves(&edges, None, X), [CoverBasis::Reported; 3]);
}

#[test]
fn use_in_the_window_blocks() {
    let edges = [reporting("a", X), reporting("b", X)];
    proves(&edges, Some(X.before(QUIET)), X);
    let last = At(X.before(QUIET).0 + 1);
    assert!(ask(&edges, Some(last)).is_err());
    let recent = X.before(Span::secs(30));
    assert_eq!(blocks(&edges, Some(recent)), (Some(recent), vec![]));
    assert_eq!(blocks(&edges, Some(NOW)), (Some(NOW), vec![]));
}

#[test]
fn an_edge_that_never_reported_blocks() {
    let never = Witness { edge: edge("b"), covered: None, silence: None };
    assert_eq!(blocks(&[reporting("a", X), never], None), (None, vec![("b".to_owned(), Why::NotCovered)]));
}

#[test]
fn coverage_that_began_within_the_window_blocks() {
    let young = |from| reporting_since("b", from, X);
    proves(&[reporting("a", X), young(X.before(QUIET))], None, X);
    let from = At(X.before(QUIET).0 + 100);
    assert!(ask(&[reporting("a", X), young(from)], None).is_err());
    let from = NOW.before(Span::secs(60));
    assert_eq!(blocks(&[reporting("a", X), young(from)], None).1, [("b".to_owned(), Why::CoveredFrom(from))]);
}

#[test]
fn an_edge_that_was_cut_off_blocks_until_its_horizon_lies_before_the_window() {
    // It accepts the old key, is cut off, and serves on: nobody counts it any more.
    let horizon = Span::hours(2);
    let ends = |contact: At| Silence { contact, horizon }.ends();
    let mut contact = X.before(QUIET).before(horizon);
    assert!(ends(contact) > X.before(QUIET), "the margin for clock rates");
    assert_eq!(blocks(&[reporting("a", X), silent("b", contact, horizon)], None).1.len(), 1);
    contact = contact.before(Span(ends(contact).since(X.before(QUIET)).0));
    let both = proves(&[reporting("a", X), silent("b", contact, horizon)], None, X);
    assert_eq!(both, [CoverBasis::Reported, CoverBasis::PastHorizon]);
    let later = At(contact.0 + 1);
    assert!(ask(&[reporting("a", X), silent("b", later, horizon)], None).is_err());
}

#[test]
fn coverage_that_ends_before_the_window_does_not_replace_the_horizon() {
    let gone = X.before(Span::secs(7200));
    let cut_off = Witness {
        covered: Some(Stretch { from: At(0), through: gone }),
        ..silent("b", gone, Span::hours(24))
    };
    let why = Why::CoveredThrough(gone);
    assert_eq!(blocks(&[reporting("a", X), cut_off.clone()], None).1, [("b".to_owned(), why)]);
    let strict = Witness { silence: Some(Silence { contact: gone, horizon: Span::secs(15) }), ..cut_off };
    let both = proves(&[reporting("a", X), strict], None, X);
    assert_eq!(both, [CoverBasis::Reported, CoverBasis::PastHorizon]);
}

#[test]
fn an_edge_that_fell_silent_a_moment_ago_holds_the_window_back() {
    let early = X.before(Span::secs(20));
    proves(&[reporting("a", X), reporting("b", early)], None, early);
}

#[test]
fn a_window_that_ended_long_ago_is_no_proof() {
    let old = NOW.before(QUIET).before(Span::secs(31));
    let why = Why::CoveredThrough(At(old.0 + 1));
    assert_eq!(blocks(&[reporting("a", X), reporting("b", old)], None).1, [("b".to_owned(), why)]);
}

#[test]
fn where_nobody_reports_the_window_ends_before_now() {
    let long_ago = NOW.before(Span::hours(30));
    let edges = [silent("a", long_ago, Span::secs(15)), silent("b", long_ago, Span::hours(24))];
    let through = NOW.before(CLOCK_MARGIN);
    assert_eq!(proves(&edges, None, through), [CoverBasis::PastHorizon; 2]);
    assert!(proves(&[], None, through).is_empty());
    assert_eq!(blocks(&[], Some(through)).0, Some(through));
}

#[test]
fn a_time_shorter_than_the_quiet_period_is_no_proof() {
    let asked = Asked { quiet: Span(NOW.0), last_use: None, now: NOW, edges: &[] };
    assert_eq!(prove(&asked), Err(Blocked::default()));
}

#[test]
fn the_trackers_clock_takes_no_part_where_edges_report() {
    let slow = Asked { quiet: QUIET, last_use: None, now: X.before(QUIET), edges: &[reporting("a", X)] };
    assert_eq!(prove(&slow).map(|proof| proof.complete_through), Ok(X));
}
