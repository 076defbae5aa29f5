//! An edge: the real table with its lease, tally and reporter, on a disk that survives the process.

use crate::link::Handshake;
use crate::reference::Reference;
use crate::world::{DRIFT_PPM, LEASE, SKEW, START, Who, World};
use keywheel_domain::{Digest, EdgeId, Kid};
use keywheel_edge::note::{self, FreshnessNote};
use keywheel_edge::report::Reporter;
use keywheel_edge::table::{Answered, Clocks, Table};
use keywheel_edge::verify::Asked;
use keywheel_table::Answers;
use keywheel_table::fold::Head;
use keywheel_token::Presented;
use keywheel_wire::text::Id;
use keywheel_wire::usage::LastReport;
use std::cell::Cell;
use std::collections::BTreeMap;

thread_local! {
    /// The clocks of the machine whose turn it is: boot time and wall clock.
    static CLOCKS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// What is committed: rows up to the watermark, and what is kept beside them.
#[derive(Clone, Default)]
pub struct Disk {
    pub watermark: u64,
    pub notes: BTreeMap<&'static str, Vec<u8>>,
    /// The true time at which these rows were last known to be fresh.
    pub fresh_at: Option<u64>,
}

/// One run of the edge's program.
pub struct Process {
    pub boot: Id,
    pub table: Table,
    pub reporter: Reporter,
    /// Of the newest pulse.
    pub number: u64,
    pub handshake: Option<Handshake>,
    /// The number of the report that is out.
    pub reporting: Option<u64>,
    pub is_ending: bool,
    pub reference: Reference,
    pub is_committing: bool,
}

pub struct Edge {
    pub id: EdgeId,
    pub life: u32,
    pub process: Option<Process>,
    pub disk: Disk,
    /// An old copy of the disk.
    pub copy: Option<Disk>,
    /// Whether the process runs on an old copy and was not fresh since.
    pub is_rolled_back: bool,
    /// Whether what it sends gets out, and whether what it is sent comes in.
    pub gets_out: bool,
    pub gets_in: bool,
    /// Whether its consumer of the log is stalled.
    pub is_stalled: bool,
    /// Whether its credential was withdrawn.
    pub is_banned: bool,
    /// How much longer its reports and its pulses take, and committed rows until they answer.
    pub report_lag: u64,
    pub pulse_lag: u64,
    pub visible_lag: u64,
    pub paused_until: u64,
    machine: u32,
    booted_at: u64,
    skew: u64,
}

impl Edge {
    /// Its elapsed time, by a clock that runs slow.
    fn boot_ms(&self, now: u64) -> u64 {
        (now - self.booted_at) * (1_000_000 - DRIFT_PPM) / 1_000_000
    }

    /// The process, when it runs, with the machine's clocks set for it.
    pub fn running(&mut self, now: u64) -> Option<&mut Process> {
        CLOCKS.set((self.boot_ms(now), now + self.skew - SKEW));
        self.process.as_mut()
    }

    /// What it answers now.
    pub fn answer(&mut self, now: u64, kid: Kid, digest: Digest, is_probe: bool) -> Option<Answered> {
        let shown = Ok(Presented::Ours { kid, digest }.into());
        let asked = Asked { shown, scopes: &[], from: None };
        Some(self.running(now)?.table.verify(&asked, is_probe))
    }

    pub fn commit_goodbye(&mut self, last: LastReport) {
        let (name, bytes) = note::goodbye(last);
        self.disk.notes.insert(name, bytes);
    }

    /// Another run of the machine: its boot clock begins anew.
    pub fn reboot(&mut self, now: u64) {
        self.machine += 1;
        self.booted_at = now - 5;
    }

    fn note<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        let bytes = self.disk.notes.get(name).filter(|bytes| !bytes.is_empty())?;
        Some(note::read(bytes).expect("what was written can be read"))
    }
}

impl World {
    /// A machine for an edge, on which nothing runs yet, and which is not on the roster.
    pub fn build_edge(&mut self, name: &str) -> usize {
        let number = self.edges.len() as u64;
        self.edges.push(Edge {
            id: EdgeId::parse(name).unwrap(),
            life: 0,
            process: None,
            disk: Disk::default(),
            copy: None,
            is_rolled_back: false,
            gets_out: true,
            gets_in: true,
            is_stalled: false,
            is_banned: false,
            report_lag: 0,
            pulse_lag: 0,
            visible_lag: 0,
            paused_until: 0,
            machine: 0,
            booted_at: START - 1_000_000 * (number + 1),
            skew: number * 311 % (2 * SKEW),
        });
        self.edges.len() - 1
    }

    /// Starts the edge's program on whatever is on its disk.
    pub fn start_edge(&mut self, n: usize) {
        let (now, boot) = (self.now, Id(self.fresh_id()));
        self.edges[n].life += 1;
        let edge = &self.edges[n];
        let mut answers = Answers::default();
        for address in self.log.addresses() {
            answers.update(address, &self.log.state(address, edge.disk.watermark));
        }
        let noted: Option<FreshnessNote> = edge.note(note::FRESHNESS);
        let continues: Option<LastReport> = edge.note(note::GOODBYE);
        let clocks = Clocks {
            boot_ms: || CLOCKS.get().0,
            wall_ms: || CLOCKS.get().1,
            machine_boot: format!("{}-{}", edge.id, edge.machine),
        };
        let table = Table::new(edge.id.clone(), LEASE, clocks);
        let process = Process {
            boot,
            table,
            reporter: Reporter::new(edge.id.clone(), boot, continues),
            number: 0,
            handshake: None,
            reporting: None,
            is_ending: false,
            reference: Reference::new(edge.disk.fresh_at),
            is_committing: false,
        };
        let head = head_at(edge.disk.watermark);
        let edge = &mut self.edges[n];
        let (name, bytes) = note::no_goodbye();
        edge.disk.notes.insert(name, bytes);
        edge.process = Some(process);
        if let Some(process) = edge.running(now) {
            process.table.restore(answers, head, noted);
        }
        self.begin_chores(Who::Edge(n));
    }

    /// The process is killed: what was in memory is gone.
    pub fn crash_edge(&mut self, n: usize) {
        self.edges[n].life += 1;
        self.edges[n].process = None;
    }

    pub fn restart_edge(&mut self, n: usize) {
        self.crash_edge(n);
        self.start_edge(n);
    }

    /// The process is killed, and begins again on an old copy of its disk.
    pub fn restart_edge_on_copy(&mut self, n: usize) {
        self.crash_edge(n);
        if let Some(copy) = self.edges[n].copy.clone() {
            self.edges[n].disk = copy;
            self.edges[n].is_rolled_back = true;
        }
        self.start_edge(n);
    }

    /// A backup, taken while the program runs: a goodbye is void by then.
    pub fn copy_disk(&mut self, n: usize) {
        if self.edges[n].process.is_some() {
            self.edges[n].copy = Some(self.edges[n].disk.clone());
        }
    }

    /// Serves nobody from now on, reports what is left, and ends.
    pub fn end_edge(&mut self, n: usize) {
        if let Some(process) = self.edges[n].running(self.now) {
            process.table.close();
            process.is_ending = true;
        }
    }
}

pub fn head_at(watermark: u64) -> Head {
    Head { watermark, ..Head::default() }
}
