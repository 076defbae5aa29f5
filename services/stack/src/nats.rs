//! The NATS server of the stack: found, checked, configured from what the home knows, told to read that again.

use crate::certificates;
use crate::children::{self, Group, Plan};
use crate::failure::Failure;
use crate::home::{Home, private_folder, write_private};
use crate::leaf::Leaf;
use crate::monitor::Monitor;
use crate::nats_conf::{self, Cluster, ServerConf, Tls, User};
use crate::permissions::Role;
use crate::ports;
use crate::secrets;
use crate::settings::{Fleet, Node, Server, Settings};
use anyhow::{Context as _, Result};
use keywheel_domain::LeafId;
use keywheel_runtime::clock;
use keywheel_wire::subject::leaf_durable;
use nix::sys::signal::{Signal, kill};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The name of its process; in a cluster, followed by `-1`, `-2`, …
const PROCESS: &str = "nats";
/// What a cluster of our own is called.
const CLUSTER: &str = "keywheel";
/// The oldest version that has what Keywheel uses.
const OLDEST: (u32, u32) = (2, 14);
const PATIENCE: Duration = Duration::from_secs(30);
/// Where `deploy/get-nats.sh` puts one, below the checkout.
const FETCHED: &str = ".cache/nats";

/// Finds a server that is new enough: the one at `given` and no other, else on PATH, in the home, or where the
/// project's own script puts it.
///
/// # Errors
/// When there is none, with what was found and how to get one.
pub fn find(given: Option<&Path>, home: &Home) -> Result<PathBuf> {
    let candidates = match given {
        Some(path) => vec![path.to_owned()],
        None => candidates(home),
    };
    let mut found = Vec::new();
    for path in candidates {
        match version(&path) {
            Ok(version) if version >= OLDEST => return Ok(std::path::absolute(path)?),
            Ok((major, minor)) => found.push(format!("{} is {major}.{minor}", path.display())),
            Err(why) if given.is_some() => found.push(format!("{}: {why}", path.display())),
            Err(_) => {}
        }
    }
    let (major, minor) = OLDEST;
    let found = if found.is_empty() { "none was found".to_owned() } else { found.join(", ") };
    let detail = format!(
        "a nats-server of version {major}.{minor} or newer is needed ({found}); in a checkout run \
         `deploy/get-nats.sh`, or install one from https://nats.io/download, put it on PATH or at {}, name it with \
         --nats-server, or use a running one with --nats-url",
        home.nats_server().display()
    );
    Err(Failure::refused("no_nats_server", detail).into())
}

