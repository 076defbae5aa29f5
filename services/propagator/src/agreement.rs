//! Whether all who stand at one position of the log have the same table there, and who has not. The
//! propagator's own fold has a voice, so that even a single edge is compared with something.

use keywheel_domain::EdgeId;
use keywheel_table::fold::Head;
use keywheel_wire::pulse::Pulse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// Positions that are remembered of each: under load they are seldom all at one at the same moment.
const REMEMBERED: usize = 64;

/// Who has a table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Witness {
    /// This propagator.
    Propagator,
    /// An edge.
    Edge(EdgeId),
}

/// What a witness has at a position. Programs of different versions may keep rows differently, so each
/// version is compared with itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word {
    version: String,
    chain: [u8; 32],
    digest: [u8; 32],
}

/// What is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// This one differs from the others.
    Odd {
        /// Who.
        who: Witness,
        /// Where.
        watermark: u64,
        /// How many agree with each other against it.
        agreeing: usize,
    },
    /// It was odd, and is not any more.
    Again {
        /// Who.
        who: Witness,
        /// Where.
        watermark: u64,
    },
}

/// What was said by whom.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    said: BTreeMap<Witness, VecDeque<(u64, Word)>>,
    odd: BTreeSet<Witness>,
}

impl Agreement {
    /// This propagator's own fold stands at `head`.
    pub fn own(&mut self, head: Head) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let word = Word { version, chain: head.chain.0, digest: head.digest };
        self.remember(Witness::Propagator, head.watermark, word);
    }

    /// An edge showed where it stands; what that shows of anybody.
    pub fn hear(&mut self, edge: &EdgeId, pulse: &Pulse) -> Vec<Finding> {
        let word = Word { version: pulse.version.clone(), chain: pulse.chain.0, digest: pulse.digest.0 };
        self.remember(Witness::Edge(edge.clone()), pulse.watermark, word);
        self.judge(pulse.watermark)
    }

    /// Forgets edges that are not on the roster any more.
    pub fn keep_only(&mut self, roster: &BTreeMap<EdgeId, u64>) {
        let is_kept = |who: &Witness| match who {
            Witness::Propagator => true,
            Witness::Edge(edge) => roster.contains_key(edge),
        };
        self.said.retain(|who, _| is_kept(who));
        self.odd.retain(is_kept);
    }

    fn remember(&mut self, who: Witness, watermark: u64, word: Word) {
        let said = self.said.entry(who).or_default();
        // Said again, or of a table that is built anew: what was said from there on holds no more.
        while said.back().is_some_and(|(known, _)| *known >= watermark) {
            said.pop_back();
        }
        said.push_back((watermark, word));
        if said.len() > REMEMBERED {
            said.pop_front();
        }
    }

    /// The table of nothing is nobody's evidence: it is what a database has that is built anew.
    fn judge(&mut self, watermark: u64) -> Vec<Finding> {
        let mut versions: BTreeMap<&str, BTreeMap<&Word, BTreeSet<&Witness>>> = BTreeMap::new();
        for (who, said) in self.said.iter().filter(|_| watermark > 0) {
            if let Ok(at) = said.binary_search_by_key(&watermark, |(at, _)| *at) {
                let word = &said[at].1;
                versions.entry(&word.version).or_default().entry(word).or_default().insert(who);
            }
        }
        let mut findings = Vec::new();
        for groups in versions.values() {
            let Some(right) = strongest(groups) else { continue };
            let agreeing = groups[right].len();
            for (word, who) in groups.iter().flat_map(|(word, all)| all.iter().map(move |who| (*word, *who)))
            {
                let is_new = if word == right { self.odd.contains(who) } else { !self.odd.contains(who) };
                let who = who.clone();
                match (is_new, word == right) {
                    (true, true) => findings.push(Finding::Again { who, watermark }),
                    (true, false) => findings.push(Finding::Odd { who, watermark, agreeing }),
                    (false, _) => {}
                }
            }
        }
        for finding in &findings {
            match finding {
                Finding::Odd { who, .. } => drop(self.odd.insert(who.clone())),
                Finding::Again { who, .. } => drop(self.odd.remove(who)),
            }
        }
        findings
    }
}

