//! Which ports a stack takes: those of the contract, moved ones, or free ones that are kept from then on.

use crate::failure::Failure;
use crate::process_config::{process_name, replicas};
use crate::settings::{Edge, Node, Server};
use anyhow::Result;
use keywheel_wire::subject::Service;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as LocalAddr, UnixDatagram};
use std::time::Duration;

const NATS: u16 = 4222;
const LEAVES: u16 = 7422;
const FIRST_EDGE: u16 = 8081;
/// How far above its HTTP port an edge answers Envoy.
const GRPC_ABOVE: u16 = 500;
/// How far above the first edge's port the services tell how they stand: ten ports for each service.
const OBSERVE_ABOVE: u16 = 300;
const OBSERVE_EACH: u16 = 10;
/// Free ports are looked for below those that systems give to outgoing connections: a port from among those can be
/// taken by anybody's connection while its server restarts.
const FREE: std::ops::Range<u16> = 15_000..32_000;
/// Ports are claimed by so many: one that was found is taken only when its process listens, seconds later.
const BLOCK: u16 = 100;
/// How long a port may stay taken by a stack that was killed a moment ago.
const LINGER: Duration = Duration::from_secs(5);

/// How ports are chosen: what `--port-base` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// NATS 4222, edges 8081, 8082, …
    Contract,
    /// NATS at this port, edges from the next one on.
    Moved(u16),
    /// Whatever is free.
    Free,
}

impl Scheme {
    /// Reads `--port-base`.
    pub fn of(port_base: Option<u16>) -> Scheme {
        match port_base {
            None => Scheme::Contract,
            Some(0) => Scheme::Free,
            Some(base) => Scheme::Moved(base),
        }
    }

    fn nats(self) -> Option<u16> {
        match self {
            Scheme::Contract => Some(NATS),
            Scheme::Moved(base) => Some(base),
            Scheme::Free => None,
        }
    }

    fn first_edge(self) -> Option<u16> {
        match self {
            Scheme::Contract => Some(FIRST_EDGE),
            Scheme::Moved(base) => Some(base.saturating_add(1)),
            Scheme::Free => None,
        }
    }
}

/// Finds ports that nobody has, each one once. No other finder on this machine gives one near them while this one is
/// kept.
#[derive(Debug)]
pub struct Finder {
    next: u16,
    given: Vec<u16>,
    claimed: BTreeMap<u16, UnixDatagram>,
}

impl Finder {
    /// Begins at a place that `chance` names, so that stacks which start at the same time do not meet.
    pub fn new(chance: u128) -> Self {
        let size = u128::from(FREE.end - FREE.start);
        let offset = u16::try_from(chance % size).expect("the remainder is below a port's range");
        Self { next: FREE.start + offset, given: Vec::new(), claimed: BTreeMap::new() }
    }

    /// A port that is free now and was not given before.
    ///
    /// # Errors
    /// When all are taken.
    pub fn find(&mut self) -> Result<u16> {
        for _ in FREE {
            let port = self.next;
            self.next = if port + 1 == FREE.end { FREE.start } else { port + 1 };
            if !self.given.contains(&port) && self.claim(port) && is_free(loopback(port)) {
                self.given.push(port);
                return Ok(port);
            }
        }
        Err(Failure::refused("no_port", "no port on loopback is free").into())
    }

    /// Whether the ports around this one are this finder's: a socket with their name says so to others, and goes with
    /// its process.
    fn claim(&mut self, port: u16) -> bool {
        let block = port / BLOCK;
        if self.claimed.contains_key(&block) {
            return true;
        }
        let name = LocalAddr::from_abstract_name(format!("keywheel-ports-{block}"));
        let socket = name.and_then(|name| UnixDatagram::bind_addr(&name));
        socket.is_ok_and(|socket| self.claimed.insert(block, socket).is_none())
    }

    /// The same port as before where it is still free, else another one.
    ///
    /// # Errors
    /// When all are taken.
    pub async fn keep(&mut self, port: Option<u16>) -> Result<u16> {
        match port {
            Some(port) if becomes_free(loopback(port)).await => {
                self.given.push(port);
                Ok(port)
            }
            Some(_) | None => self.find(),
        }
    }
}

/// Ports for a server of our own. `before` is what the home remembers of it.
///
/// # Errors
/// When the port that it must have is taken.
pub async fn server(scheme: Scheme, before: Option<&Server>, finder: &mut Finder) -> Result<Server> {
    let (port, monitor, tls) = match before {
        Some(Server::Own { port, monitor, tls }) => (Some(*port), Some(*monitor), *tls),
        Some(Server::Cluster { .. } | Server::Existing { .. }) | None => (None, None, false),
    };
    let port = match scheme.nats() {
        Some(port) => demand(loopback(port), "the NATS server").await?,
        None => finder.keep(port).await?,
    };
    Ok(Server::Own { port, monitor: finder.keep(monitor).await?, tls })
}

