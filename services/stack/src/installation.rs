//! What both `up` and `edge` do at the bus: connect as one of the roles, lay out the topology, change the roster.

use crate::failure::{Failure, say};
use crate::home::Home;
use crate::monitor::Monitor;
use crate::nats_conf::User;
use crate::permissions::Role;
use crate::settings::{Fleet, Server, Settings};
use crate::summary;
use anyhow::{Context as _, Result};
use keywheel_bus::restore::Standing;
use keywheel_bus::{Bus, BusConfig, BusError, topology};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, EdgeId};
use keywheel_token::id;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The port on which servers usually tell about themselves.
const USUAL_MONITOR: u16 = 8222;
/// An edge's database in its folder; it is made when there is something to keep.
const EDGE_DATABASE: &str = "edge.db";
const LOOK: Duration = Duration::from_secs(1);

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
    connect_believing(home, server, credentials, role, Arc::new(Signers::nobody())).await
}

/// The same for who reads the log too, and believes `signers`.
///
/// # Errors
/// When the bus cannot be reached or does not know the credential.
pub async fn connect_believing(
    home: &Home,
    server: &Server,
    credentials: PathBuf,
    role: &Role,
    signers: Arc<Signers>,
) -> Result<Bus> {
    let config = BusConfig { url: server.url(), credentials, signers, tls: server.tls(home, &role.name()) };
    let bus = Bus::connect(&config.options(&role.name(), false)).await;
    bus.with_context(|| format!("as {}", role.name()))
}

/// Copies of each stream of a cluster.
pub const CLUSTER_COPIES: usize = 3;

/// How many copies each stream has or is to have: as `asked`, else as many as the log has that is there. Where there
/// is none and somebody else runs the servers, the log is made now, with as many as they can keep apart.
///
/// # Errors
/// When the bus refuses.
pub async fn copies(admin: &Bus, server: &Server, asked: Option<u8>) -> Result<usize> {
    match (server, asked) {
        (Server::Own { .. }, _) => return Ok(1),
        (Server::Cluster { .. }, _) => return Ok(CLUSTER_COPIES),
        (Server::Existing { .. }, Some(asked)) => return Ok(usize::from(asked)),
        (Server::Existing { .. }, None) => {}
    }
    if let Some(copies) = patiently(async || topology::copies(admin).await).await? {
        return Ok(copies);
    }
    let copies = topology::begin_log(admin, CLUSTER_COPIES).await?;
    let what = if copies == 1 {
        "1 copy: the servers keep no more apart".to_owned()
    } else {
        format!("{copies} copies")
    };
    say(&format!("made the log with {what}; the other streams get as many (--stream-copies says otherwise)"));
    Ok(copies)
}

/// How long the servers of a cluster may take to find their leaders, during which questions stay unanswered.
const LEADERS: Duration = Duration::from_secs(60);

/// Tries again what a cluster that has just started left unanswered.
///
/// # Errors
/// When the bus refuses, or does not answer in all that time.
pub async fn patiently<T>(act: impl AsyncFn() -> Result<T, BusError>) -> Result<T, BusError> {
    let began = Instant::now();
    loop {
        match act().await {
            Err(BusError::Failed { detail, .. })
                if detail.contains("timed out") && began.elapsed() < LEADERS => {}
            done => return done,
        }
    }
}

/// Creates the streams and durables that are missing, and says where those that are there differ.
///
/// # Errors
/// When the bus refuses.
pub async fn lay_out(
    admin: &Bus,
    copies: usize,
    instances: u32,
    edges: impl Iterator<Item = &EdgeId>,
) -> Result<()> {
    patiently(async || topology::ensure(admin, copies, instances).await).await?;
    for edge in edges {
        patiently(async || topology::ensure_edge(admin, edge).await).await?;
    }
    for difference in topology::verify(admin, copies).await? {
        say(&format!("warning: {difference}"));
    }
    Ok(())
}

/// Where edges of this home have read a log and the bus has none any more, waits until it is restored: an empty one in its
/// place would be refused by everybody.
///
/// # Errors
/// When the bus cannot be asked.
pub async fn await_log(admin: &Bus, home: &Home, fleet: &Fleet) -> Result<()> {
    let has_read = fleet.edges.iter().any(|edge| home.data(&edge.process()).join(EDGE_DATABASE).exists());
    let mut has_told = false;
    if !has_read {
        return Ok(());
    }
    loop {
        match patiently(async || admin.log_standing().await).await? {
            Standing::Restored(_) | Standing::Log(_) => return Ok(()),
            Standing::Nothing | Standing::Empty | Standing::Unfinished(..) => {}
        }
        if !has_told {
            say(&format!(
                "the log is lost: edges of this home have read one, and the bus has none. Waiting until it is restored: in \
                 another terminal, keywheel restore --from-edge --home {}",
                summary::shell(home.root())
            ));
            has_told = true;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Refuses a server that may lose what it has acknowledged.
///
/// # Errors
/// When it does not sync always, or does not say whether it does.
pub async fn demand_sync(monitor: &Monitor, server: &Server) -> Result<()> {
    for url in monitor_urls(monitor, server).await {
        let Some(url) = url else {
            let detail = "whether a server syncs each message to disk can only be seen at its monitoring port; name the \
                          URL of each with --monitor-url, separated by commas, or pass --allow-unsafe-sync";
            return Err(Failure::refused("unknown_sync", detail).into());
        };
        if monitor.syncs_always(&url).await? {
            continue;
        }
        let detail = format!(
            "the server at {url} does not sync each message to disk: acknowledged events are lost when the power fails; \
             set `sync_interval: always` in its jetstream block, or pass --allow-unsafe-sync"
        );
        return Err(Failure::refused("unsafe_sync", detail).into());
    }
    Ok(())
}

/// Each server's monitoring URL: as configured, or the usual one if the same server answers there.
pub async fn monitor_urls(monitor: &Monitor, server: &Server) -> Vec<Option<String>> {
    let named = server.monitor_urls();
    let servers = server.one_by_one();
    if named.len() >= servers.len() {
        return named.into_iter().map(Some).collect();
    }
    let mut urls = Vec::new();
    for one in servers {
        let found = match usual_monitor(monitor, &one.url()).await {
            // Which of them a name stands for cannot be told.
            None => named.get(urls.len()).cloned(),
            found => found,
        };
        urls.push(found);
    }
    urls
}

async fn usual_monitor(monitor: &Monitor, url: &str) -> Option<String> {
    let (host, port) = url.rsplit('/').next()?.rsplit_once(':')?;
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