fn candidates(home: &Home) -> Vec<PathBuf> {
    let path = keywheel_runtime::config::variable("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> =
        std::env::split_paths(&path).map(|folder| folder.join("nats-server")).collect();
    candidates.push(home.nats_server());
    candidates.push(Path::new(FETCHED).join("bin/nats-server"));
    let fetched = std::fs::read_dir(FETCHED).into_iter().flatten().flatten();
    candidates.extend(fetched.map(|entry| entry.path().join("bin/nats-server")));
    candidates.retain(|path| path.is_file());
    candidates
}

fn version(server: &Path) -> Result<(u32, u32)> {
    let ran = Command::new(server).arg("--version").output().context("does not run")?;
    read_version(&String::from_utf8_lossy(&ran.stdout)).context("does not tell its version")
}

/// Reads `nats-server: v2.14.0`.
fn read_version(text: &str) -> Option<(u32, u32)> {
    let (_, version) = text.trim().split_once(": v")?;
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Each server that this stack starts: the name of its process, and its ports.
pub fn processes(server: &Server) -> Vec<(String, Node)> {
    match server {
        Server::Own { port, monitor, tls: _ } => {
            vec![(PROCESS.to_owned(), Node { port: *port, monitor: *monitor, route: 0 })]
        }
        Server::Cluster { nodes, tls: _ } => {
            nodes.iter().zip(1..).map(|(node, number)| (format!("{PROCESS}-{number}"), *node)).collect()
        }
        Server::Existing { .. } => Vec::new(),
    }
}

/// Writes each server's configuration from what the home knows, with the credentials of everybody in it.
///
/// # Errors
/// When a credential is damaged, or the system refuses.
pub fn configure(home: &Home, settings: &Settings, fleet: &Fleet) -> Result<()> {
    let users = users(home, fleet)?;
    let (tls, routes) = match &settings.server {
        Server::Own { tls, .. } => (*tls, Vec::new()),
        Server::Cluster { nodes, tls } => {
            (*tls, nodes.iter().map(|node| ports::loopback(node.route)).collect())
        }
        Server::Existing { .. } => return Ok(()),
    };
    if tls {
        let roles: Vec<Role> = users.iter().map(|user| user.role.clone()).collect();
        certificates::ensure(home, &roles, clock::wall_ms())?;
        if !routes.is_empty() {
            certificates::ensure_route(home, clock::wall_ms())?;
        }
    }
    let leaves = leaves(home, settings, fleet)?;
    for leaf in &leaves {
        if tls {
            certificates::ensure_leaf(home, &leaf.id, clock::wall_ms())?;
        }
    }
    let files = |name| Tls { ca: certificates::authority(home), server: certificates::files(home, name) };
    for (process, Node { port, monitor, route }) in processes(&settings.server) {
        private_folder(&home.nats_store(&process))?;
        let cluster = match routes.len() {
            0 => None,
            _ => Some(Cluster {
                name: CLUSTER.to_owned(),
                server: process.clone(),
                listen: ports::loopback(route).to_string(),
                routes: routes.iter().map(ToString::to_string).collect(),
                password: secrets::ensure_route_password(home)?,
                tls: tls.then(|| files(certificates::ROUTE)),
            }),
        };
        let conf = ServerConf {
            listen: ports::loopback(port).to_string(),
            monitor,
            store: home.nats_store(&process),
            pid_file: home.nats_pid(&process),
            instances: settings.instances,
            tls: tls.then(|| files(certificates::SERVER)),
            cluster,
            users: users.clone(),
            leaf_listen: settings.leaves.listen.map(|at| at.to_string()),
            leaves: leaves.clone(),
        };
        write_private(&home.nats_conf(&process), nats_conf::render(&conf).as_bytes())?;
    }
    Ok(())
}

/// Everybody who may connect, each with a credential in the home.
///
/// # Errors
/// When a credential is damaged, or the system refuses.
pub fn users(home: &Home, fleet: &Fleet) -> Result<Vec<User>> {
    let edges = fleet.ids().map(|id| Role::Edge(id.clone()));
    Role::fixed().into_iter().chain(edges).map(|role| secrets::ensure_user(home, &role)).collect()
}

/// Every leaf, with a credential in the home and the edges there.
///
/// # Errors
/// When a credential is damaged, or the system refuses.
pub fn leaves(home: &Home, settings: &Settings, fleet: &Fleet) -> Result<Vec<Leaf>> {
    let leaf = |id: &LeafId| {
        let public = secrets::ensure_seed(&home.credential(&leaf_durable(id)))?;
        Ok(Leaf { id: id.clone(), public, edges: fleet.at_leaf(id).cloned().collect() })
    };
    settings.leaves.ids.iter().map(leaf).collect()
}

/// How to run each of them.
pub fn plans(home: &Home, server: &Server, program: &Path) -> Vec<Plan> {
    let plan = |(name, _): (String, Node)| {
        let args = vec![OsString::from("-c"), home.nats_conf(&name).into()];
        let program = program.to_owned();
        Plan { name, group: Group::Bus, program, args, is_wanted: Arc::new(|| true) }
    };
    processes(server).into_iter().map(plan).collect()
}

/// Waits until every server of ours has recovered its streams.
///
/// # Errors
/// When that takes too long, with the end of its log.
pub async fn await_healthy(home: &Home, monitor: &Monitor, server: &Server) -> Result<()> {
    for ((process, _), url) in processes(server).iter().zip(server.monitor_urls()) {
        await_one(home, monitor, process, &url).await?;
    }
    Ok(())
}

async fn await_one(home: &Home, monitor: &Monitor, process: &str, url: &str) -> Result<()> {
    let wait = async {
        while !monitor.is_healthy(url).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_ok() {
        return Ok(());
    }
    let log = home.log(process);
    let tail = std::fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(5).collect();
    let tail: String = tail.into_iter().rev().map(|line| format!("\n  {line}")).collect();
    let detail =
        format!("the NATS server is not ready after {PATIENCE:?}; the end of {}:{tail}", log.display());
    Err(Failure::unreachable(detail).into())
}

/// Makes the running servers read their configuration again. One that is down reads it when it comes back.
///
/// # Errors
/// When none runs.
pub fn reload(home: &Home, server: &Server) -> Result<()> {
    let mut told = 0;
    for (process, _) in processes(server) {
        // The server's own pid file can be left from before; a signal to a stranger could end it.
        let pid = children::pid_of(home, &process)?;
        told += usize::from(pid.is_some_and(|pid| kill(pid, Signal::SIGHUP).is_ok()));
    }
    if told > 0 {
        return Ok(());
    }
    let detail =
        format!("the NATS server of {} does not run; start `keywheel up` first", home.root().display());
    Err(Failure::unreachable(detail).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Leaves;
    use std::os::unix::fs::PermissionsExt as _;

    fn fake(path: &Path, says: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("#!/bin/sh\necho 'nats-server: v{says}'\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn versions_are_read() {
        assert_eq!(read_version("nats-server: v2.15.1\n"), Some((2, 15)));
        assert_eq!(read_version("nats-server: v3.0.0-preview.1\n"), Some((3, 0)));
        assert_eq!(read_version("something else"), None);
    }

    #[test]
    fn an_old_server_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let server = folder.path().join("old/nats-server");
        fake(&server, "2.10.29");
        let refused = find(Some(&server), &home).unwrap_err().to_string();
        assert!(refused.contains("is 2.10") && refused.contains("deploy/get-nats.sh"), "{refused}");
        fake(&server, "2.14.0");
        assert_eq!(find(Some(&server), &home).unwrap(), server);
        let missing = find(Some(&folder.path().join("none")), &home).unwrap_err().to_string();
        assert!(missing.contains("does not run"), "{missing}");
    }

    #[test]
    fn a_configuration_names_everybody_of_the_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let mut fleet = Fleet::default();
        let id = keywheel_domain::EdgeId::parse("paris").unwrap();
        fleet.add(crate::settings::Edge { id, listen: crate::ports::loopback(8081), grpc: None });
        let server = Server::Own { port: 1, monitor: 2, tls: true };
        let settings = Settings {
            server,
            port_base: None,
            lease: "15s".to_owned(),
            instances: 1,
            observe: [].into(),
            leaves: Leaves::default(),
        };
        configure(&home, &settings, &fleet).unwrap();
        let text = std::fs::read_to_string(home.nats_conf("nats")).unwrap();
        for user in users(&home, &fleet).unwrap() {
            assert!(text.contains(&user.public), "{}", user.role.name());
        }
        assert!(text.contains("# edge-paris"));
        assert!(home.tls().join("edge-paris.pem").exists() && text.contains("verify: true"));
    }
}
