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
use keywheel_bus::{BusError, Station, intake};
use keywheel_domain::At;
use keywheel_runtime::{Shutdown, clock};
use keywheel_wire::subject::Service;

/// Runs until `shutdown`.
///
/// # Errors
/// When the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), BusError> {
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, Service::Issuer, config.instance, &config.data_dir, |_| false, sources)
            .await?;
    let issuer = prepare::Issuer { gate: station.gate.clone(), brand: config.key.0 };
    let work = intake::run(&station.gate, Service::Issuer, &issuer, shutdown.requested());
    station.serve(keywheel_bus::follow::Unobserved, work).await
}