/// What most say; among as many, what this propagator says. Nothing where that leaves it open, or where
/// nobody can be compared with anybody.
fn strongest<'a>(groups: &BTreeMap<&'a Word, BTreeSet<&Witness>>) -> Option<&'a Word> {
    let weight = |all: &BTreeSet<&Witness>| (all.len(), all.contains(&Witness::Propagator));
    let (word, most) = groups.iter().max_by_key(|(_, all)| weight(all))?;
    let is_open = groups.iter().any(|(other, all)| other != word && weight(all) == weight(most));
    let is_alone = groups.values().map(BTreeSet::len).sum::<usize>() < 2;
    (!is_open && !is_alone).then_some(*word)
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Witness::Propagator => f.write_str("the propagator"),
            Witness::Edge(edge) => write!(f, "edge {edge}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::At;
    use keywheel_wire::chain::Chain;
    use keywheel_wire::text::{Hex32, Id, Moment};

    fn edge(n: usize) -> EdgeId {
        EdgeId::parse(&format!("e{n}")).unwrap()
    }

    fn pulse(n: usize, watermark: u64, digest: u8) -> Pulse {
        Pulse {
            id: format!("e{n}"),
            boot: Id(1),
            number: 1,
            watermark,
            chain: Hex32([1; 32]),
            digest: Hex32([digest; 32]),
            clock: Moment(At(0)),
            keys: 0,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lease_ms: 15_000,
            agrees: None,
        }
    }

    fn own(watermark: u64, digest: u8) -> Head {
        Head { watermark, chain: Chain([1; 32]), digest: [digest; 32], ..Head::default() }
    }

    fn odd(n: usize, watermark: u64, agreeing: usize) -> Vec<Finding> {
        vec![Finding::Odd { who: Witness::Edge(edge(n)), watermark, agreeing }]
    }

    #[test]
    fn the_odd_one_is_named_once_and_again_when_it_agrees_again() {
        let mut agreement = Agreement::default();
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 9)), [], "nobody to compare it with");
        assert_eq!(agreement.hear(&edge(2), &pulse(2, 7, 5)), [], "one of the two, but which?");
        assert_eq!(agreement.hear(&edge(3), &pulse(3, 7, 5)), odd(1, 7, 2));
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 9)), [], "once");
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 3, 9)), [], "rebuilding, where nobody else is known");
        let again = vec![Finding::Again { who: Witness::Edge(edge(1)), watermark: 7 }];
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 5)), again);
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 9)), odd(1, 7, 2));
    }

    #[test]
    fn the_propagators_own_fold_tells_which_of_two_is_right_and_is_outvoted_by_two() {
        let mut agreement = Agreement::default();
        agreement.own(own(7, 5));
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 9)), odd(1, 7, 1));
        let mut agreement = Agreement::default();
        agreement.own(own(7, 6));
        agreement.hear(&edge(1), &pulse(1, 7, 5));
        let found = agreement.hear(&edge(2), &pulse(2, 7, 5));
        assert!(
            found.contains(&Finding::Odd { who: Witness::Propagator, watermark: 7, agreeing: 2 }),
            "{found:?}"
        );
    }

    #[test]
    fn what_stands_elsewhere_or_is_another_version_is_not_compared() {
        let mut agreement = Agreement::default();
        agreement.own(own(7, 5));
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 6, 9)), []);
        let other = Pulse { version: "another".to_owned(), ..pulse(2, 7, 9) };
        assert_eq!(agreement.hear(&edge(2), &other), []);
        assert_eq!(agreement.hear(&edge(3), &pulse(3, 0, 9)), []);
        agreement.own(own(8, 5));
        assert_eq!(agreement.hear(&edge(1), &pulse(1, 7, 9)), odd(1, 7, 1), "a position of a moment ago");
    }

    #[test]
    fn memory_is_bounded_and_whoever_leaves_is_forgotten() {
        let mut agreement = Agreement::default();
        for watermark in 1..1000 {
            agreement.own(own(watermark, 5));
            agreement.hear(&edge(1), &pulse(1, watermark, 5));
        }
        assert!(agreement.said.values().all(|said| said.len() == REMEMBERED));
        assert_eq!(agreement.hear(&edge(2), &pulse(2, 999, 6)), odd(2, 999, 2));
        agreement.keep_only(&BTreeMap::from([(edge(1), 1)]));
        assert_eq!((agreement.said.len(), agreement.odd.len()), (2, 0));
    }
}
