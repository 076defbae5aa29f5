//! Configuration: a file and variables of the environment, as each kind of service reads them.

use keywheel_bus::station::StationConfig;
use keywheel_runtime::log::LogConfig;
use keywheel_runtime::{ConfigError, config, exit, plain};
use serde::de::DeserializeOwned;
use std::path::Path;

/// A file; after a line `%`, variables as `NAME=VALUE`, one a line.
pub fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (file, variables) = text.split_once("\n%\n").unwrap_or((&text, ""));
    let variables: Vec<(String, String)> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let edge = load::<keywheel_edge::Config>(file, &variables);
    if let Some(edge) = edge {
        let _ = edge.check().map_err(|error| assert_told(&error));
    }
    load::<keywheel_issuer::Config>(file, &variables);
    load::<StationConfig<LogConfig>>(file, &variables);
}

fn load<T: DeserializeOwned>(file: &str, variables: &[(String, String)]) -> Option<T> {
    let read = config::parse(Path::new("service.toml"), file, variables.iter().cloned());
    if let Err(error) = &read {
        assert_told(error);
    }
    assert!(read.is_err() || file.len() <= config::FILE_BYTES_MAX);
    read.ok()
}

fn assert_told(error: &ConfigError) {
    assert_eq!(exit::code(error), exit::CONFIG);
    let told = exit::chain(error);
    // The field, the detail and the place, each cut by itself.
    assert!(told.len() <= 4096, "{} bytes: {told}", told.len());
    assert!(plain::line(&told).chars().all(plain::prints));
}
