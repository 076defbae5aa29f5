//! What a campaign is run with: its seed and length, the fleet, and the durations that its promises are stated in.

use keywheel_domain::KeyringId;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

/// How long an `available` keyring is served without contact.
pub const STALE_MAX: Duration = Duration::from_secs(20);
/// The quiet period: with [`OVERLAP_MIN`], a whole rotation fits into some seconds.
pub const QUIET: Duration = Duration::from_secs(2);
/// The shortest overlap.
pub const OVERLAP_MIN: Duration = Duration::from_secs(1);
/// Instances of issuer, propagator and retirer; the usage-tracker has one active at a time.
pub const REPLICAS: u32 = 2;
/// Tenants: every other one is `strict`.
const TENANTS: usize = 4;

/// How a campaign is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything random comes from.
    pub seed: u64,
    /// How long faults are done.
    pub length: Duration,
    /// How many edges.
    pub edges: usize,
    /// How many bus nodes: 1, or a cluster of 3 or 5.
    pub cluster: u32,
    /// How many keyrings.
    pub keyrings: usize,
    /// The `keywheel` binary.
    pub binary: PathBuf,
    /// The library that lets clocks be set, where there is one.
    pub faketime: Option<PathBuf>,
    /// Where the installation lies: what the campaign may harm.
    pub home: PathBuf,
    /// Where the ledger is written; outside of `home`.
    pub ledger: PathBuf,
}

impl Settings {
    /// The fleet's lease, also as `up` is told it. On a cluster a lease is timed from when the leader was last sure to
    /// lead, which may be seconds ago.
    pub fn lease(&self) -> (Duration, &'static str) {
        if self.cluster > 1 { (Duration::from_secs(6), "6s") } else { (Duration::from_secs(2), "2s") }
    }

    /// The tenants, each with whether its class is `strict`.
    pub fn tenants() -> impl Iterator<Item = (String, bool)> {
        (0..TENANTS).map(|n| (format!("t{}", n + 1), n % 2 == 0))
    }

    /// The keyrings, each with whether its class is `strict`.
    ///
    /// # Panics
    /// Never: the names are valid.
    pub fn rings(&self) -> impl Iterator<Item = (KeyringId, bool)> {
        (0..self.keyrings).map(|n| {
            let (tenant, of) = (n % TENANTS, n / TENANTS + 1);
            let name = format!("t{}/c{of:02}", tenant + 1);
            (KeyringId::parse(&name).expect("a valid name"), tenant % 2 == 0)
        })
    }

    /// A tenant's policy.
    pub fn policy(is_strict: bool) -> Value {
        let span = |span: Duration| format!("{}ms", span.as_millis());
        json!({
            "overlap_min": span(OVERLAP_MIN),
            "quiet": span(QUIET),
            "stale_max": span(STALE_MAX),
            "class": if is_strict { "strict" } else { "available" },
        })
    }
}
