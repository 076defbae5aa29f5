//! The answer of `would-accept` in words and for programs: what is certain, what is possible, and by what.

use crate::evidence::Evidence;
use crate::failure::Failure;
use crate::log_words;
use crate::past::{Doubts, Moment, event_to_json};
use crate::screen::{Mood, Shown};
use crate::session::Session;
use crate::words::{list, roughly};
use keywheel_domain::hindsight::Known;
use keywheel_domain::verdict::Verdict;
use keywheel_domain::{KeyringId, Kid, Span, Version};
use keywheel_runtime::plain;
use keywheel_table::history::Happened;
use serde_json::{Value, json};

/// What there is to say.
pub(crate) struct Answered<'a> {
    pub kid: Kid,
    pub keyring: &'a KeyringId,
    pub version: Version,
    pub moment: Moment,
    /// What an edge knew that had applied the log as it was then.
    pub known: Option<&'a Known>,
    /// Its answer, when it was fresh.
    pub verdict: Verdict,
    pub because: Vec<&'a Happened>,
    /// The event that issued it, when that came later.
    pub issued_later: Option<&'a Happened>,
    pub edges: Vec<EdgeAnswer>,
    /// Where it was needed and is known.
    pub lease: Option<Span>,
    pub doubts: Doubts<'a>,
}

/// An edge with every definite answer that it can have given.
pub(crate) struct EdgeAnswer {
    pub evidence: Evidence,
    pub possible: Vec<Verdict>,
}

fn code(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Refused(refusal) => refusal.code(),
    }
}

impl EdgeAnswer {
    /// Whether it accepted the key: certain, or open.
    fn accepted(&self) -> Option<bool> {
        match self.possible.contains(&Verdict::Valid) {
            true if self.possible.len() == 1 => Some(true),
            true => None,
            false => Some(false),
        }
    }

    /// The codes, in which nothing but "cannot say" is left where no definite answer is possible.
    fn codes(&self) -> Vec<&'static str> {
        if self.possible.is_empty() { vec!["stale"] } else { self.possible.iter().map(code).collect() }
    }

    fn row(&self) -> Vec<Shown> {
        let word = |code: &&str| if *code == "valid" { "yes".to_owned() } else { format!("no: {code}") };
        let answer = self.codes().iter().map(word).collect::<Vec<_>>().join(" or ");
        let mood = match self.accepted() {
            Some(true) => Mood::Good,
            Some(false) => Mood::Bad,
            None => Mood::Pending,
        };
        vec![
            Shown::plain(&self.evidence.edge),
            Shown::with(answer, mood),
            Shown::plain(self.evidence.words()),
        ]
    }

    fn to_json(&self) -> Value {
        json!({
            "edge": self.evidence.edge.as_str(),
            "accepted": self.accepted(),
            "answers": self.codes(),
            "applied": self.evidence.to_json(),
        })
    }
}

impl Answered<'_> {
    /// Shows it.
    pub fn show(&self, session: &Session<'_>) -> Result<(), Failure> {
        let table = match self.edges.len() {
            0 => "no edge was on the roster then".to_owned(),
            _ => session.screen.table(
                &["edge", "accepted", "what is recorded of it"],
                self.edges.iter().map(EdgeAnswer::row).collect(),
            ),
        };
        let mut lines = self.lines();
        lines.push(table);
        lines.extend(self.open_words());
        lines.extend(self.doubts.lines());
        session.screen.show(&self.to_json(), &lines.join("\n"))
    }

    fn lines(&self) -> Vec<String> {
        let (kid, keyring, version) = (self.kid, self.keyring, self.version);
        let answer = match (&self.verdict, self.known) {
            (Verdict::Valid, Some(known)) => format!("yes, it was {}", known.state.word()),
            (verdict, _) => format!("no: {}", code(verdict)),
        };
        let mut lines = vec![
            format!("{keyring} {version}, kid {kid}, as of {}", self.moment.words()),
            format!("accepted by an edge that had applied the log as it was then: {answer}"),
        ];
        lines.extend(self.because.iter().map(|happened| log_words::line(&happened.recorded)));
        lines.extend(
            self.issued_later
                .map(|happened| format!("it was issued later: {}", log_words::line(&happened.recorded))),
        );
        if let Some(known) = self.known.filter(|known| !known.spec.cidrs.is_empty()) {
            lines.push(plain::line(&format!("it is bound to {}", list(&known.spec.cidrs))).into_owned());
        }
        lines
    }

    /// What the log does not say.
    fn open_words(&self) -> Option<String> {
        let open: Vec<&str> = self
            .edges
            .iter()
            .filter(|edge| edge.possible.len() > 1)
            .map(|edge| edge.evidence.edge.as_str())
            .collect();
        if open.is_empty() {
            return None;
        }
        let lease = match self.lease {
            Some(lease) => format!("a lease of {}", roughly(lease)),
            None => "no pulse was heard, so the lease is taken for endless (pass --lease)".to_owned(),
        };
        Some(format!("nothing recorded decides between the answers of {}; {lease}", list(open)))
    }

    fn to_json(&self) -> Value {
        let event = |happened: &&Happened| {
            let mut document = event_to_json(happened);
            document["what"] = json!(log_words::fact_words(&happened.recorded.event.fact));
            document
        };
        json!({
            "kid": self.kid.as_str(),
            "tenant": self.keyring.tenant.as_str(),
            "client": self.keyring.client.as_str(),
            "version": self.version.0,
            "at": self.moment.to_json(),
            "accepted": self.verdict == Verdict::Valid,
            "code": (self.verdict != Verdict::Valid).then(|| code(&self.verdict)),
            "state": self.known.map(|known| known.state.word()),
            "cidrs": self.known.map(|known| &known.spec.cidrs),
            "because": self.because.iter().map(event).collect::<Vec<_>>(),
            "issued_later": self.issued_later.as_ref().map(event),
            "edges": self.edges.iter().map(EdgeAnswer::to_json).collect::<Vec<_>>(),
            "lease_ms": self.lease.map(|lease| lease.0),
            "frozen_at": self.doubts.frozen_at(),
            "not_believed": self.doubts.to_json(),
        })
    }
}
