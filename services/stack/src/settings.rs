//! What a home remembers between two starts: where its server is, and which edges it runs.

use crate::certificates;
use crate::home::{Home, read_json, write_json};
use crate::permissions::Role;
use anyhow::{Context as _, Result};
use keywheel_bus::TlsConfig;
use keywheel_domain::{EdgeId, LeafId, Span};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// The lease of a fleet that is told none.
pub const LEASE: Span = Span::secs(15);

/// Where the bus is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Server {
    /// Run by this stack, on loopback.
    Own {
        /// Where clients connect.
        port: u16,
        /// Where it tells about itself.
        monitor: u16,
        /// Whether it speaks TLS, with certificates of the home.
        #[serde(default)]
        tls: bool,
    },
    /// Several servers run by this stack, on loopback, that keep each stream together.
    Cluster {
        /// In the order of their names: `nats-1`, `nats-2`, …
        nodes: Vec<Node>,
        /// Whether they speak TLS, also to each other, with certificates of the home.
        tls: bool,
    },
    /// Run by somebody else.
    Existing {
        /// One or more URLs, separated by commas.
        url: String,
        /// Its monitoring URL, or one for each server, separated by commas, if that is known.
        monitor: Option<String>,
        /// File with the seed of a credential that may change streams and durables.
        admin: PathBuf,
        /// With which certificates this home's processes connect to it.
        #[serde(default)]
        tls: Option<TlsConfig>,
    },
}

/// The ports of one server of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Where clients connect.
    pub port: u16,
    /// Where it tells about itself.
    pub monitor: u16,
    /// Where the others connect.
    pub route: u16,
}

impl Server {
    /// Where clients connect: one or more URLs, separated by commas.
    pub fn url(&self) -> String {
        let own = |port: u16, tls: bool| format!("{}://127.0.0.1:{port}", if tls { "tls" } else { "nats" });
        match self {
            Server::Own { port, monitor: _, tls } => own(*port, *tls),
            Server::Cluster { nodes, tls } => {
                nodes.iter().map(|node| own(node.port, *tls)).collect::<Vec<_>>().join(",")
            }
            Server::Existing { url, .. } => url.clone(),
        }
    }

    /// Each server by itself, as one that is the only one.
    pub fn one_by_one(&self) -> Vec<Server> {
        match self {
            Server::Own { .. } => vec![self.clone()],
            Server::Cluster { nodes, tls } => nodes
                .iter()
                .map(|&Node { port, monitor, route: _ }| Server::Own { port, monitor, tls: *tls })
                .collect(),
            Server::Existing { url, monitor: _, admin, tls } => url
                .split(',')
                .map(|url| Server::Existing {
                    url: url.to_owned(),
                    monitor: None,
                    admin: admin.clone(),
                    tls: tls.clone(),
                })
                .collect(),
        }
    }

    /// Where each tells about itself over HTTP, as far as that is known.
    pub fn monitor_urls(&self) -> Vec<String> {
        let own = |monitor: &u16| format!("http://127.0.0.1:{monitor}");
        match self {
            Server::Own { monitor, .. } => vec![own(monitor)],
            Server::Cluster { nodes, .. } => nodes.iter().map(|node| own(&node.monitor)).collect(),
            Server::Existing { monitor, .. } => {
                monitor.iter().flat_map(|urls| urls.split(',')).map(str::to_owned).collect()
            }
        }
    }

    /// Whether this stack starts it.
    pub fn is_ours(&self) -> bool {
        match self {
            Server::Own { .. } | Server::Cluster { .. } => true,
            Server::Existing { .. } => false,
        }
    }

    /// File with the credential that may change streams and durables.
    pub fn admin(&self, home: &Home) -> PathBuf {
        match self {
            Server::Own { .. } | Server::Cluster { .. } => home.credential(&Role::Admin.name()),
            Server::Existing { admin, .. } => admin.clone(),
        }
    }

    /// With which certificates a process of `role` connects; none where the bus speaks no TLS.
    pub fn tls(&self, home: &Home, role: &str) -> Option<TlsConfig> {
        match self {
            Server::Own { tls, .. } | Server::Cluster { tls, .. } => {
                tls.then(|| certificates::of_role(home, role))
            }
            Server::Existing { tls, .. } => tls.clone(),
        }
    }
}

/// What a second start continues with unless it is told otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the bus is.
    pub server: Server,
    /// What `--port-base` said; none is the ports of the contract.
    pub port_base: Option<u16>,
    /// The lease of the whole fleet, such as `15s`.
    pub lease: String,
    /// Replicas of each service that has any.
    pub instances: u32,
    /// At which port each service's process tells how it stands.
    #[serde(default)]
    pub observe: BTreeMap<String, u16>,
    /// The regions' own servers.
    #[serde(default)]
    pub leaves: Leaves,
}

