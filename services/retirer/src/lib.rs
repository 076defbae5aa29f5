//! The retirer: ends versions. By itself only when the log shows that their time has come; on command
//! when an operator retires or revokes.
//!
//! # Layout
//! - [`due`]: what the log alone says is due, executed
//! - [`commands`]: retire and revoke

pub mod commands;
pub mod due;

use keywheel_bus::gate::Sources;
use keywheel_bus::{BusError, Station, StationConfig, intake};
use keywheel_domain::At;
use keywheel_runtime::log::LogConfig;
use keywheel_runtime::{Shutdown, clock};
use keywheel_wire::subject::Service;

/// The retirer's configuration.
pub type Config = StationConfig<LogConfig>;

/// Runs until `shutdown`.
///
/// # Errors
/// When the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), BusError> {
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, Service::Retirer, config.instance, &config.data_dir, |_| false, sources)
            .await?;
    let work = async {
        let commands = intake::run(&station.gate, Service::Retirer, &commands::Retirer, shutdown.requested());
        tokio::try_join!(commands, due::run(&station.gate, &shutdown)).map(|_| ())
    };
    station.serve(keywheel_bus::follow::Unobserved, work).await
}
