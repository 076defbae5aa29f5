//! What the issuer is told: file and environment, checked before anything opens.

use keywheel_bus::BusConfig;
use keywheel_bus::station::{self, ObserveConfig};
use keywheel_runtime::log::LogConfig;
use keywheel_token::Brand;
use keywheel_wire::text::Length;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::path::PathBuf;

/// The issuer's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which replica this is, from 1.
    #[serde(default = "station::first")]
    pub instance: NonZeroU32,
    /// Where the fold lies.
    pub data_dir: PathBuf,
    /// The fleet's lease; the issuer waits for nobody, and accepts it so that one file fits every service.
    #[serde(default = "station::fleet_lease", deserialize_with = "station::lease")]
    pub lease: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// Where to tell how it stands.
    #[serde(default)]
    pub observe: ObserveConfig,
    /// How keys begin.
    #[serde(default)]
    pub key: KeyConfig,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}

/// The table `key`: keys begin with `<brand>_<env>_`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "KeyTexts")]
pub struct KeyConfig(pub Brand);

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct KeyTexts {
    brand: String,
    env: String,
}

impl Default for KeyTexts {
    fn default() -> Self {
        Self { brand: "kw".to_owned(), env: "live".to_owned() }
    }
}

impl TryFrom<KeyTexts> for KeyConfig {
    type Error = String;

    fn try_from(texts: KeyTexts) -> Result<Self, String> {
        Brand::parse(&texts.brand, &texts.env).map(Self).map_err(|error| error.to_string())
    }
}
