//! What the usage-tracker is told: file and environment, checked before anything opens.

use keywheel_bus::BusConfig;
use keywheel_domain::Span;
use keywheel_runtime::ConfigError;
use keywheel_runtime::log::LogConfig;
use keywheel_wire::text::Length;
use serde::Deserialize;
use std::path::PathBuf;

/// The usage-tracker's configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which replica this is, from 1. One runs at a time.
    #[serde(default = "first")]
    pub instance: u32,
    /// Where the fold and the ledger lie.
    pub data_dir: PathBuf,
    /// How long an edge may serve as fresh after its last contact: one number for the whole fleet.
    #[serde(default = "lease")]
    pub lease: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// How to log.
    #[serde(default)]
    pub log: LogConfig,
}

fn first() -> u32 {
    1
}

fn lease() -> Length {
    Length(Span::secs(15))
}

impl Config {
    /// What the types alone do not say.
    ///
    /// # Errors
    /// Names the field that cannot be used.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.instance == 0 {
            return Err(ConfigError::invalid("instance", "replicas are counted from 1"));
        }
        if self.lease.0 == Span(0) {
            return Err(ConfigError::invalid("lease", "a lease takes some time; write 15s"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_runtime::config::load;

    fn from_env(lines: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let needed = [
            ("KEYWHEEL_DATA_DIR", "/tmp/x"),
            ("KEYWHEEL_BUS__URL", "nats://localhost"),
            ("KEYWHEEL_BUS__CREDENTIALS", "/tmp/x.nk"),
        ];
        let all = needed.iter().chain(lines).map(|(name, value)| (String::from(*name), String::from(*value)));
        let config: Config = load(None, all)?;
        config.check().map(|()| config)
    }

    #[test]
    fn what_is_not_said_has_defaults() {
        let config = from_env(&[]).unwrap();
        assert_eq!((config.instance, config.lease), (1, Length(Span::secs(15))));
    }

    #[test]
    fn a_bad_value_names_its_field() {
        for (variable, value, field) in [
            ("KEYWHEEL_LEASE", "soon", "lease: "),
            ("KEYWHEEL_LEASE", "0s", "lease: "),
            ("KEYWHEEL_INSTANCE", "0", "instance: "),
            ("KEYWHEEL_LEAS", "1s", "leas: "),
        ] {
            let error = from_env(&[(variable, value)]).unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
