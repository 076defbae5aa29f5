//! Every request, by keyring and in the order in which they were sent.

use crate::faults::ledger::{Answer, Entry, Micros, Why};
use std::collections::BTreeMap;

/// One request.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Before the first byte left.
    pub sent: Micros,
    /// After the answer was read.
    pub answered: Micros,
    /// Which edge.
    pub edge: &'a str,
    /// The version that was shown.
    pub version: u32,
    /// What for.
    pub why: Why,
    /// What came back.
    pub answer: &'a Answer,
    /// The entry.
    pub entry: &'a Entry,
}

impl Asked<'_> {
    /// Whether it was accepted.
    pub fn is_accepted(&self) -> bool {
        matches!(self.answer, Answer::Accepted(_))
    }

    /// Whether it was a yes or a no.
    pub fn is_definite(&self) -> bool {
        matches!(self.answer, Answer::Accepted(_) | Answer::Refused(_))
    }

    /// Whether, if accepted, it counts as use by its holder.
    pub fn counts(&self) -> bool {
        match self.why {
            Why::Newest | Why::Fallback | Why::Straggler => true,
            Why::Probe => false,
        }
    }
}

/// All requests.
pub struct Requests<'a>(BTreeMap<&'a str, Vec<Asked<'a>>>);

impl<'a> Requests<'a> {
    /// Reads the entries.
    pub fn read(entries: &'a [Entry]) -> Requests<'a> {
        let mut all: BTreeMap<&str, Vec<Asked<'_>>> = BTreeMap::new();
        for entry in entries {
            if let Entry::Request { sent, answered, edge, keyring, version, why, answer } = entry {
                let (sent, answered, version, why) = (*sent, *answered, *version, *why);
                let asked = Asked { sent, answered, edge, version, why, answer, entry };
                all.entry(keyring).or_default().push(asked);
            }
        }
        for requests in all.values_mut() {
            requests.sort_by_key(|asked| (asked.sent, asked.answered));
        }
        Requests(all)
    }

    /// By keyring.
    pub fn by_keyring(&self) -> impl Iterator<Item = (&'a str, &[Asked<'a>])> {
        self.0.iter().map(|(keyring, requests)| (*keyring, requests.as_slice()))
    }

    /// A keyring's, sent in `from..to`.
    pub fn sent(&self, keyring: &str, from: Micros, to: Micros) -> &[Asked<'a>] {
        let all = self.0.get(keyring).map(Vec::as_slice).unwrap_or_default();
        let at = |time| all.partition_point(|asked| asked.sent < time);
        all.get(at(from)..at(to.max(from))).unwrap_or_default()
    }
}
