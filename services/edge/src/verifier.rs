//! The check inside a service: a table in its own memory, kept by threads of its own.

use crate::config::Config;
use crate::http::standing::unready;
use crate::http::{App, Asks};
use crate::storage;
use crate::table::Answered;
use crate::upkeep::{Kept, OnDenial, Upkeep};
use anyhow::{Context as _, bail};
use keywheel_runtime::Shutdown;
use std::fs::File;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Verifies keys inside a service, as an edge of its own: it stands on the roster (`keywheel edge add`), follows the
/// log, and reports what was used. Clones are one and the same.
///
/// What keeps the table runs on a thread of its own, so that a busy service does not make it stale, and it does not
/// matter which executor the service has.
///
/// ```no_run
/// use keywheel_edge::{Config, Verifier};
/// use std::{path::Path, time::Duration};
///
/// # async fn serve() -> anyhow::Result<()> {
/// let config = Config::read(Path::new(".keywheel/config/edge-notes.toml"))?;
/// let verifier = Verifier::open(config).await?;
/// verifier.ready(Duration::from_secs(30)).await?;
///
/// match verifier.verify("kw_live_…", &["read"], None).outcome {
///     Ok(identity) => println!("{} of {}", identity.client(), identity.tenant()),
///     Err(refusal) => println!("refused: {}", refusal.code()),
/// }
///
/// verifier.close().await; // reports what was used
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    app: App,
    shutdown: Shutdown,
    keeping: Mutex<Option<JoinHandle<bool>>>,
    /// Dropped last: it ends what still runs.
    background: Background,
}

/// A runtime that may be dropped anywhere.
struct Background(Option<Runtime>);

impl Verifier {
    /// Loads the table that an earlier process left and begins to follow the log. Does not wait for the bus: until
    /// [`Verifier::ready`] keys may be refused with `not_ready` or `stale`. The tables `http` and `grpc` of the
    /// configuration say where a process listens and are not used here, but for `http.trusted_proxies`.
    ///
    /// # Errors
    /// When the configuration, the folder, the database or the credential cannot be used. One folder serves one
    /// verifier.
    pub async fn open(config: Config) -> anyhow::Result<Verifier> {
        config.check().context("configuration")?;
        let lock = storage::lock(&config.data_dir)?;
        let background = Background::start()?;
        let upkeep = Upkeep::new(&config);
        let app = upkeep.app(&config);
        let shutdown = Shutdown::new();
        let begun = background.spawn(async move { upkeep.begin(&config).await });
        let kept = begun.await.context("loading the table")??;
        let keeping = background.spawn(keep(kept, shutdown.clone(), lock));
        Ok(Verifier(Arc::new(Inner { app, shutdown, keeping: Mutex::new(Some(keeping)), background })))
    }

    /// Whether a key is good for `scopes`, shown by somebody at `from` (a key that is bound to addresses is refused
    /// where that is not known). An accepted key counts as used. From memory: no I/O, nothing to await.
    pub fn verify(&self, key: &str, scopes: &[&str], from: Option<IpAddr>) -> Answered {
        self.ask(key, scopes, from, false)
    }

    /// The same without counting as use.
    pub fn probe(&self, key: &str, scopes: &[&str], from: Option<IpAddr>) -> Answered {
        self.ask(key, scopes, from, true)
    }

    fn ask(&self, key: &str, scopes: &[&str], from: Option<IpAddr>, is_probe: bool) -> Answered {
        self.0.app.ask_inside(key.as_bytes(), &Asks { scopes, from, is_probe })
    }

    /// Why keys should not be shown to it now: `not_synced`, `not_on_roster`, `stale` or `stopping`. `None` while it
    /// is fresh: what a readiness probe of the service should look at.
    pub fn unready(&self) -> Option<&'static str> {
        unready(&self.0.app.table.status())
    }

    /// Waits until it is fresh.
    ///
    /// # Errors
    /// When it is not within `patience`; it goes on trying all the same.
    pub async fn ready(&self, patience: Duration) -> anyhow::Result<()> {
        let table = Arc::clone(&self.0.app.table);
        // On the threads of its own, since the service's executor may have no timers.
        let looking = self.0.background.spawn(async move {
            let look = async {
                while unready(&table.status()).is_some() {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
            };
            tokio::time::timeout(patience, look).await.is_ok()
        });
        if looking.await.context("waiting for the table")? {
            return Ok(());
        }
        let edge = &self.0.app.origin.edge;
        match self.unready() {
            None => Ok(()),
            Some("not_on_roster") => {
                bail!("{edge} is not on the roster after {patience:?}; add it: keywheel edge add {edge}")
            }
            Some(reason) => {
                bail!("{edge} is {reason} after {patience:?}; can it reach the bus? its log says why not")
            }
        }
    }

    /// What an edge shows at `/metrics`, for the service to show beside its own.
    pub fn metrics(&self) -> String {
        self.0.app.metrics.text(&self.0.app.table)
    }

    /// Accepts nothing more, reports what was used and says goodbye. Whether all of it is acknowledged; where it is
    /// not, or a verifier is only dropped, no key is retired on the strength of what this edge has seen before.
    pub async fn close(&self) -> bool {
        self.0.shutdown.trigger();
        let keeping = self.0.keeping.lock().unwrap_or_else(PoisonError::into_inner).take();
        match keeping {
            Some(keeping) => keeping.await.unwrap_or(false),
            None => false,
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn app(&self) -> &App {
        &self.0.app
    }
}

/// Holds the folder for as long as anything may write there.
async fn keep(kept: Kept, shutdown: Shutdown, _lock: File) -> bool {
    kept.work(&shutdown, OnDenial::GoOn, || std::future::ready(())).await.unwrap_or(false)
}

impl Background {
    fn start() -> anyhow::Result<Background> {
        let built =
            Builder::new_multi_thread().worker_threads(1).thread_name("keywheel-edge").enable_all().build();
        Ok(Background(Some(built.context("cannot start a thread")?)))
    }

    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.0.as_ref().expect("it is taken on drop alone").spawn(task)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