/// Ports for a cluster of `count` servers of our own, or for as many as `before`, what the home remembers of it.
///
/// # Errors
/// When a port that one must have is taken.
pub async fn cluster(scheme: Scheme, before: &[Node], count: u16, finder: &mut Finder) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for at in 0..count {
        let known = before.get(usize::from(at));
        let demanded = match scheme {
            Scheme::Contract => Some(NATS + at),
            // Edges have the ports above.
            Scheme::Moved(base) => (at == 0).then_some(base),
            Scheme::Free => None,
        };
        let port = match demanded {
            Some(port) => demand(loopback(port), &format!("the NATS server {}", at + 1)).await?,
            None => finder.keep(known.map(|node| node.port)).await?,
        };
        let monitor = finder.keep(known.map(|node| node.monitor)).await?;
        nodes.push(Node { port, monitor, route: finder.keep(known.map(|node| node.route)).await? });
    }
    Ok(nodes)
}

/// Where leaves connect to a server of our own: at `told`, or on loopback.
///
/// # Errors
/// When that is taken.
pub async fn leaves(scheme: Scheme, told: Option<SocketAddr>, finder: &mut Finder) -> Result<SocketAddr> {
    match (scheme, told) {
        (Scheme::Free, Some(told)) if told.ip().is_loopback() => {
            Ok(loopback(finder.keep(Some(told.port())).await?))
        }
        (Scheme::Free | Scheme::Moved(_), None) => Ok(loopback(finder.find()?)),
        (Scheme::Contract, None) => Ok(loopback(demand(loopback(LEAVES), "the leaves' listener").await?)),
        (Scheme::Free | Scheme::Moved(_) | Scheme::Contract, Some(told)) => {
            demand(told, "the leaves' listener").await.map(|_| told)
        }
    }
}

/// Sees to it that every edge has a port: moves them where the scheme changed, and where a free one was taken meanwhile.
///
/// # Errors
/// When a port that an edge must have is taken.
pub async fn place(scheme: Scheme, is_changed: bool, edges: &mut [Edge], finder: &mut Finder) -> Result<()> {
    for at in 0..edges.len() {
        let (before, rest) = edges.split_at_mut(at);
        let edge = &mut rest[0];
        let port = match (scheme.first_edge(), is_changed) {
            (Some(_), true) => next(scheme, before, finder)?,
            (Some(_), false) => edge.listen.port(),
            (None, true) => finder.find()?,
            (None, false) => finder.keep(Some(edge.listen.port())).await?,
        };
        edge.listen.set_port(port);
        demand(edge.listen, &edge.process()).await?;
        let address = match (scheme, edge.grpc) {
            (Scheme::Contract | Scheme::Moved(_), Some(grpc)) if !is_changed => grpc,
            (Scheme::Free, Some(grpc)) if !is_changed => loopback(finder.keep(Some(grpc.port())).await?),
            (Scheme::Contract | Scheme::Moved(_) | Scheme::Free, Some(_) | None) => {
                grpc(scheme, edge.listen, finder)?
            }
        };
        demand(address, &edge.process()).await?;
        edge.grpc = Some(address);
    }
    Ok(())
}

/// Where the edge at `listen` answers Envoy: on loopback, since whoever can reach it may claim to be one.
///
/// # Errors
/// When there is no such port.
pub fn grpc(scheme: Scheme, listen: SocketAddr, finder: &mut Finder) -> Result<SocketAddr> {
    let port = match scheme {
        Scheme::Free => finder.find()?,
        Scheme::Contract | Scheme::Moved(_) => listen.port().checked_add(GRPC_ABOVE).ok_or_else(|| {
            let detail = format!("no port is left {GRPC_ABOVE} above {listen}; take lower ones");
            Failure::refused("no_port", detail)
        })?,
    };
    Ok(loopback(port))
}

/// Where each process of a service tells how it stands: the port of its place, or the one that `before` has for it,
/// where that is free, else another. Nothing but watching depends on it, so none is demanded.
///
/// # Errors
/// When all are taken.
pub async fn observed(
    scheme: Scheme,
    instances: u32,
    before: &BTreeMap<String, u16>,
    finder: &mut Finder,
) -> Result<BTreeMap<String, u16>> {
    let mut ports = BTreeMap::new();
    for (place, service) in (0..).zip(Service::ALL) {
        for instance in 1..=replicas(service, instances) {
            let process = process_name(service, instance);
            let above = |first: u16| {
                let offset = OBSERVE_ABOVE + OBSERVE_EACH * place + u16::try_from(instance - 1).ok()?;
                first.checked_add(offset)
            };
            let wanted = match scheme.first_edge() {
                Some(first) => above(first),
                None => before.get(&process).copied(),
            };
            ports.insert(process, finder.keep(wanted).await?);
        }
    }
    Ok(ports)
}

/// The port for an edge that comes after `edges`.
///
/// # Errors
/// When there is none.
pub fn next(scheme: Scheme, edges: &[Edge], finder: &mut Finder) -> Result<u16> {
    let Some(first) = scheme.first_edge() else { return finder.find() };
    let is_new = |port: &u16| edges.iter().all(|edge| edge.listen.port() != *port);
    let port = (first..=u16::MAX).find(is_new);
    port.ok_or_else(|| Failure::refused("no_port", "no port is left for another edge").into())
}