/// The regions' own servers that mirror the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaves {
    /// Where they connect to a server of ours.
    pub listen: Option<SocketAddr>,
    /// What they are called.
    #[serde(serialize_with = "names", deserialize_with = "leaf_ids")]
    pub ids: BTreeSet<LeafId>,
}

fn names<S: Serializer>(ids: &BTreeSet<LeafId>, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(ids.iter().map(LeafId::as_str))
}

fn leaf_ids<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<LeafId>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    names.iter().map(|name| LeafId::parse(name).map_err(D::Error::custom)).collect()
}

impl Settings {
    /// What the home remembers; `None` before its first start.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn load(home: &Home) -> Result<Option<Settings>> {
        read_json(&home.settings())
    }

    /// Remembers it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save(&self, home: &Home) -> Result<()> {
        write_json(&home.settings(), self)
    }
}

/// An edge of this home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Its name on the roster.
    pub id: EdgeId,
    /// Where it serves.
    pub listen: SocketAddr,
    /// Where it answers Envoy; nowhere if there is none yet.
    pub grpc: Option<SocketAddr>,
}

impl Edge {
    /// The name of its process, its role and its durable.
    pub fn process(&self) -> String {
        keywheel_wire::subject::edge_durable(&self.id)
    }

    /// Where to ask it from this machine.
    pub fn url(&self) -> String {
        format!("http://{}", from_here(self.listen))
    }

    /// Where an Envoy on this machine asks it, as gRPC programs write it.
    pub fn grpc_target(&self) -> Option<String> {
        self.grpc.map(|address| from_here(address).to_string())
    }
}

fn from_here(address: SocketAddr) -> SocketAddr {
    let ip = address.ip();
    let ip = if ip.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { ip };
    SocketAddr::new(ip, address.port())
}

/// The edges of this home, and which names were withdrawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    /// In the order in which they were added.
    pub edges: Vec<Edge>,
    /// Edges inside services of others and at leaves: they have all that an edge has, but nobody here starts them.
    pub libraries: Vec<EdgeId>,
    /// Of those in `libraries`, the ones at a leaf.
    pub at_leaves: BTreeMap<EdgeId, LeafId>,
    /// Not to be taken again by an edge that is named for the operator.
    pub removed: Vec<EdgeId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    edges: Vec<WrittenEdge>,
    #[serde(default)]
    libraries: Vec<String>,
    #[serde(default)]
    leaves: BTreeMap<String, String>,
    removed: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEdge {
    id: String,
    listen: SocketAddr,
    #[serde(default)]
    grpc: Option<SocketAddr>,
}

