//! A small model of edges and of the channel between them and the tracker: edges serve, report, crash,
//! say goodbye and are cut off; the channel delays, doubles and reorders. It keeps the truth.

use keywheel_domain::event::QuietProof;
use keywheel_domain::{At, EdgeId, KeyringId, Span, Version};
use keywheel_usage_tracker::ledger::{Arrived, Ledger};
use keywheel_usage_tracker::quiet::{Asked, Blocked, Silence, Witness, prove};
use keywheel_wire::text::Id;
use keywheel_wire::usage::{LastReport, Report, VersionUse};
use std::path::Path;

pub const QUIET: Span = Span::secs(20);
pub const HORIZON: Span = Span::secs(15);

/// One edge.
struct Edge {
    name: EdgeId,
    running: bool,
    connected: bool,
    boot: u128,
    number: u64,
    /// Uses that no report carries yet: lost by a crash.
    counted: u64,
    /// Cut and not acknowledged.
    outstanding: Option<Report>,
    /// Kept on disk by a goodbye, taken away by the next start.
    marker: Option<LastReport>,
    contact: At,
}

/// Everything.
pub struct Fleet {
    pub now: At,
    edges: Vec<Edge>,
    boots: u128,
    queue: Vec<(usize, Option<Report>, At)>,
    /// Stored, and on its way for long.
    held: Vec<(usize, Option<Report>, At)>,
    pub ledger: Ledger,
    /// When the version was accepted, anywhere.
    pub accepted: Vec<At>,
}

fn keyring() -> KeyringId {
    KeyringId::parse("acme/api").unwrap()
}

impl Fleet {
    pub fn new(edges: usize) -> Self {
        let now = At(1_000_000);
        let edge = |n: usize| Edge {
            name: EdgeId::parse(&format!("e{n}")).unwrap(),
            running: false,
            connected: true,
            boot: 0,
            number: 0,
            counted: 0,
            outstanding: None,
            marker: None,
            contact: now,
        };
        let ledger = Ledger::open(Path::new(":memory:")).unwrap();
        let edges = (0..edges).map(edge).collect();
        Self { now, edges, boots: 0, queue: vec![], held: vec![], ledger, accepted: vec![] }
    }

    /// Time passes; whoever is connected gives a sign of life.
    pub fn pass(&mut self, secs: u64) {
        for _ in 0..secs {
            self.now = self.now.after(Span::secs(1));
            for edge in self.edges.iter_mut().filter(|edge| edge.running && edge.connected) {
                edge.contact = self.now;
            }
        }
    }

    pub fn start(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        if !edge.running && edge.connected {
            self.boots += 1;
            (edge.running, edge.boot, edge.number) = (true, self.boots, 0);
            edge.contact = self.now;
        }
    }

    /// The old version is shown; the edge accepts it while it may.
    pub fn show(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        if edge.running && self.now <= edge.contact.after(HORIZON) {
            edge.counted += 1;
            self.accepted.push(self.now);
        }
    }

    pub fn connect(&mut self, n: usize, connected: bool) {
        self.edges[n].connected = connected;
    }

    /// What was not reported is lost, and so is the marker: the boot that crashes had taken it.
    pub fn crash(&mut self, n: usize) {
        let edge = &mut self.edges[n];
        if edge.running {
            (edge.running, edge.counted, edge.outstanding, edge.marker) = (false, 0, None, None);
        }
    }

    /// Cuts the next report, which is sent later.
    pub fn cut(&mut self, n: usize) {
        if self.edges[n].running {
            let report = self.edges[n].cut(false);
            self.edges[n].outstanding = Some(report);
        }
    }

    /// Sends the next report, or the same again while it is not acknowledged.
    pub fn report(&mut self, n: usize, acknowledged: bool, readable: bool) {
        if self.edges[n].running && self.edges[n].connected {
            let report = self.edges[n].cut(false);
            self.queue.push((n, readable.then(|| report.clone()), self.now));
            self.edges[n].outstanding = (!acknowledged).then_some(report);
        }
    }

    /// Ends on purpose: everything is reported and acknowledged, then the marker is written.
    pub fn goodbye(&mut self, n: usize) {
        if self.edges[n].running && self.edges[n].connected {
            self.report(n, true, true);
            let edge = &mut self.edges[n];
            let report = edge.cut(true);
            edge.marker = Some(LastReport { boot: report.boot, number: report.number });
            edge.running = false;
            self.queue.push((n, Some(report), self.now));
        }
    }

    /// Everything in order; without an acknowledgement all of it comes again.
    pub fn deliver_all(&mut self, acknowledged: bool) {
        for at in 0..self.queue.len() {
            self.take(at);
        }
        if acknowledged {
            self.queue.clear();
        }
    }

    /// One of those that wait, whichever.
    pub fn deliver(&mut self, which: proptest::sample::Index, acknowledged: bool) {
        if !self.queue.is_empty() {
            let at = which.index(self.queue.len());
            self.take(at);
            if acknowledged {
                self.queue.remove(at);
            }
        }
    }

    /// Whatever waits is delayed for long, until it is released.
    pub fn hold(&mut self) {
        self.held.append(&mut self.queue);
    }

    pub fn release(&mut self) {
        self.queue.append(&mut self.held);
    }

    fn take(&mut self, at: usize) {
        let (n, report, stored_at) = &self.queue[at];
        let edge = &self.edges[*n].name;
        let arrived = Arrived { edge, report: report.as_ref(), stored_at: *stored_at };
        self.ledger.take(&[arrived]).unwrap();
    }

    /// What the tracker would prove now.
    pub fn prove(&mut self) -> Result<QuietProof, Blocked> {
        let snapshot = self.ledger.snapshot([&keyring()]).unwrap();
        let witness = |edge: &Edge| Witness {
            edge: edge.name.clone(),
            covered: snapshot.coverage.get(&edge.name).and_then(|coverage| coverage.stretch()),
            silence: Some(Silence { contact: edge.contact, horizon: HORIZON }),
        };
        let edges: Vec<Witness> = self.edges.iter().map(witness).collect();
        let last_use = snapshot.uses[&keyring()].get(&Version(1)).map(|seen| seen.last);
        prove(&Asked { quiet: QUIET, last_use, now: self.now, edges: &edges })
    }
}

impl Edge {
    fn cut(&mut self, goodbye: bool) -> Report {
        if let Some(same) = self.outstanding.take() {
            return same;
        }
        let uses = std::mem::take(&mut self.counted);
        let version = VersionUse { tenant: "acme".to_owned(), client: "api".to_owned(), version: 1, uses };
        let continues = if self.number == 0 { self.marker.take() } else { None };
        let number = self.number;
        self.number += 1;
        let boot = Id(self.boot);
        Report {
            edge: self.name.to_string(),
            boot,
            number,
            continues,
            goodbye,
            uses: vec![version],
            refused: vec![],
        }
    }
}
