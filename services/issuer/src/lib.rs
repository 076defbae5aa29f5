//! The issuer: takes commands that make keys or change how long things last, mints, seals, stages, and
//! puts the fact into the log. A secret exists outside its sealed box only inside [`prepare`].
//!
//! # Layout
//! - [`config`]: what it is told
//! - [`prepare`]: what it adds to a command before it is decided
//! - [`target`]: the keyring as it was, for a rollback
//! - [`agenda`]: when which keyring is to be looked at for a rotation by schedule; no I/O
//! - [`diary`]: what the follower hands over for that
//! - [`due`]: starts those that are due

pub mod agenda;
pub mod config;
pub mod diary;
pub mod due;
pub mod prepare;
pub mod target;

pub use config::Config;

use keywheel_bus::gate::Sources;
use keywheel_bus::{BusError, Station, Watch, intake};
use keywheel_domain::At;
use keywheel_runtime::{Shutdown, clock, observe};
use keywheel_wire::subject::Service;

/// Runs until `shutdown`.
///
/// # Errors
/// When the credential lacks a permission, or the log or the database cannot be trusted any more.
pub async fn run(config: Config, shutdown: Shutdown) -> Result<(), BusError> {
    let watch = Watch::new(Service::Issuer, |_| ());
    tokio::select! {
        ended = work(&config, &watch, &shutdown) => ended,
        never = observe::run(config.observe.http, || Box::pin(watch.ready()), || Box::pin(watch.text())) => match never {},
    }
}

async fn work(config: &Config, watch: &Watch, shutdown: &Shutdown) -> Result<(), BusError> {
    let sources = Sources { now: || At(clock::wall_ms()), fresh_id: keywheel_token::id::fresh };
    let station =
        Station::open(&config.bus, watch, config.instance, &config.data_dir, diary::leaves_work, sources)
            .await?;
    let issuer = prepare::Issuer { gate: station.gate.clone(), brand: config.key.0.clone() };
    let diary = diary::Diary::of(&station.gate)?;
    let starter = due::Starter { issuer: issuer.clone(), diary: diary.clone() };
    let work = async {
        let commands = intake::run(&station.gate, Service::Issuer, &issuer, shutdown.requested());
        tokio::try_join!(commands, starter.run(shutdown)).map(|_| ())
    };
    station.serve(diary, work).await
}
