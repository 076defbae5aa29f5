//! The messages of a log in order: each continues its keyring, none is missing, put in or exchanged, and whoever else
//! saw the log saw the same. Holds one mark for each keyring and nothing that grows with the messages.

use crate::examine::Examined;
use crate::finding::{Finding, Findings, Wrong};
use keywheel_domain::At;
use keywheel_table::Message;
use keywheel_wire::belief::{self, Doubt, Heard};
use keywheel_wire::chain::Chain;
use keywheel_wire::event::Link;
use keywheel_wire::notice::Notice;
use keywheel_wire::signers::Signers;
use std::collections::{BTreeMap, HashMap, VecDeque};

/// How many of the newest running hashes are kept, for witnesses who speak late.
const RECENT_MAX: usize = 4096;

/// Which messages of the log are handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// All of them between the first and the last; else some keyrings' only, and a missing one does not show.
    pub contiguous: bool,
    /// From each keyring's first event on; else the first one of each is taken as it stands.
    pub from_beginning: bool,
}

impl Scope {
    /// The whole log.
    pub const WHOLE: Scope = Scope { contiguous: true, from_beginning: true };
}

/// What somebody saw of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Who.
    pub who: String,
    /// Up to where.
    pub seq: u64,
    /// The running hash there.
    pub chain: Chain,
}

impl Witness {
    /// A notice, where it is a signed head of this installation's log, with the time at which that log was created.
    ///
    /// # Errors
    /// Why it is none that is believed.
    pub fn head(signers: &Signers, notice: &Message) -> Result<(Witness, At), String> {
        let Message { seq: _, subject, payload, signed } = notice;
        match belief::notice(signers, Heard::Stored, subject, payload, signed.as_ref())? {
            Notice::Head(head) if head.installation.0 == signers.installation().0 => {
                let who = "a signed head".to_owned();
                Ok((Witness { who, seq: head.seq, chain: Chain(head.chain.0) }, head.log_created.0))
            }
            Notice::Head(_) => Err("it belongs to another installation".to_owned()),
            Notice::Receipt(_) | Notice::Alarm(_) => Err("it is no head".to_owned()),
        }
    }
}

/// Where a keyring stands.
#[derive(Clone, Copy, Debug)]
struct Mark {
    revision: u64,
    prev: Option<[u8; 32]>,
}

