//! What every deciding service starts from: a connection, its fold of the log, the follower that
//! advances it and the gate that decides on it.

use crate::ask::Registered;
use crate::gate::Sources;
use crate::{Bus, BusConfig, BusError, Follower, Gate, SharedFold};
use keywheel_domain::Event;
use keywheel_table::{Fold, Options};
use keywheel_wire::subject::Service;
use std::path::Path;

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
}

impl Station {
    /// Connects (waiting for the bus if it is away) and opens the fold in `data_dir`. `pending` says
    /// which events leave work that must survive a restart.
    ///
    /// # Errors
    /// When the credential is unusable or the database cannot be opened.
    pub async fn open(
        config: &BusConfig,
        service: Service,
        instance: u32,
        data_dir: &Path,
        pending: fn(&Event) -> bool,
        sources: Sources,
    ) -> Result<Station, BusError> {
        let bus = Bus::connect(&config.options(service.name(), true)).await?;
        let durable = service.log_durable(instance);
        let path = data_dir.join(format!("{durable}.db"));
        let fold = SharedFold::new(Fold::open(&path, Options { commands: true, pending })?);
        let follower = Follower::new(bus.clone(), fold.clone(), durable);
        let gate = Gate::new(bus.clone(), fold, follower.watermark(), sources);
        let instance = instance.to_string();
        let registered =
            bus.register(service.name(), env!("CARGO_PKG_VERSION"), &[("instance", &instance)]).await?;
        Ok(Station { bus, gate, follower, registered })
    }
}
