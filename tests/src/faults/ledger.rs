//! What a campaign writes down, one line an entry, so that every single answer can be judged afterwards.
//!
//! All times are microseconds since the campaign began, on the harness's own monotonic clock: no faulted clock takes
//! part. The ledger lies outside every folder that is faulted.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Microseconds since the campaign began.
pub type Micros = u64;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum Entry {
    /// The first: what was run, and the durations that the promises are stated in.
    Began {
        /// Seed of operator, clients and nemesis.
        seed: u64,
        /// The fleet's lease.
        lease: Micros,
        /// How long an `available` keyring is served without contact.
        stale_max: Micros,
        /// The quiet period.
        quiet: Micros,
        /// Names of the edges.
        edges: Vec<String>,
        /// `tenant/client` of each keyring, and whether its class is `strict`.
        keyrings: Vec<(String, bool)>,
    },
    /// The machine's own clock, read at the beginning and every few seconds: it leads from times in the log to these.
    Clock {
        /// When.
        at: Micros,
        /// Milliseconds since 1970.
        wall: u64,
    },
    /// A command was published; more copies of one id are sent later and may arrive after its outcome.
    Command {
        /// Before the first byte left.
        sent: Micros,
        /// When the bus acknowledged that it is durable; absent if it never said so.
        acknowledged: Option<Micros>,
        /// The command's id, as text.
        id: String,
        /// `tenant/client`.
        keyring: String,
        /// `issue`, `rotate`, `retire`, `revoke`, `rollback`.
        verb: String,
        /// The version that it names, where it names one.
        version: Option<u32>,
        /// Which copy of this id it is, from 1.
        copy: u32,
    },
    /// An outcome was read; a command may have several entries, which must agree.
    Outcome {
        /// After it was read.
        read: Micros,
        /// The command's id.
        id: String,
        /// `accepted`, `unchanged`, `rejected`.
        outcome: String,
        /// Why it was rejected.
        code: Option<String>,
        /// Sequence of its event.
        sequence: Option<u64>,
        /// The version that it made or touched.
        version: Option<u32>,
    },
    /// A client opened a sealed key and uses it from now on.
    Delivered {
        /// After it was opened, before it is first shown.
        at: Micros,
        /// `tenant/client`.
        keyring: String,
        /// Its version.
        version: u32,
        /// Its public part.
        kid: String,
    },
    /// A key was shown to an edge.
    Request {
        /// Before the first byte left.
        sent: Micros,
        /// After the answer was read.
        answered: Micros,
        /// Which edge.
        edge: String,
        /// `tenant/client` of who holds the key.
        keyring: String,
        /// The version that was shown, by the holder's own account.
        version: u32,
        /// What it was shown for.
        why: Why,
        /// What came back.
        answer: Answer,
    },
    /// A receipt was seen on the bus: from here on nothing may accept these versions.
    Receipt {
        /// After it was read.
        read: Micros,
        /// `tenant/client`.
        keyring: String,
        /// The versions that it is about.
        versions: Vec<u32>,
        /// Sequence of the event that it is about.
        position: u64,
        /// Until when an edge that was not reached may still accept, as the receipt says; absent where all were.
        open_until: Option<Micros>,
    },
    /// A fault began.
    Fault {
        /// Before it was done.
        at: Micros,
        /// Its number.
        number: u32,
        /// `kill`, `pause`, `cut`, `one_way`, `delay`, `half_open`, `restart`, `clock`, `disk`.
        kind: String,
        /// What it was done to: `issuer`, `edge-2`, `nats`, …
        target: String,
    },
    /// A fault ended: the target runs again, its links are whole, its clock is right.
    Healed {
        /// After it was done.
        at: Micros,
        /// The fault's number.
        number: u32,
    },
    /// A message of the log, read when all was over.
    Logged {
        /// Its position.
        sequence: u64,
        /// When the bus stored it, by the machine's own clock (a bus node is never given another).
        stored: Micros,
        /// `tenant/client`, or `_/_`.
        keyring: String,
        /// The event as its JSON document (`schemas/`), or `null` where it is not believed.
        event: serde_json::Value,
        /// The payload as hexadecimal digits, as it was stored: what is judged.
        payload: String,
    },
    /// What an edge answered with when all was over and it had applied the whole log.
    Table {
        /// Which edge.
        edge: String,
        /// Its watermark.
        position: u64,
        /// Its digest.
        digest: String,
        /// The digest of `fold(log)` at that position, by a replay of the harness's own.
        folded: String,
    },
    /// A key's text was found where none may be.
    Leak {
        /// File or answer, and which version of which keyring.
        place: String,
    },
    /// The last: all faults are healed, everything has come to rest.
    Ended {
        /// When.
        at: Micros,
    },
}

/// What a key was shown for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A client's traffic: the newest key that it was delivered.
    Newest,
    /// The same client's one other try after a 401, with the newest that has been delivered since, or the one before.
    Fallback,
    /// Somebody goes on with a key that is superseded: must be accepted until it retires, and holds that up.
    Straggler,
    /// A check on a key that should be refused; no use by its holder.
    Probe,
}

/// What an edge said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// 200; the version as the edge knows it.
    Accepted(u32),
    /// A definite no: the code (`unknown`, `retired`, `revoked`, `expired`, …).
    Refused(String),
    /// 503: `stale`, `not_ready`, `too_slow`.
    Unavailable(String),
    /// No answer: connection refused or broken, or nothing in time.
    None,
}

/// Where a campaign writes.
pub struct Ledger(Mutex<BufWriter<File>>);

impl Ledger {
    /// Begins a new one.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn create(path: &Path) -> io::Result<Ledger> {
        Ok(Ledger(Mutex::new(BufWriter::new(File::create(path)?))))
    }

    /// Writes one entry.
    ///
    /// # Errors
    /// When it cannot be written: the campaign is then worth nothing.
    pub fn write(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
    }

    /// Writes out what is still in memory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn flush(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

/// Reads a ledger back, in the order in which it was written.
///
/// # Errors
/// When the file cannot be read, or a line is no entry.
pub fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let lines = BufReader::new(File::open(path)?).lines();
    lines.map(|line| serde_json::from_str(&line?).map_err(io::Error::other)).collect()
}
