//! What is wrong with a log, and where.

use std::collections::BTreeMap;
use std::fmt;

/// Most findings that are kept word for word; all are counted.
pub const LISTED_MAX: usize = 100;

/// How a message, or the log at its place, is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Messages are missing before it.
    Gap {
        /// The sequence that should have come.
        expected: u64,
    },
    /// It stands at or before the place of a message that came earlier.
    Backwards {
        /// That one's sequence.
        after: u64,
    },
    /// No entitled service wrote it here; readers skip it.
    NotBelieved(String),
    /// An entitled service wrote it and it cannot be understood; readers leave its keyring as it was.
    NotUnderstood(String),
    /// It does not continue what its keyring held before: something was taken away, exchanged or put in twice.
    Discontinuous {
        /// The revision that it names.
        revision: u64,
        /// The revision of the event before it in this log.
        after: u64,
    },
    /// Somebody saw other messages up to here.
    Contradicted {
        /// Who.
        by: String,
    },
    /// The log ends although somebody saw more of it.
    CutOff {
        /// Who.
        by: String,
        /// Up to where.
        seen: u64,
    },
    /// This is not the log that was looked at before.
    AnotherLog(String),
    /// A line of a file that holds no message, or not what it says.
    Unreadable(String),
}

impl Wrong {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Wrong::Gap { .. } => "gap",
            Wrong::Backwards { .. } => "backwards",
            Wrong::NotBelieved(_) => "not_believed",
            Wrong::NotUnderstood(_) => "not_understood",
            Wrong::Discontinuous { .. } => "discontinuous",
            Wrong::Contradicted { .. } => "contradicted",
            Wrong::CutOff { .. } => "cut_off",
            Wrong::AnotherLog(_) => "another_log",
            Wrong::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Gap { expected } => {
                write!(f, "messages are missing before it: expected sequence {expected}")
            }
            Wrong::Backwards { after } => {
                write!(f, "it comes after sequence {after}: repeated or out of order")
            }
            Wrong::NotBelieved(reason) => write!(f, "not believed: {reason}"),
            Wrong::NotUnderstood(reason) => {
                write!(f, "not understood, its keyring stays as it was: {reason}")
            }
            Wrong::Discontinuous { revision, after } if *revision == after + 1 => {
                write!(f, "its revision {revision} follows another event than the one that stands before it")
            }
            Wrong::Discontinuous { revision, after } => {
                write!(f, "its revision {revision} does not continue its keyring's revision {after}")
            }
            Wrong::Contradicted { by } => write!(f, "{by} saw other messages up to here"),
            Wrong::CutOff { by, seen } => write!(f, "the log ends before it, but {by} saw it up to {seen}"),
            Wrong::AnotherLog(detail) => write!(f, "this is another log than before: {detail}"),
            Wrong::Unreadable(detail) => f.write_str(detail),
        }
    }
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The sequence of the message, or the first one of which it can be said.
    pub seq: u64,
    /// Its subject, where there is a message.
    pub subject: Option<String>,
    /// How it is wrong.
    pub wrong: Wrong,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}", self.seq)?;
        if let Some(subject) = &self.subject {
            write!(f, ", {subject}")?;
        }
        write!(f, ": {}", self.wrong)
    }
}

/// All that was found: the first ones word for word, the rest counted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    listed: Vec<Finding>,
    counts: BTreeMap<&'static str, u64>,
    first: Option<u64>,
}

impl Findings {
    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        *self.counts.entry(finding.wrong.code()).or_default() += 1;
        self.first = Some(self.first.map_or(finding.seq, |first| first.min(finding.seq)));
        if self.listed.len() < LISTED_MAX {
            self.listed.push(finding);
        }
    }

    /// The first ones, as they were found.
    pub fn listed(&self) -> &[Finding] {
        &self.listed
    }

    /// How many there are.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many of each kind.
    pub fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// The lowest sequence that is wrong.
    pub fn first_seq(&self) -> Option<u64> {
        self.first
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