/// Takes messages in the order in which they stand.
pub struct Inspector {
    scope: Scope,
    first: Option<u64>,
    last: u64,
    chain: Option<Chain>,
    marks: HashMap<String, Mark>,
    expected: BTreeMap<u64, Vec<Witness>>,
    recent: VecDeque<(u64, Chain)>,
    inspection: Inspection,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Inspection {
    /// Messages that were looked at.
    pub messages: u64,
    /// Those of them that count.
    pub believed: u64,
    /// Addresses (keyrings, tenants, the installation) that have one.
    pub addresses: u64,
    /// The first sequence; none in an empty log.
    pub first: Option<u64>,
    /// The last sequence; 0 in an empty log.
    pub last: u64,
    /// The running hash at the last; none where messages are missing.
    pub chain: Option<Chain>,
    /// Who saw the same, and up to where.
    pub agreed: BTreeMap<String, u64>,
    /// Witnesses that spoke of a place too far back to be compared.
    pub too_late: u64,
    /// What is wrong.
    pub findings: Findings,
}

impl Inspector {
    /// Of which nothing was taken yet.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope,
            first: None,
            last: 0,
            chain: (scope == Scope::WHOLE).then(Chain::default),
            marks: HashMap::new(),
            expected: BTreeMap::new(),
            recent: VecDeque::new(),
            inspection: Inspection::default(),
        }
    }

    /// The last sequence that was taken; 0 before the first.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The running hash there; none where messages are missing.
    pub fn chain(&self) -> Option<Chain> {
        self.chain
    }

    /// The highest place of which a witness spoke, and that was not reached yet.
    pub fn awaited(&self) -> Option<u64> {
        self.expected.last_key_value().map(|(seq, _)| *seq)
    }

    /// Somebody saw the log: it is compared there, before or after that place was reached.
    pub fn expect(&mut self, witness: Witness) {
        if self.scope != Scope::WHOLE || witness.seq == 0 {
            return;
        }
        if witness.seq > self.last {
            self.expected.entry(witness.seq).or_default().push(witness);
            return;
        }
        match self.recent.iter().find(|(seq, _)| *seq == witness.seq) {
            Some((_, chain)) => {
                let chain = *chain;
                self.compare(witness, chain);
            }
            None => self.inspection.too_late += 1,
        }
    }

    /// Whether this is the log that was created when it was looked at before.
    pub fn expect_created(&mut self, before: At, now: At) {
        if before != now {
            let written = keywheel_wire::text::moment;
            let detail = format!("it was created at {}, that one at {}", written(now), written(before));
            self.find(1, None, Wrong::AnotherLog(detail));
        }
    }

    /// Something wrong that shows outside the messages themselves.
    pub fn find(&mut self, seq: u64, subject: Option<&str>, wrong: Wrong) {
        let subject = subject.map(str::to_owned);
        self.inspection.findings.push(Finding { seq, subject, wrong });
    }

    /// Takes the next message, with what it says by itself. Whether it counts.
    pub fn take(&mut self, message: &Message, examined: &Examined) -> bool {
        self.inspection.messages += 1;
        if self.first.is_some() && message.seq <= self.last {
            let after = self.last;
            self.chain = None;
            self.find(message.seq, Some(&message.subject), Wrong::Backwards { after });
            return false;
        }
        self.place(message);
        let Message { seq, subject, .. } = message;
        match &examined.read {
            Ok(read) => self.link(message, read.link, examined.hash),
            Err(Doubt::Skip(reason)) => {
                self.find(*seq, Some(subject), Wrong::NotBelieved(without(subject, reason)));
                false
            }
            Err(Doubt::Freeze(reason)) => {
                self.find(*seq, Some(subject), Wrong::NotUnderstood(without(subject, reason)));
                // It is part of history, so what was written after it follows it.
                if let Some(mark) = self.mark(subject) {
                    let next = Mark { revision: mark.revision + 1, prev: Some(examined.hash) };
                    self.marks.insert(subject.clone(), next);
                }
                false
            }
        }
    }

    /// Where a keyring stands; none where that is not known.
    fn mark(&self, subject: &str) -> Option<Mark> {
        let start = self.scope.from_beginning.then_some(Mark { revision: 0, prev: None });
        self.marks.get(subject).copied().or(start)
    }

    /// Its place in the whole log.
    fn place(&mut self, message: &Message) {
        let expected = match self.first {
            None if self.scope.from_beginning => 1,
            None => message.seq,
            Some(_) => self.last + 1,
        };
        if self.scope.contiguous && message.seq != expected {
            self.chain = None;
            self.find(message.seq, Some(&message.subject), Wrong::Gap { expected });
        }
        self.first.get_or_insert(message.seq);
        self.last = message.seq;
        self.chain = self.chain.map(|chain| chain.next(message.seq, &message.subject, &message.payload));
        if let Some(chain) = self.chain {
            if self.recent.len() == RECENT_MAX {
                self.recent.pop_front();
            }
            self.recent.push_back((message.seq, chain));
        }
        let later = self.expected.split_off(&(message.seq + 1));
        let reached = std::mem::replace(&mut self.expected, later);
        for witness in reached.into_values().flatten().filter(|witness| witness.seq == message.seq) {
            if let Some(chain) = self.chain {
                self.compare(witness, chain);
            }
        }
    }

    fn compare(&mut self, witness: Witness, chain: Chain) {
        let Witness { who, seq, chain: seen } = witness;
        if seen == chain {
            let agreed = self.inspection.agreed.entry(who).or_default();
            *agreed = seq.max(*agreed);
        } else {
            self.find(seq, None, Wrong::Contradicted { by: who });
        }
    }

    /// Its place in its keyring. After a break the later event is gone on from, so that one wrong message is not
    /// followed by a finding for each that comes after it.
    fn link(&mut self, message: &Message, link: Link, hash: [u8; 32]) -> bool {
        let Message { seq, subject, .. } = message;
        let next = Mark { revision: link.revision, prev: Some(hash) };
        match self.mark(subject) {
            Some(Mark { revision, prev }) if link != (Link { revision: revision + 1, prev }) => {
                self.find(
                    *seq,
                    Some(subject),
                    Wrong::Discontinuous { revision: link.revision, after: revision },
                );
                if link.revision > revision {
                    self.marks.insert(subject.clone(), next);
                }
                false
            }
            Some(_) | None => {
                self.inspection.believed += 1;
                match self.marks.get_mut(subject) {
                    Some(mark) => *mark = next,
                    None => drop(self.marks.insert(subject.clone(), next)),
                }
                true
            }
        }
    }

    /// Nothing more comes.
    pub fn finish(mut self) -> Inspection {
        let (expected, last) = (std::mem::take(&mut self.expected), self.last);
        for Witness { who, seq, .. } in expected.into_values().flatten() {
            self.find(last + 1, None, Wrong::CutOff { by: who, seen: seq });
        }
        Inspection {
            addresses: self.marks.len() as u64,
            first: self.first,
            last,
            chain: self.chain,
            ..self.inspection
        }
    }
}

/// Reasons begin with the subject, which a finding names by itself.
fn without(subject: &str, reason: &str) -> String {
    let rest = reason.strip_prefix(subject).unwrap_or(reason);
    rest.trim_start_matches([':', ' ']).to_owned()
}
