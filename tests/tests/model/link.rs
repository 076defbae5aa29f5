//! What goes between an edge and the bus: handshakes and reports. Requests and replies may each be lost,
//! delayed or doubled, and each direction may be cut.

use crate::bus::Queued;
use crate::log::CREATED;
use crate::world::{Happening, LEASE, Who, World, Wrong};
use keywheel_bus::log::LogHead;
use keywheel_domain::At;
use keywheel_edge::lease::Instant;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::text::{Hex32, Moment};
use keywheel_wire::usage::Report;

/// An edge gives a handshake up after this long.
const HANDSHAKE_MAX: u64 = 5000;
const PULSE_EVERY: u64 = 2000;
const REPORT_EVERY: u64 = 2000;

/// A handshake on its way.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub number: u64,
    pub began: Instant,
    pub began_true: u64,
    pub visible: u64,
    /// The head, when it was (wrongly) read first.
    pub head: Option<u64>,
    pub is_stored: bool,
}

/// From an edge to the bus.
#[derive(Clone, Debug)]
pub struct Flight {
    pub edge: usize,
    pub life: u32,
    pub request: Request,
}

#[derive(Clone, Debug)]
pub enum Request {
    StorePulse(Pulse),
    AskHead { number: u64 },
    StoreReport(Report),
}

/// From the bus to an edge.
#[derive(Clone, Debug)]
pub enum Reply {
    PulseStored { number: u64 },
    Head { number: u64, head: u64 },
    ReportStored { number: u64 },
}

impl World {
    /// Sends an edge's request, if it gets out; sometimes twice.
    fn send(&mut self, edge: usize, request: Request, extra: u64) {
        let life = self.edges[edge].life;
        let flight = Flight { edge, life, request };
        if self.is_lost() {
            return;
        }
        let twice = self.faults.strikes && self.rng.chance(self.faults.doubled);
        let delay = self.delay() + extra;
        // The same pulse is never stored again after a later one: whoever publishes it sends it once.
        if twice && !matches!(flight.request, Request::StorePulse(_)) {
            let later = self.delay() + extra;
            self.after(later, Happening::ToBus(flight.clone()));
        }
        self.after(delay, Happening::ToBus(flight));
    }

    fn reply(&mut self, edge: usize, life: u32, reply: Reply) {
        if !self.is_lost() {
            let delay = self.delay();
            self.after(delay, Happening::ToEdge { edge, life, reply });
        }
    }

    pub fn pulse(&mut self, edge: usize) -> u64 {
        self.begin_handshake(edge);
        PULSE_EVERY
    }

    /// Begins a handshake unless one is under way.
    pub fn begin_handshake(&mut self, n: usize) {
        let (now, wrong) = (self.now, self.wrong);
        let watermark = self.edges[n].disk.watermark;
        let id = self.edges[n].id.to_string();
        let Some(process) = self.edges[n].running(now) else { return };
        if process.handshake.as_ref().is_some_and(|under_way| now < under_way.began_true + HANDSHAKE_MAX) {
            return;
        }
        process.number += 1;
        let (began, status) = (process.table.instant(), process.table.status());
        let visible = status.head.watermark;
        let told = if wrong == Wrong::PulseTellsCommitted { watermark } else { visible };
        let number = process.number;
        let pulse = Pulse {
            id,
            boot: process.boot,
            number,
            watermark: told,
            chain: Hex32([0; 32]),
            digest: Hex32([0; 32]),
            clock: Moment(At(began.wall_ms)),
            keys: 0,
            version: String::new(),
            lease_ms: LEASE.0,
            agrees: None,
        };
        process.handshake =
            Some(Handshake { number, began, began_true: now, visible, head: None, is_stored: false });
        if wrong == Wrong::HeadBeforePulse {
            self.send(n, Request::AskHead { number }, 0);
        }
        let lag = self.edges[n].pulse_lag;
        self.send(n, Request::StorePulse(pulse), lag);
    }

    pub fn arrive_at_bus(&mut self, flight: Flight) {
        let Flight { edge, life, request } = flight;
        let from = &self.edges[edge];
        if !from.gets_out || from.is_banned {
            return;
        }
        let id = from.id.clone();
        match request {
            Request::StorePulse(pulse) => {
                let number = pulse.number;
                self.bus.pulses.insert(id, (pulse.clone(), At(self.now)));
                for propagator in 0..self.propagators.len() {
                    self.let_hear(propagator, &pulse);
                }
                self.reply(edge, life, Reply::PulseStored { number });
            }
            Request::AskHead { number } => {
                let head = self.log.head();
                self.reply(edge, life, Reply::Head { number, head });
            }
            Request::StoreReport(report) => {
                let number = report.number;
                let (stored_at, next_at) = (At(self.now), self.now);
                self.bus.usage.push(Queued { edge: id, report, stored_at, next_at });
                self.reply(edge, life, Reply::ReportStored { number });
            }
        }
    }

    pub fn arrive_at_edge(&mut self, n: usize, life: u32, reply: Reply) {
        let now = self.now;
        let edge = &mut self.edges[n];
        if edge.life != life || !edge.gets_in || edge.is_banned {
            return;
        }
        let Some(process) = edge.running(now) else { return };
        match reply {
            Reply::PulseStored { number } => {
                let Some(ours) = process.handshake.as_mut().filter(|ours| ours.number == number) else {
                    return;
                };
                ours.is_stored = true;
                match ours.head {
                    Some(head) => self.complete_handshake(n, head),
                    None => self.send(n, Request::AskHead { number }, 0),
                }
            }
            Reply::Head { number, head } => {
                let Some(ours) = process.handshake.as_mut().filter(|ours| ours.number == number) else {
                    return;
                };
                if ours.is_stored {
                    self.complete_handshake(n, head);
                } else {
                    ours.head = Some(head);
                }
            }
            Reply::ReportStored { number } => {
                if process.reporting == Some(number) {
                    process.reporting = None;
                    process.reporter.acknowledged();
                    self.end_after_goodbye(n);
                }
            }
        }
    }

    fn complete_handshake(&mut self, n: usize, head: u64) {
        let now = self.now;
        let Some(process) = self.edges[n].running(now) else { return };
        let Some(Handshake { began, began_true, visible, .. }) = process.handshake.take() else { return };
        if process.table.prove(began, visible, LogHead { seq: head, created: CREATED }).is_ok() {
            process.reference.proved(began_true, head);
            self.note_own_freshness(n);
            self.count("handshakes");
        }
    }

    /// Sends the report that is due, or the one that is not acknowledged, again.
    pub fn report(&mut self, n: usize) -> u64 {
        let (now, lag) = (self.now, self.edges[n].report_lag);
        if let Some(process) = self.edges[n].running(now) {
            let (table, is_ending) = (&process.table, process.is_ending);
            let report = process.reporter.to_send(is_ending, |most| table.take_uses(most)).clone();
            process.reporting = Some(report.number);
            self.send(n, Request::StoreReport(report), lag);
        }
        REPORT_EVERY
    }

    fn end_after_goodbye(&mut self, n: usize) {
        let now = self.now;
        let Some(process) = self.edges[n].running(now) else { return };
        if process.is_ending
            && let Some(last) = process.reporter.goodbye()
        {
            self.edges[n].commit_goodbye(last);
            self.crash_edge(n);
            self.count("goodbyes");
            self.tell(|| format!("{:?} said goodbye", Who::Edge(n)));
        }
    }
}
