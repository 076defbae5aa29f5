//! The quiet proof: the versions that a rotation took the place of ended because no edge accepted them any more, and
//! their successor was in use.

use super::activation::activated;
use super::history::{Happened, History};
use keywheel_domain::event::{Activated, CoverBasis, Ended, Evidence, QuietProof, Used};
use keywheel_domain::{At, EdgeId, Fact, Policy, Recorded, Version};
use keywheel_wire::body::cause_word;
use keywheel_wire::text::Moment;
use serde::Serialize;

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quiet {
    /// `tenant/client`.
    pub keyring: String,
    /// The version that the rotation brought.
    pub version: u32,
    /// When the overlap began.
    pub overlap_since: Moment,
    /// How long it had to last at least, frozen when the rotation began.
    pub overlap_min: String,
    /// How long an old version had to be unseen.
    pub quiet: String,
    /// Each version that it took the place of.
    pub retired: Vec<Retired>,
}

/// One version's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Retired {
    /// Which.
    pub version: u32,
    /// When.
    pub at: Happened,
    /// Why.
    pub cause: String,
    /// The newest use that the log knew of.
    pub last_use: Option<Moment>,
    /// No edge accepted it after this moment…
    pub unused_after: Option<Moment>,
    /// …until this one.
    pub unused_through: Option<Moment>,
    /// The newer version that was in use, and since when.
    pub successor: Option<u32>,
    /// Its first use.
    pub successor_first_use: Option<Moment>,
    /// The edges that had to cover that time.
    pub roster: Vec<String>,
    /// How each is known to have covered it.
    pub edges: Vec<Coverage>,
    /// What is missing; nothing in a complete proof.
    pub lacks: Vec<String>,
}

/// How one edge's silence is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Which.
    pub edge: String,
    /// The stretch that is covered.
    pub from: Moment,
    /// Its end.
    pub through: Moment,
    /// `reported`: by its own numbered reports; `past_horizon`: it could not serve any more.
    pub basis: String,
}

fn superseding(history: &History) -> Result<(&Recorded, &Activated), String> {
    let (recorded, activated) = activated(history)?;
    let version = activated.version;
    if activated.supersedes.is_empty() {
        return Err(format!("{version} took the place of no version"));
    }
    Ok((recorded, activated))
}

fn ended(recorded: &Recorded) -> Option<&Ended> {
    match &recorded.event.fact {
        Fact::KeyRetired(ended) => Some(ended),
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    }
}

fn ends(ended: &Ended, version: Version) -> bool {
    ended.version == version || ended.also.contains(&version)
}

fn ending(history: &History, version: Version) -> Result<(usize, &Recorded, &Ended), String> {
    let ends = |recorded: &&Recorded| ended(recorded).is_some_and(|ended| ends(ended, version));
    let at = history.events.iter().position(|recorded| ends(&recorded));
    let found = at.and_then(|at| {
        let recorded = history.events.get(at)?;
        Some((at, recorded, ended(recorded)?))
    });
    found.ok_or_else(|| format!("{version} has not ended yet"))
}

/// Where the proof ends: with the last of the versions.
pub fn end(history: &History) -> Result<u64, String> {
    let (_, activated) = superseding(history)?;
    let ends = activated.supersedes.iter().map(|version| ending(history, *version).map(|(_, it, _)| it.seq));
    ends.collect::<Result<Vec<_>, _>>().map(|ends| ends.into_iter().max().unwrap_or_default())
}

/// What follows from the messages.
pub fn summary(history: &History) -> Result<Quiet, String> {
    let (_, issued) = history.issued()?;
    let (begin, activated) = superseding(history)?;
    let since = begin.event.at;
    let one = |version: &Version| retired(history, *version, since, &issued.policy);
    Ok(Quiet {
        keyring: history.address.to_string(),
        version: issued.version.0,
        overlap_since: Moment(since),
        overlap_min: issued.policy.overlap_min.to_string(),
        quiet: issued.policy.quiet.to_string(),
        retired: activated.supersedes.iter().map(one).collect::<Result<_, _>>()?,
    })
}