async fn demand(address: SocketAddr, who: &str) -> Result<u16> {
    if becomes_free(address).await {
        return Ok(address.port());
    }
    let detail = format!(
        "{address} is taken, and {who} needs it; stop what runs there, move all ports with --port-base N, or take free \
         ones with --port-base 0"
    );
    Err(Failure::refused("port_taken", detail).into())
}

async fn becomes_free(address: SocketAddr) -> bool {
    let wait = async {
        while !is_free(address) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LINGER, wait).await.is_ok()
}

/// Loopback at that port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_domain::EdgeId;

    fn edge(name: &str, port: u16) -> Edge {
        Edge { id: EdgeId::parse(name).unwrap(), listen: loopback(port), grpc: None }
    }

    #[test]
    fn edges_follow_each_other() {
        let mut finder = Finder::new(7);
        let edges = [edge("e1", 8081), edge("e3", 8083)];
        assert_eq!(next(Scheme::of(None), &[], &mut finder).unwrap(), 8081);
        assert_eq!(next(Scheme::of(None), &edges, &mut finder).unwrap(), 8082);
        assert_eq!(next(Scheme::of(Some(9000)), &edges, &mut finder).unwrap(), 9001);
    }

    #[tokio::test]
    async fn an_edge_answers_envoy_above_its_port_and_stays_there() {
        let mut finder = Finder::new(u128::from(std::process::id()));
        let base = finder.find().unwrap() - 1;
        let mut edges = [edge("e1", base + 1)];
        place(Scheme::Moved(base), false, &mut edges, &mut finder).await.unwrap();
        assert_eq!(edges[0].grpc, Some(loopback(base + 1 + GRPC_ABOVE)));
        let before = finder.find().unwrap();
        edges[0].grpc = Some(loopback(before));
        place(Scheme::Moved(base), false, &mut edges, &mut finder).await.unwrap();
        assert_eq!(edges[0].grpc, Some(loopback(before)));
        assert!(grpc(Scheme::Contract, loopback(65_100), &mut finder).is_err());
    }

    #[tokio::test]
    async fn a_service_tells_how_it_stands_at_its_place_and_elsewhere_where_that_is_taken() {
        let mut finder = Finder::new(u128::from(std::process::id()) * 7);
        let base = finder.find().unwrap();
        let first = base + 1 + OBSERVE_ABOVE;
        let _taken = TcpListener::bind(loopback(first + 1));
        let ports = observed(Scheme::Moved(base), 2, &BTreeMap::new(), &mut finder).await.unwrap();
        assert_eq!(ports.len(), 7, "{ports:?}");
        assert_eq!((ports["issuer"], ports["retirer-2"]), (first, first + 3 * OBSERVE_EACH + 1));
        assert!(!(first..first + 10).contains(&ports["issuer-2"]), "{ports:?}");
        let free = observed(Scheme::Free, 1, &BTreeMap::new(), &mut finder).await.unwrap();
        let again = observed(Scheme::Free, 1, &free, &mut Finder::new(5)).await.unwrap();
        assert_eq!(again, free);
    }

    #[test]
    fn a_found_port_is_free_and_given_once() {
        let taken = TcpListener::bind(loopback(0)).unwrap();
        assert!(!is_free(taken.local_addr().unwrap()));
        for chance in [0, 16_999, u128::MAX] {
            let mut finder = Finder::new(chance);
            let (one, other) = (finder.find().unwrap(), finder.find().unwrap());
            assert!(one != other && FREE.contains(&one) && FREE.contains(&other));
        }
    }

    #[test]
    fn two_that_begin_at_one_place_find_ports_far_from_each_other() {
        let chance = u128::from(std::process::id()) * 13;
        let (mut one, mut other) = (Finder::new(chance), Finder::new(chance));
        let blocks = |finder: &mut Finder| (0..5).map(|_| finder.find().unwrap() / BLOCK).collect::<Vec<_>>();
        let (first, second) = (blocks(&mut one), blocks(&mut other));
        assert!(second.iter().all(|block| !first.contains(block)), "{first:?} {second:?}");
        drop(one);
        let again = blocks(&mut Finder::new(chance));
        assert!(again.iter().all(|block| !second.contains(block)), "{again:?} {second:?}");
        assert_eq!(again[0], first[0], "what was claimed is free again");
    }

    #[tokio::test]
    async fn free_ports_are_kept_and_demanded_ones_refused() {
        let mut finder = Finder::new(u128::from(std::process::id()));
        let first = server(Scheme::Free, None, &mut finder).await.unwrap();
        let again = server(Scheme::Free, Some(&first), &mut Finder::new(3)).await.unwrap();
        assert_eq!(again, first);

        let taken = TcpListener::bind(loopback(0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let refused = server(Scheme::Moved(port), None, &mut finder).await.unwrap_err().to_string();
        assert!(refused.contains(&port.to_string()) && refused.contains("--port-base"), "{refused}");
    }
}
