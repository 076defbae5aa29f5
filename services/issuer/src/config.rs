//! What the issuer is told: file and environment, checked before anything opens.

use keywheel_bus::BusConfig;
use keywheel_runtime::log::LogConfig;
use keywheel_token::Brand;
use keywheel_wire::text::Length;
use serde::Deserialize;
use std::path::PathBuf;

/// The issuer's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which replica this is, from 1.
    #[serde(default = "first")]
    pub instance: u32,
    /// Where the fold lies.
    pub data_dir: PathBuf,
    /// The fleet's lease; the issuer waits for nobody, and accepts it so that one file fits every service.
    #[serde(default = "keywheel_bus::station::fleet_lease")]
    pub lease: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// How keys begin.
    #[serde(default)]
    pub key: KeyConfig,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}

/// How keys begin: `<brand>_<env>_`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeyConfig {
    /// The platform's own prefix.
    pub brand: String,
    /// Which of its environments.
    pub env: String,
}

fn first() -> u32 {
    1
}

impl Default for KeyConfig {
    fn default() -> Self {
        Self { brand: "kw".to_owned(), env: "live".to_owned() }
    }
}

impl KeyConfig {
    /// The brand.
    ///
    /// # Errors
    /// Names the field that cannot be used.
    pub fn brand(&self) -> Result<Brand, keywheel_domain::rejection::InvalidText> {
        Brand::parse(&self.brand, &self.env)
    }
}
