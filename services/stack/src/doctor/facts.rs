//! What was seen of an installation, before anything is made of it.

use keywheel_bus::survey::{Answering, Seen, StreamFound};
use keywheel_domain::EdgeId;
use keywheel_wire::notice::SignedHead;
use keywheel_wire::pulse::Pulse;
use keywheel_wire::subject::Service;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that is looked at. What could not be looked at is absent, and why stands beside it.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// By this machine's wall clock, in Unix milliseconds.
    pub now: u64,
    /// This program's version.
    pub version: String,
    /// The home, and whether it was named: commands that are recommended name it again.
    pub home: PathBuf,
    /// Whether commands have to say `--home`.
    pub is_named: bool,
    /// The context file, where it was named.
    pub context: Option<PathBuf>,
    /// Whether the bus is one that `up` starts, and whether that runs; none where somebody else runs it.
    pub up_runs: Option<bool>,
    /// The process of that bus, or of its first server.
    pub server: String,
    /// Credentials and the signers file.
    pub files: Vec<FileFact>,
    /// Each service's key in this home.
    pub keys: Vec<(Service, String)>,
    /// Those that are not believed in that role: by the signers file and, where the bus answers, by the log's events.
    pub unlisted: Vec<(Service, String)>,
    /// Why the signers file cannot be used.
    pub signers: Option<String>,
    /// Certificates by file, with the second at which they end, or why that cannot be read.
    pub certificates: Vec<(PathBuf, Result<i64, String>)>,
    /// File systems and databases.
    pub disks: Vec<DiskFact>,
    /// How long an edge may be without contact, in milliseconds.
    pub lease_ms: u64,
    /// What the bus shows, or why it cannot be reached.
    pub bus: Option<Result<BusFacts, String>>,
    /// Where the bus is.
    pub url: String,
    /// Every edge that is listed in this home, on the roster or heard.
    pub edges: BTreeMap<EdgeId, EdgeFact>,
}

/// A file that must be there and be nobody else's to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFact {
    /// Where.
    pub path: PathBuf,
    /// Its permissions; none where it is missing.
    pub mode: Option<u32>,
    /// Whether others may read it.
    pub is_public: bool,
    /// Why its content cannot be used.
    pub damage: Option<String>,
}

/// A place that something is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFact {
    /// Where.
    pub path: PathBuf,
    /// Bytes that are free there, and bytes in all.
    pub free: Option<(u64, u64)>,
    /// Why nothing can be written there.
    pub refusal: Option<String>,
}

/// What the bus shows.
#[derive(Clone, Debug, Default)]
pub struct BusFacts {
    /// The server's version.
    pub server: String,
    /// Whether it syncs each message to disk; none where that cannot be seen.
    pub syncs: Option<bool>,
    /// How far its clock is ahead of ours, in milliseconds; none where that cannot be seen.
    pub clock_ahead_ms: Option<i64>,
    /// Why the administrator's credential shows nothing.
    pub admin: Option<String>,
    /// Every stream.
    pub streams: Vec<(String, Seen<StreamFound>)>,
    /// Every durable, with the messages that it was not given.
    pub durables: Vec<(String, Seen<u64>)>,
    /// Who answers.
    pub services: Vec<Answering>,
    /// How many of each service should.
    pub instances: u32,
    /// The log.
    pub log: Option<LogFacts>,
}

/// What the log shows.
#[derive(Clone, Debug, Default)]
pub struct LogFacts {
    /// When it was created, in Unix milliseconds.
    pub created: u64,
    /// Its last sequence.
    pub last: u64,
    /// Messages that were checked: the newest ones.
    pub checked: usize,
    /// Those of them that nobody believes, with the reason.
    pub unbelieved: Vec<(u64, String)>,
    /// The newest signed head, where there is one.
    pub head: Option<SignedHead>,
}

/// What is known of an edge.
#[derive(Clone, Debug, Default)]
pub struct EdgeFact {
    /// Whether the log has it on the roster; none where that is not known.
    pub is_on_roster: Option<bool>,
    /// Whether this home starts it.
    pub is_ours: bool,
    /// Its newest pulse, and how far its clock is ahead of ours.
    pub pulse: Option<(Pulse, i64)>,
    /// Where it listens, and what it says there of being ready.
    pub http: Option<(String, Answer)>,
}

/// What an edge says over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Ready.
    Ready,
    /// Not ready, and why.
    Unready(String),
    /// Nothing.
    Silent,
}
