//! What both `up` and `edge` do at the bus: connect as one of the roles, lay out the topology, change the roster.

use crate::failure::{Failure, say};
use crate::home::Home;
use crate::monitor::Monitor;
use crate::nats_conf::User;
use crate::permissions::Role;
use crate::settings::{Server, Settings};
use anyhow::{Context as _, Result};
use keywheel_bus::{Bus, BusConfig, topology};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, EdgeId};
use keywheel_token::id;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The port on which servers usually tell about themselves.
const USUAL_MONITOR: u16 = 8222;
/// Copies of each stream where we create it: a cluster's operator creates them with more beforehand.
const STREAM_COPIES: usize = 1;

/// Connects with the administrator's credential.
///
/// # Errors
/// When the bus cannot be reached or does not know the credential.
pub async fn connect_admin(home: &Home, server: &Server) -> Result<Bus> {
    connect(home, server, server.admin(home), &Role::Admin).await
}

/// Connects as a role of the home.
///
/// # Errors
/// When the bus cannot be reached or does not know the credential.
pub async fn connect_role(home: &Home, server: &Server, role: &Role) -> Result<Bus> {
    connect(home, server, home.credential(&role.name()), role).await
}

/// Connects as `role` with the seed in a file.
///
/// # Errors
/// When the bus cannot be reached or does not know the credential.
pub async fn connect(home: &Home, server: &Server, credentials: PathBuf, role: &Role) -> Result<Bus> {
    // Commands, outcomes and streams are all that these connections are for: they read no event.
    let signers = Arc::new(Signers::nobody());
    let config = BusConfig { url: server.url(), credentials, signers, tls: server.tls(home, &role.name()) };
    let bus = Bus::connect(&config.options(&role.name(), false)).await;
    bus.with_context(|| format!("as {}", role.name()))
}

/// Creates the streams and durables that are missing, and says where those that are there differ.
///
/// # Errors
/// When the bus refuses.
pub async fn lay_out(admin: &Bus, instances: u32, edges: impl Iterator<Item = &EdgeId>) -> Result<()> {
    topology::ensure(admin, STREAM_COPIES, instances).await?;
    for edge in edges {
        topology::ensure_edge(admin, edge).await?;
    }
    for difference in topology::verify(admin).await? {
        say(&format!("warning: {difference}"));
    }
    Ok(())
}

/// Refuses a server that may lose what it has acknowledged.
///
/// # Errors
/// When it does not sync always, or does not say whether it does.
pub async fn demand_sync(monitor: &Monitor, server: &Server) -> Result<()> {
    let url = monitor_url(monitor, server).await;
    let Some(url) = url else {
        let detail = "whether the server syncs each message to disk can only be seen at its monitoring port; name its \
                      URL with --monitor-url, or pass --allow-unsafe-sync";
        return Err(Failure::refused("unknown_sync", detail).into());
    };
    if monitor.syncs_always(&url).await? {
        return Ok(());
    }
    let detail = "the server does not sync each message to disk: acknowledged events are lost when the power fails; set \
                  `sync_interval: always` in its jetstream block, or pass --allow-unsafe-sync";
    Err(Failure::refused("unsafe_sync", detail).into())
}

/// The server's monitoring URL: as configured, or the usual one if the same server answers there.
pub async fn monitor_url(monitor: &Monitor, server: &Server) -> Option<String> {
    if let Some(url) = server.monitor_url() {
        return Some(url);
    }
    let first = server.url();
    let first = first.split(',').next().unwrap_or_default();
    let (host, port) = first.rsplit('/').next()?.rsplit_once(':')?;
    let usual = format!("http://{host}:{USUAL_MONITOR}");
    let same = monitor.client_port(&usual).await.is_ok_and(|told| told.to_string() == port);
    same.then_some(usual)
}

/// Those whom the server does not let in.
pub async fn strangers(home: &Home, settings: &Settings, users: Vec<User>) -> Vec<User> {
    let mut strangers = Vec::new();
    for user in users {
        match connect_role(home, &settings.server, &user.role).await {
            Ok(bus) => bus.close().await,
            Err(_) => strangers.push(user),
        }
    }
    strangers
}

/// Publishes a change of the roster; resolves when it is durable.
///
/// # Errors
/// When that is not certain.
pub async fn send(operator: &Bus, verb: Verb, edge: &EdgeId) -> Result<CommandId> {
    let id = id::fresh();
    let document = serde_json::json!({ "id": text::id(id), "actor": "operator", "edge": edge.as_str() });
    operator.send_command(&Address::Installation, verb, &document).await?;
    Ok(CommandId(id))
}

/// Waits for what became of a change of the roster.
///
/// # Errors
/// When it was rejected, or is not decided after `patience`.
pub async fn settle(operator: &Bus, id: CommandId, edge: &EdgeId, patience: Duration) -> Result<Outcome> {
    let outcome = operator.await_outcome(id, patience).await?;
    let Some(outcome) = outcome else {
        let detail =
            format!("the propagator did not decide about {edge} within {patience:?}; is it running?");
        return Err(Failure::unfinished(detail).into());
    };
    match (outcome.outcome, &outcome.rejection) {
        (Word::Accepted | Word::Unchanged, _) => Ok(outcome),
        (Word::Rejected, Some(rejection)) => {
            Err(Failure::refused(rejection.code.clone(), format!("{edge}: {}", rejection.detail)).into())
        }
        (Word::Rejected, None) => Err(Failure::refused("rejected", format!("{edge}: rejected")).into()),
    }
}
