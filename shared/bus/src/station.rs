//! What every deciding service starts from: a connection, its fold of the log, the follower that
//! advances it and the gate that decides on it.

use crate::ask::Registered;
use crate::follow::Sink;
use crate::gate::Sources;
use crate::{Bus, BusConfig, BusError, Follower, Gate, SharedFold, Watch};
use keywheel_domain::{Event, Span};
use keywheel_table::{Fold, Options};
use keywheel_wire::subject::Service;
use keywheel_wire::text::Length;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long to wait before asking the log again whether the own key was introduced.
const ASKING_AGAIN: Duration = Duration::from_secs(1);

/// The configuration of a deciding service. `Log` is how it logs: the runtime's business.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationConfig<Log> {
    /// Which replica this is, from 1: each has its own durable and its own fold.
    #[serde(default = "first")]
    pub instance: NonZeroU32,
    /// Where the fold lies.
    pub data_dir: PathBuf,
    /// The lease length of the whole fleet, such as `15s`.
    #[serde(default = "fleet_lease", deserialize_with = "lease")]
    pub lease: Length,
    /// How to reach the bus.
    pub bus: BusConfig,
    /// Where to tell how it stands.
    #[serde(default)]
    pub observe: ObserveConfig,
    /// How to log.
    #[serde(default)]
    pub log: Log,
}

/// The table `observe` of a service's configuration.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObserveConfig {
    /// Where `/livez`, `/readyz` and `/metrics` are answered, such as `127.0.0.1:8381`; nowhere without it.
    #[serde(default)]
    pub http: Option<SocketAddr>,
}

/// The only replica of a service that has no other.
pub fn first() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// Reads a lease length, which is never nothing.
///
/// # Errors
/// Says what to write.
pub fn lease<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Length, D::Error> {
    let length = Length::deserialize(deserializer)?;
    if length.0 == Span(0) { Err(D::Error::custom("a lease takes some time; write 15s")) } else { Ok(length) }
}

/// The lease length of a fleet that configures none.
pub fn fleet_lease() -> Length {
    Length(Span::secs(15))
}

/// A service's place at the bus.
pub struct Station {
    /// The connection.
    pub bus: Bus,
    /// Its gate to the log.
    pub gate: Gate,
    /// What advances its fold; to be run for as long as the service runs.
    pub follower: Follower,
    /// Its entry in `nats micro ls`.
    pub registered: Registered,
    /// The file of its fold.
    pub database: PathBuf,
}

impl Station {
    /// Connects (waiting for the bus if it is away) as the service of `watch`, and opens the fold in `data_dir`.
    /// `pending` says which events leave work that must survive a restart.
    ///
    /// # Errors
    /// When the credential is unusable or its key is not believed, or the database cannot be opened.
    pub async fn open(
        config: &BusConfig,
        watch: &Watch,
        instance: NonZeroU32,
        data_dir: &Path,
        pending: fn(&Event) -> bool,
        sources: Sources,
    ) -> Result<Station, BusError> {
        let service = watch.service();
        let bus = Bus::connect(&config.options(service.name(), true)).await?.counting(watch.counts());
        std::fs::create_dir_all(data_dir).map_err(|error| BusError::failed("making data_dir")(&error))?;
        let durable = service.log_durable(instance.get());
        let path = data_dir.join(format!("{durable}.db"));
        // The operator is told once, by the one service that watches the fleet.
        let options = Options { commands: true, pending, doubts: service == Service::Propagator };
        let (fold, aside) = Fold::open_or_begin(&path, options, &bus.signers())?;
        bus.learn(fold.signers());
        demand_role(&bus, service).await?;
        if let Some(aside) = aside {
            let aside = aside.display();
            tracing::warn!(%aside, "the fold was written by an older version; reading the log into a new one");
        }
        let fold = SharedFold::new(fold);
        let follower = Follower::new(bus.clone(), fold.clone(), durable);
        let gate = Gate::new(bus.clone(), fold, follower.watermark(), sources);
        watch.opened(gate.clone());
        let instance = instance.to_string();
        let registered =
            bus.register(service.name(), env!("CARGO_PKG_VERSION"), &[("instance", &instance)]).await?;
        Ok(Station { bus, gate, follower, registered, database: path })
    }

    /// Follows the log for as long as `work` runs: work that is being finished still needs the fold to
    /// advance. Ends early when the log cannot be trusted or a permission is missing.
    ///
    /// # Errors
    /// Of the work, of the follower, or [`BusError::Denied`].
    pub async fn serve(
        &self,
        sink: impl Sink,
        work: impl Future<Output = Result<(), BusError>>,
    ) -> Result<(), BusError> {
        let (stop, stopped) = oneshot::channel::<()>();
        // In boxes: by value they are copied from frame to frame, which a worker thread's stack does not hold.
        let follow = Box::pin(self.follower.run(sink, async move {
            // An error means that the sender is gone, which says the same.
            let _ = stopped.await;
        }));
        let work = Box::pin(work);
        let work = async move {
            let worked = work.await;
            drop(stop);
            worked
        };
        let both = async { tokio::try_join!(follow, work).map(|_| ()) };
        let ended = tokio::select! {
            ended = both => ended,
            detail = self.bus.denied() => Err(BusError::Denied(detail)),
        };
        self.bus.close().await;
        ended
    }
}

/// A key that the signers file does not list was introduced by an event, or was not: as long as the bus is away nobody
/// knows.
async fn demand_role(bus: &Bus, service: Service) -> Result<(), BusError> {
    loop {
        match bus.demand_role(service).await {
            Err(BusError::Failed { what, detail }) => {
                tracing::warn!(what, %detail, "cannot see yet whether this key was introduced; asking again");
                tokio::time::sleep(ASKING_AGAIN).await;
            }
            done => return done,
        }
    }
}
