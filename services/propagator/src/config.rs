//! What the propagator is told: file and environment, checked before anything opens.

use crate::snapshots::Schedule;
use keywheel_bus::BusConfig;
use keywheel_bus::station::{self, ObserveConfig};
use keywheel_runtime::log::LogConfig;
use keywheel_wire::text::Length;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// The propagator's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which replica this is, from 1.
    #[serde(default = "station::first")]
    pub instance: NonZeroU32,
    /// Where the fold lies.
    pub data_dir: PathBuf,
    /// The fleet's lease.
    #[serde(default = "station::fleet_lease", deserialize_with = "station::lease")]
    pub lease: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// Where to tell how it stands.
    #[serde(default)]
    pub observe: ObserveConfig,
    /// How often the table is written into the store of snapshots.
    #[serde(default)]
    pub snapshot: Schedule,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}
