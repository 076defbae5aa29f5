//! `keywheel run`: one service, for production. Its configuration is checked before anything opens.

use clap::{Args, ValueEnum};
use keywheel_runtime::log::LogConfig;
use keywheel_runtime::{Shutdown, config, log, service};
use serde::de::DeserializeOwned;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// How long a service may take to end once it is asked to.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs one service in the foreground until SIGTERM or SIGINT.
///
/// Settings come from the file, overlaid by the environment: `KEYWHEEL_BUS__URL` is `bus.url`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  keywheel run edge --config /etc/keywheel/edge.toml")]
pub struct Run {
    /// Which service.
    service: Service,
    /// Its configuration (TOML).
    #[arg(long)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Service {
    Issuer,
    Propagator,
    UsageTracker,
    Retirer,
    Edge,
}

impl Run {
    /// Runs the service to its end.
    pub fn run(self) -> ExitCode {
        let file = self.config.as_deref();
        match self.service {
            Service::Issuer => serve(file, "issuer", keywheel_issuer::run),
            Service::Propagator => serve(file, "propagator", keywheel_propagator::run),
            Service::UsageTracker => serve(file, "usage-tracker", keywheel_usage_tracker::run),
            Service::Retirer => serve(file, "retirer", keywheel_retirer::run),
            Service::Edge => serve(file, "edge", keywheel_edge::run),
        }
    }
}

/// Every service's configuration says how it logs. Those that only decide share one type.
trait Logs {
    fn log(&self) -> &LogConfig;
}

macro_rules! logs {
    ($($config:ty),*) => { $(impl Logs for $config { fn log(&self) -> &LogConfig { &self.log } })* };
}
logs!(keywheel_issuer::Config, keywheel_propagator::Config, keywheel_retirer::Config, keywheel_edge::Config);

fn serve<C, F, R, E>(file: Option<&Path>, name: &str, run: F) -> ExitCode
where
    C: DeserializeOwned + Logs,
    F: FnOnce(C, Shutdown) -> R,
    R: Future<Output = Result<(), E>>,
    E: Into<Box<dyn Error + Send + Sync>>,
{
    let config: C = match config::load(file, config::environment()) {
        Ok(config) => config,
        Err(error) => return service::misconfigured(&error),
    };
    log::init(config.log());
    service::run(name, DRAIN, |shutdown| run(config, shutdown))
}