/// The uses of a version that the log knew of when it ended, oldest first.
fn uses(before: &[Recorded], of: Version) -> impl DoubleEndedIterator<Item = (u64, &Used)> {
    before.iter().filter_map(move |recorded| match &recorded.event.fact {
        Fact::KeySeen(used) if used.version == of => Some((recorded.seq, used)),
        Fact::KeySeen(_)
        | Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeyRetired(_)
        | Fact::RolledBack(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => None,
    })
}

fn retired(history: &History, version: Version, since: At, policy: &Policy) -> Result<Retired, String> {
    let (at, recorded, ended) = ending(history, version)?;
    let before = &history.events[..at];
    let last_use = uses(before, version).filter_map(|(_, used)| used.seen.last_use).max();
    let mut retired = Retired {
        version: version.0,
        at: recorded.into(),
        cause: cause_word(ended.cause).to_owned(),
        last_use: last_use.map(Moment),
        unused_after: None,
        unused_through: None,
        successor: None,
        successor_first_use: None,
        roster: Vec::new(),
        edges: Vec::new(),
        lacks: Vec::new(),
    };
    let lack = |what: &str| Err(what.to_owned());
    let proven = match ended.evidence {
        Some(Evidence::Quiet { from, through, successor }) => Ok((from, through, successor)),
        Some(Evidence::Deadline { .. }) => lack("it ended by its deadline, whether it was in use or not"),
        Some(Evidence::Expired { .. }) => lack("it ended by its own expiry, whether it was in use or not"),
        None => lack("it was ended on command, whether it was in use or not"),
    };
    match proven {
        Err(lacks) => retired.lacks.push(lacks),
        Ok((from, through, successor)) => {
            retired.unused_after = Some(Moment(from));
            retired.unused_through = Some(Moment(through));
            retired.successor = Some(successor.0);
            let first = uses(before, successor).filter_map(|(_, used)| used.seen.first_use).min();
            retired.successor_first_use = first.map(Moment);
            let claim = Claim { version, from, through, last_use, first, ended_at: recorded.event.at };
            claim.judge(history, before, since, policy, &mut retired);
        }
    }
    Ok(retired)
}

/// What a retirement on evidence claims.
struct Claim {
    version: Version,
    from: At,
    through: At,
    last_use: Option<At>,
    first: Option<At>,
    ended_at: At,
}

impl Claim {
    fn judge(&self, history: &History, before: &[Recorded], since: At, policy: &Policy, into: &mut Retired) {
        let mut lack = |is_missing: bool, what: &str| {
            if is_missing {
                into.lacks.push(what.to_owned());
            }
        };
        lack(self.ended_at.since(since) < policy.overlap_min, "the overlap was shorter than overlap_min");
        lack(self.through.since(self.from) < policy.quiet, "it was unseen for less than the quiet period");
        lack(self.last_use.is_some_and(|last| last > self.from), "it was used in the quiet period");
        lack(self.first.is_none(), "its successor was not seen in use");
        let stands = |used: &Used| {
            let proof = used.seen.quiet.clone();
            proof.filter(|proof| (proof.from, proof.complete_through) == (self.from, self.through))
        };
        let proof = uses(before, self.version).rev().find_map(|(seq, used)| Some((seq, stands(used)?)));
        let Some((seq, proof)) = proof else {
            lack(true, "no proof of these times stands before it");
            return;
        };
        let roster = history.edges(seq, |removed| removed.seq < seq);
        let had_to: Vec<EdgeId> = roster
            .into_iter()
            .filter(|edge| history.added_at(edge).is_some_and(|added| added <= self.through))
            .collect();
        into.lacks.extend(uncovered(&had_to, &proof));
        into.roster = had_to.iter().map(ToString::to_string).collect();
        into.edges = proof.edges.iter().map(coverage).collect();
    }
}

fn uncovered(roster: &[EdgeId], proof: &QuietProof) -> Vec<String> {
    let covers = |edge: &EdgeId| {
        proof.edges.iter().any(|covered| {
            let reaches = match covered.basis {
                CoverBasis::Reported => covered.through >= proof.complete_through,
                CoverBasis::PastHorizon => true,
            };
            covered.edge == *edge && covered.from <= proof.from && reaches
        })
    };
    roster.iter().filter(|edge| !covers(edge)).map(|edge| format!("{edge} does not cover the time")).collect()
}

fn coverage(covered: &keywheel_domain::event::Covered) -> Coverage {
    let basis = match covered.basis {
        CoverBasis::Reported => "reported",
        CoverBasis::PastHorizon => "past_horizon",
    };
    Coverage {
        edge: covered.edge.to_string(),
        from: Moment(covered.from),
        through: Moment(covered.through),
        basis: basis.to_owned(),
    }
}
