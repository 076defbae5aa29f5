//! What a start will run: what the home remembers, changed by what the command line says, written down.

use crate::failure::{Failure, say};
use crate::home::Home;
use crate::leaf_folder;
use crate::nats;
use crate::ports::{self, Finder, Scheme};
use crate::settings::{Edge, Fleet, LEASE, Leaves, Server, Settings};
use crate::up::Up;
use anyhow::Result;
use keywheel_domain::LeafId;
use keywheel_token::id;
use std::collections::BTreeSet;

/// Edges of a home that is told nothing.
const EDGES: u16 = 3;

/// What runs where.
#[derive(Debug)]
pub struct Layout {
    /// The bus, the lease, the replicas.
    pub settings: Settings,
    /// The edges.
    pub fleet: Fleet,
    /// Keeps others from ports that nobody listens at yet.
    _ports: Finder,
}

/// Decides it, writes it into the home, and makes the credentials that it needs.
///
/// # Errors
/// When a port is taken, the command line contradicts the home, or the system refuses.
pub async fn prepare(up: &Up, home: &Home) -> Result<Layout> {
    let before = Settings::load(home)?;
    let mut finder = Finder::new(id::fresh());
    let mut settings = settle(up, before.as_ref(), &mut finder).await?;
    settings.leaves = leaves(up, before.as_ref(), &settings, &mut finder).await?;
    let _held = home.hold_edges()?;
    let mut fleet = Fleet::load(home)?;
    let is_moved = before.as_ref().is_some_and(|before| before.port_base != settings.port_base);
    let scheme = Scheme::of(settings.port_base);
    let wanted = wanted_edges(up, before.is_some(), &fleet);
    grow(&mut fleet, wanted, scheme, &mut finder)?;
    ports::place(scheme, is_moved, &mut fleet.edges, &mut finder).await?;
    settings.observe = ports::observed(scheme, settings.instances, &settings.observe, &mut finder).await?;
    settings.save(home)?;
    fleet.save(home)?;
    crate::secrets::ensure_recipient(home)?;
    crate::secrets::ensure_signers(home)?;
    nats::configure(home, &settings, &fleet)?;
    for leaf in nats::leaves(home, &settings, &fleet)? {
        leaf_folder::write(home, &settings, &leaf)?;
    }
    Ok(Layout { settings, fleet, _ports: finder })
}

async fn settle(up: &Up, before: Option<&Settings>, finder: &mut Finder) -> Result<Settings> {
    let port_base = up.port_base.or(before.and_then(|before| before.port_base));
    let lease = up.lease.map(|lease| lease.to_string());
    Ok(Settings {
        server: server(up, before.map(|before| &before.server), Scheme::of(port_base), finder).await?,
        port_base,
        lease: lease.or(before.map(|before| before.lease.clone())).unwrap_or_else(|| LEASE.to_string()),
        instances: up.replicas.or(before.map(|before| before.instances)).unwrap_or(1),
        observe: before.map(|before| before.observe.clone()).unwrap_or_default(),
        leaves: Leaves::default(),
    })
}

/// Those of before and those that are named now.
async fn leaves(up: &Up, before: Option<&Settings>, now: &Settings, finder: &mut Finder) -> Result<Leaves> {
    let known = before.map(|before| before.leaves.clone()).unwrap_or_default();
    let ids: BTreeSet<LeafId> = known.ids.into_iter().chain(up.leaves.iter().cloned()).collect();
    if ids.is_empty() {
        return Ok(Leaves::default());
    }
    match &now.server {
        Server::Own { .. } => {}
        Server::Cluster { .. } | Server::Existing { .. } => {
            let detail = "leaves connect to one server that `up` starts, not yet to a cluster or to servers of your own";
            return Err(Failure::usage(detail).into());
        }
    }
    let told = up.leaf_listen.or(known.listen);
    let listen = Some(ports::leaves(Scheme::of(now.port_base), told, finder).await?);
    Ok(Leaves { listen, ids })
}

async fn server(up: &Up, before: Option<&Server>, scheme: Scheme, finder: &mut Finder) -> Result<Server> {
    match (existing(up, before)?, before) {
        (Some(_), Some(Server::Own { .. } | Server::Cluster { .. })) => {
            let detail =
                "this home has a server of its own with its log in it; use another --home with --nats-url";
            Err(Failure::refused("other_log", detail).into())
        }
        (Some(server), Some(Server::Existing { .. }) | None) => Ok(server),
        (None, before) => up.tls.apply(own(up.cluster, before, scheme, finder).await?),
    }
}

/// A server of our own, or a cluster: what the home has, or what is asked for a new one.
async fn own(
    asked: Option<u16>,
    before: Option<&Server>,
    scheme: Scheme,
    finder: &mut Finder,
) -> Result<Server> {
    let (has, nodes, tls) = match before {
        Some(Server::Cluster { nodes, tls }) => (u16::try_from(nodes.len()).ok(), nodes.as_slice(), *tls),
        Some(Server::Own { .. }) => (Some(1), [].as_slice(), false),
        Some(Server::Existing { .. }) | None => (None, [].as_slice(), false),
    };
    match (asked, has) {
        (Some(asked), Some(has)) if asked != has => {
            let detail = format!(
                "this home has its log on {has} NATS server{}, and it stays there; for a cluster of {asked} use another \
                 --home, or go on with this one without --cluster",
                if has == 1 { "" } else { "s" }
            );
            Err(Failure::refused("other_log", detail).into())
        }
        (_, Some(count)) | (Some(count), None) if count > 1 => {
            Ok(Server::Cluster { nodes: ports::cluster(scheme, nodes, count, finder).await?, tls })
        }
        (Some(_) | None, Some(_) | None) => ports::server(scheme, before, finder).await,
    }
}

