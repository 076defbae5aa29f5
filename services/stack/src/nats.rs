//! The NATS server of the stack: found, checked, configured from what the home knows, told to read that again.

use crate::certificates;
use crate::children::{self, Group, Plan};
use crate::failure::Failure;
use crate::home::{Home, write_private};
use crate::monitor::Monitor;
use crate::nats_conf::{self, ServerConf, Tls, User};
use crate::permissions::Role;
use crate::secrets;
use crate::settings::{Fleet, Server, Settings};
use anyhow::{Context as _, Result};
use keywheel_runtime::clock;
use nix::sys::signal::{Signal, kill};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The name of its process.
pub const PROCESS: &str = "nats";
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

/// Writes the server's configuration from what the home knows, with the credentials of everybody in it.
///
/// # Errors
/// When a credential is damaged, or the system refuses.
pub fn configure(home: &Home, settings: &Settings, fleet: &Fleet) -> Result<()> {
    let users = users(home, fleet)?;
    let Server::Own { port, monitor, tls } = settings.server else { return Ok(()) };
    if tls {
        let roles: Vec<Role> = users.iter().map(|user| user.role.clone()).collect();
        certificates::ensure(home, &roles, clock::wall_ms())?;
    }
    let pem = |name| certificates::files(home, name);
    let conf = ServerConf {
        port,
        monitor,
        store: home.nats_store(),
        pid_file: home.nats_pid(),
        instances: settings.instances,
        tls: tls.then(|| Tls { ca: certificates::authority(home), server: pem(certificates::SERVER) }),
        users,
    };
    write_private(&home.nats_conf(), nats_conf::render(&conf).as_bytes())
}

/// Everybody who may connect, each with a credential in the home.
///
/// # Errors
/// When a credential is damaged, or the system refuses.
pub fn users(home: &Home, fleet: &Fleet) -> Result<Vec<User>> {
    let edges = fleet.ids().map(|id| Role::Edge(id.clone()));
    Role::fixed().into_iter().chain(edges).map(|role| secrets::ensure_user(home, &role)).collect()
}

/// How to run it.
pub fn plan(home: &Home, program: PathBuf) -> Plan {
    let args = vec![OsString::from("-c"), home.nats_conf().into()];
    Plan { name: PROCESS.to_owned(), group: Group::Bus, program, args, is_wanted: Arc::new(|| true) }
}

/// Waits until the server has recovered its streams.
///
/// # Errors
/// When that takes too long, with the end of its log.
pub async fn await_healthy(home: &Home, monitor: &Monitor, monitor_url: &str) -> Result<()> {
    let wait = async {
        while !monitor.is_healthy(monitor_url).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, wait).await.is_ok() {
        return Ok(());
    }
    let log = home.log(PROCESS);
    let tail = std::fs::read_to_string(&log).unwrap_or_default();
    let tail: Vec<&str> = tail.lines().rev().take(5).collect();
    let tail: String = tail.into_iter().rev().map(|line| format!("\n  {line}")).collect();
    let detail =
        format!("the NATS server is not ready after {PATIENCE:?}; the end of {}:{tail}", log.display());
    Err(Failure::unreachable(detail).into())
}

/// Makes the running server read its configuration again.
///
/// # Errors
/// When it does not run.
pub fn reload(home: &Home) -> Result<()> {
    // The server's own pid file can be left from before; a signal to a stranger could end it.
    let told = children::pid_of(home, PROCESS)?.map(|pid| kill(pid, Signal::SIGHUP));
    match told {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) | None => {
            let detail = format!(
                "the NATS server of {} does not run; start `keywheel up` first",
                home.root().display()
            );
            Err(Failure::unreachable(detail).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
        let settings = Settings { server, port_base: None, lease: "15s".to_owned(), instances: 1 };
        configure(&home, &settings, &fleet).unwrap();
        let text = std::fs::read_to_string(home.nats_conf()).unwrap();
        for user in users(&home, &fleet).unwrap() {
            assert!(text.contains(&user.public), "{}", user.role.name());
        }
        assert!(text.contains("# edge-paris"));
        assert!(home.tls().join("edge-paris.pem").exists() && text.contains("verify: true"));
    }
}
