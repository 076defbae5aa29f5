//! The retirer: ends versions. By itself only when the log shows that their time has come; on command
//! when an operator retires or revokes.
//!
//! # Layout
//! - [`due`]: what the log alone says is due, executed
//! - [`commands`]: retire and revoke
//! - [`waits`]: what retirements wait for, counted

pub mod commands;
pub mod due;
pub mod waits;

use crate::waits::Waits;
use keywheel_bus::gate::Sources;
use keywheel_bus::{BusError, Station, StationConfig, Watch, intake};
use keywheel_domain::At;
use keywheel_runtime::log::LogConfig;
use keywheel_runtime::{Shutdown, clock, observe};
use keywheel_wire::subject::Service;

/// The retirer's configuration.
pub type Config = StationConfig<LogConfig>;

/// Runs until `shutdown`.
///
/// # Errors
/// When the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), BusError> {
    let waits = Waits::default();
    let watch = Watch::new(Service::Retirer, |registry| waits.register(registry));
    tokio::select! {
        ended = work(&config, &watch, &waits, &shutdown) => ended,
        never = observe::run(config.observe.http, || Box::pin(watch.ready()), || Box::pin(watch.text())) => match never {},
    }
}

async fn work(config: &Config, watch: &Watch, waits: &Waits, shutdown: &Shutdown) -> Result<(), BusError> {
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, watch, config.instance, &config.data_dir, |_| false, sources).await?;
    let work = async {
        let commands = intake::run(&station.gate, Service::Retirer, &commands::Retirer, shutdown.requested());
        tokio::try_join!(commands, due::run(&station.gate, waits, shutdown)).map(|_| ())
    };
    station.serve(keywheel_bus::follow::Unobserved, work).await
}