impl Fleet {
    /// The home's list; empty before its first start.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn load(home: &Home) -> Result<Fleet> {
        let Some(written) = read_json::<Written>(&home.edges())? else { return Ok(Fleet::default()) };
        let parse = |id: &str| EdgeId::parse(id).with_context(|| home.edges().display().to_string());
        let parse_leaf = |id: &str| LeafId::parse(id).with_context(|| home.edges().display().to_string());
        let edge =
            |edge: WrittenEdge| Ok(Edge { id: parse(&edge.id)?, listen: edge.listen, grpc: edge.grpc });
        Ok(Fleet {
            edges: written.edges.into_iter().map(edge).collect::<Result<_>>()?,
            libraries: written.libraries.iter().map(|id| parse(id)).collect::<Result<_>>()?,
            at_leaves: written
                .leaves
                .iter()
                .map(|(id, leaf)| Ok((parse(id)?, parse_leaf(leaf)?)))
                .collect::<Result<_>>()?,
            removed: written.removed.iter().map(|id| parse(id)).collect::<Result<_>>()?,
        })
    }

    /// Writes the list.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn save(&self, home: &Home) -> Result<()> {
        let edge =
            |edge: &Edge| WrittenEdge { id: edge.id.to_string(), listen: edge.listen, grpc: edge.grpc };
        let written = Written {
            edges: self.edges.iter().map(edge).collect(),
            libraries: self.libraries.iter().map(ToString::to_string).collect(),
            leaves: self.at_leaves.iter().map(|(id, leaf)| (id.to_string(), leaf.to_string())).collect(),
            removed: self.removed.iter().map(ToString::to_string).collect(),
        };
        write_json(&home.edges(), &written)
    }

    /// The edge of that name.
    pub fn find(&self, id: &EdgeId) -> Option<&Edge> {
        self.edges.iter().find(|edge| edge.id == *id)
    }

    /// All of them, also those that others start.
    pub fn ids(&self) -> impl Iterator<Item = &EdgeId> {
        self.edges.iter().map(|edge| &edge.id).chain(&self.libraries)
    }

    /// Whether there is one of that name.
    pub fn has(&self, id: &EdgeId) -> bool {
        self.ids().any(|other| other == id)
    }

    /// Puts an edge on the list, in place of one of its name.
    pub fn add(&mut self, edge: Edge) {
        self.forget(&edge.id);
        self.edges.push(edge);
    }

    /// Puts an edge inside a service on the list, in place of one of its name.
    pub fn add_library(&mut self, id: EdgeId) {
        self.forget(&id);
        self.libraries.push(id);
    }

    /// Puts an edge at a leaf on the list, in place of one of its name.
    pub fn add_at_leaf(&mut self, id: EdgeId, leaf: LeafId) {
        self.add_library(id.clone());
        self.at_leaves.insert(id, leaf);
    }

    /// Those at one leaf.
    pub fn at_leaf(&self, leaf: &LeafId) -> impl Iterator<Item = &EdgeId> {
        self.at_leaves.iter().filter(move |(_, at)| *at == leaf).map(|(id, _)| id)
    }

    /// Takes an edge off the list and keeps its name from being given again.
    pub fn remove(&mut self, id: &EdgeId) {
        self.forget(id);
        self.removed.push(id.clone());
    }

    fn forget(&mut self, id: &EdgeId) {
        self.edges.retain(|edge| edge.id != *id);
        self.libraries.retain(|other| other != id);
        self.at_leaves.remove(id);
        self.removed.retain(|other| other != id);
    }

    /// `e1`, `e2`, …: the first name that was never used here.
    pub fn next_name(&self) -> EdgeId {
        let names = (1_u32..).map(|n| EdgeId::parse(&format!("e{n}")).expect("such a name is valid"));
        let is_new = |id: &EdgeId| !self.has(id) && !self.removed.contains(id);
        names.into_iter().find(is_new).expect("there are more names than edges")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> EdgeId {
        EdgeId::parse(text).unwrap()
    }

    fn edge(name: &str, listen: &str) -> Edge {
        Edge { id: id(name), listen: listen.parse().unwrap(), grpc: None }
    }

    #[test]
    fn the_list_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        assert_eq!(Fleet::load(&home).unwrap(), Fleet::default());
        let mut fleet = Fleet::default();
        fleet.add(edge("e1", "127.0.0.1:8081"));
        fleet.add(edge("paris", "0.0.0.0:8082"));
        fleet.remove(&id("e1"));
        fleet.add_library(id("notes"));
        fleet.add_at_leaf(id("lyon"), LeafId::parse("france").unwrap());
        fleet.save(&home).unwrap();
        assert_eq!(Fleet::load(&home).unwrap(), fleet);
        assert_eq!(fleet.next_name(), id("e2"));
        assert_eq!(fleet.edges[0].url(), "http://127.0.0.1:8082");
    }

    #[test]
    fn an_edge_that_comes_back_is_no_longer_removed() {
        let mut fleet = Fleet::default();
        fleet.remove(&id("e1"));
        fleet.add(edge("e1", "127.0.0.1:1"));
        fleet.add(edge("e1", "127.0.0.1:2"));
        assert_eq!(fleet, Fleet { edges: vec![edge("e1", "127.0.0.1:2")], ..Fleet::default() });
        fleet.add_library(id("e1"));
        assert_eq!(fleet, Fleet { libraries: vec![id("e1")], ..Fleet::default() });
        assert!(fleet.has(&id("e1")) && fleet.find(&id("e1")).is_none());
        fleet.add_library(id("e2"));
        assert_eq!(fleet.next_name(), id("e3"), "theirs is not given to another");
        fleet.remove(&id("e1"));
        assert_eq!((fleet.libraries.clone(), fleet.removed.clone()), (vec![id("e2")], vec![id("e1")]));
    }

    #[test]
    fn settings_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        assert_eq!(Settings::load(&home).unwrap(), None);
        for server in [
            Server::Own { port: 4222, monitor: 30000, tls: true },
            Server::Cluster { nodes: vec![Node { port: 4222, monitor: 30000, route: 30001 }], tls: false },
            Server::Existing {
                url: "nats://a:4222,nats://b:4222".to_owned(),
                monitor: None,
                admin: "a.nk".into(),
                tls: Some(TlsConfig { ca: "ca.pem".into(), cert: None, key: None }),
            },
        ] {
            let observe = [("issuer".to_owned(), 8381)].into();
            let lease = LEASE.to_string();
            let listen = Some("127.0.0.1:7422".parse().unwrap());
            let leaves = Leaves { listen, ids: [LeafId::parse("paris").unwrap()].into() };
            let settings = Settings { server, port_base: Some(0), lease, instances: 2, observe, leaves };
            settings.save(&home).unwrap();
            assert_eq!(Settings::load(&home).unwrap(), Some(settings));
        }
    }
}