/// The server that somebody else runs, if that is meant.
///
/// # Errors
/// When nothing says with which credential to create what is missing there.
pub fn existing(up: &Up, before: Option<&Server>) -> Result<Option<Server>> {
    let known = match before {
        Some(Server::Existing { url, monitor, admin, tls }) => Some((url, monitor, admin, tls)),
        Some(Server::Own { .. } | Server::Cluster { .. }) | None => None,
    };
    let Some(url) = up.nats_url.as_ref().or(known.map(|(url, ..)| url)) else { return Ok(None) };
    let admin = up.admin_credentials.as_ref().or(known.map(|(_, _, admin, _)| admin));
    let Some(admin) = admin else {
        let detail =
            "--nats-url needs --admin-credentials FILE: the seed of a user that may create streams there";
        return Err(Failure::usage(detail).into());
    };
    let monitor = up.monitor_url.as_ref().or(known.and_then(|(_, monitor, ..)| monitor.as_ref()));
    let server = Server::Existing {
        url: url.clone(),
        monitor: monitor
            .map(|urls| urls.split(',').map(|url| url.trim_end_matches('/')).collect::<Vec<_>>().join(",")),
        admin: std::path::absolute(admin)?,
        tls: known.and_then(|(.., tls)| tls.clone()),
    };
    up.tls.apply(server).map(Some)
}

fn wanted_edges(up: &Up, is_second_start: bool, fleet: &Fleet) -> usize {
    let has = fleet.edges.len();
    let wanted = match up.edges {
        Some(edges) => usize::from(edges),
        None if is_second_start => has,
        None => usize::from(EDGES),
    };
    if wanted < has {
        say(&format!(
            "this home has {has} edges and all of them start; `keywheel edge remove ID` takes one away"
        ));
    }
    wanted
}

fn grow(fleet: &mut Fleet, wanted: usize, scheme: Scheme, finder: &mut Finder) -> Result<()> {
    while fleet.edges.len() < wanted {
        let port = ports::next(scheme, &fleet.edges, finder)?;
        fleet.add(Edge { id: fleet.next_name(), listen: ports::loopback(port), grpc: None });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        up: Up,
    }

    fn up(args: &[&str]) -> Up {
        Line::parse_from([&["up"], args].concat()).up
    }

    fn names(layout: &Layout) -> Vec<String> {
        layout.fleet.edges.iter().map(|edge| edge.id.to_string()).collect()
    }

    #[tokio::test]
    async fn a_second_start_continues_and_a_larger_number_adds() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let first =
            prepare(&up(&["--port-base", "0", "--edges", "2", "--lease", "3s"]), &home).await.unwrap();
        assert_eq!((names(&first), first.settings.lease.as_str()), (vec!["e1".into(), "e2".into()], "3s"));

        let second = prepare(&up(&[]), &home).await.unwrap();
        assert_eq!(second.settings, first.settings);
        assert_eq!(second.fleet, first.fleet);

        let mut fleet = second.fleet.clone();
        fleet.remove(&keywheel_domain::EdgeId::parse("e1").unwrap());
        fleet.save(&home).unwrap();
        let third = prepare(&up(&["--edges", "3", "--replicas", "2"]), &home).await.unwrap();
        assert_eq!(names(&third), ["e2", "e3", "e4"]);
        assert_eq!(third.fleet.edges[0], second.fleet.edges[1]);
        assert_eq!(third.settings.instances, 2);
    }

    #[tokio::test]
    async fn another_server_needs_its_administrator_and_its_own_home() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let refused = prepare(&up(&["--nats-url", "nats://a:1"]), &home).await.unwrap_err().to_string();
        assert!(refused.contains("--admin-credentials"), "{refused}");

        prepare(&up(&["--port-base", "0", "--edges", "0"]), &home).await.unwrap();
        let line = ["--nats-url", "nats://a:1", "--admin-credentials", "admin.nk"];
        let refused = prepare(&up(&line), &home).await.unwrap_err().to_string();
        assert!(refused.contains("another --home"), "{refused}");
    }

    #[tokio::test]
    async fn leaves_are_remembered_with_their_port_and_their_folders_are_there() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let line = ["--port-base", "0", "--edges", "0", "--tls"];
        let first = prepare(&up(&[&line[..], &["--leaf", "paris"]].concat()), &home).await.unwrap();
        let second = prepare(&up(&["--leaf", "lyon"]), &home).await.unwrap().settings.leaves;
        let known: Vec<&str> = second.ids.iter().map(LeafId::as_str).collect();
        assert_eq!((known, second.listen), (vec!["lyon", "paris"], first.settings.leaves.listen));
        let conf = std::fs::read_to_string(home.nats_conf("nats")).unwrap();
        let listen = second.listen.unwrap();
        assert!(conf.contains(&format!("leafnodes {{\n  listen: \"{listen}\"\n  tls {{")), "{conf}");
        for id in &second.ids {
            assert!(home.leaf(id).join("seed.conf").exists() && home.leaf(id).join("leaf.pem").exists());
        }
    }

    #[tokio::test]
    async fn a_cluster_that_is_started_here_takes_no_leaves() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let line = ["--port-base", "0", "--edges", "0", "--cluster", "3", "--leaf", "paris"];
        let refused = prepare(&up(&line), &home).await.unwrap_err().to_string();
        assert!(refused.contains("not yet to a cluster"), "{refused}");
    }

    #[test]
    fn a_lease_is_a_duration() {
        assert!(Line::try_parse_from(["up", "--lease", "15s"]).is_ok());
        for bad in ["15", "soon", "0s", "200ms"] {
            assert!(Line::try_parse_from(["up", "--lease", bad]).is_err(), "{bad}");
        }
    }
}
