//! The issuer: takes commands that make keys or change how long things last, mints, seals, stages, and
//! puts the fact into the log. A secret exists outside its sealed box only inside [`prepare`].
//!
//! # Layout
//! - [`config`]: what it is told
//! - [`prepare`]: what it adds to a command before it is decided
//! - [`target`]: the keyring as it was, for a rollback

pub mod config;
pub mod prepare;
pub mod target;

pub use config::Config;

use keywheel_bus::gate::Sources;
use keywheel_bus::{Station, intake};
use keywheel_domain::At;
use keywheel_runtime::{ConfigError, Shutdown, clock};
use keywheel_wire::subject::Service;

/// Runs until `shutdown`.
///
/// # Errors
/// When the brand cannot be used, the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> anyhow::Result<()> {
    let brand = config.key.brand().map_err(|error| ConfigError::invalid("key", error))?;
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, Service::Issuer, config.instance, &config.data_dir, |_| false, sources)
            .await?;
    let issuer = prepare::Issuer { gate: station.gate.clone(), brand };
    let work = intake::run(&station.gate, Service::Issuer, &issuer, shutdown.requested());
    station.serve(keywheel_bus::follow::Unobserved, work).await?;
    Ok(())
}
