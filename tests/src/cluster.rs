//! The servers of a cluster that `up` has configured: which one leads, and the routes between them, each over a link
//! that can be harmed.

use crate::link::{Link, Way};
use anyhow::{Context as _, ensure};
use keywheel_stack::home::Home;
use keywheel_stack::nats;
use keywheel_stack::settings::Server;
use serde_json::Value;
use std::collections::BTreeMap;

/// Where nobody listens.
const NOWHERE: &str = "127.0.0.1:1";

/// The servers, by their place: `nats-1` is at 0.
pub struct Cluster {
    names: Vec<String>,
    monitors: Vec<u16>,
    links: BTreeMap<(usize, usize), Link>,
}

impl Cluster {
    /// Puts a link between each two, in configurations that are read at the next start. Each server dials those after
    /// it, and what they tell each other and their clients of their own addresses leads nowhere.
    ///
    /// # Errors
    /// When a configuration is not as `up` writes it, or the system refuses.
    pub fn rerouted(home: &Home, server: &Server) -> anyhow::Result<Cluster> {
        let nodes = nats::processes(server);
        let mut links = BTreeMap::new();
        for from in 0..nodes.len() {
            for (to, (_, node)) in nodes.iter().enumerate().skip(from + 1) {
                links.insert((from, to), Link::to(&format!("127.0.0.1:{}", node.route))?);
            }
        }
        for (at, (name, _)) in nodes.iter().enumerate() {
            let path = home.nats_conf(name);
            let mut text = std::fs::read_to_string(&path)?;
            for (to, (_, node)) in nodes.iter().enumerate() {
                let link = links.get(&(at, to)).map(|link| link.address().to_string());
                let instead = format!("@{}\"", link.as_deref().unwrap_or(NOWHERE));
                text = replaced(&text, &format!("@127.0.0.1:{}\"", node.route), &instead)?;
            }
            let silent = format!("\ncluster {{\n  advertise: \"{NOWHERE}\"\n  no_advertise: true\n");
            std::fs::write(&path, replaced(&text, "\ncluster {\n", &silent)?)?;
        }
        let (names, nodes): (_, Vec<_>) = nodes.into_iter().unzip();
        Ok(Cluster { names, monitors: nodes.iter().map(|node| node.monitor).collect(), links })
    }

    /// The names of their processes.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The link between two.
    ///
    /// # Panics
    /// When there are no two such servers.
    pub fn link(&self, one: usize, other: usize) -> &Link {
        &self.links[&(one.min(other), one.max(other))]
    }

    /// The links between one and all others, each with the way that goes away from that one.
    pub fn links_of(&self, at: usize) -> Vec<(&Link, Way)> {
        let way = |(from, to): &(usize, usize)| match () {
            () if *from == at => Some(Way::Out),
            () if *to == at => Some(Way::In),
            () => None,
        };
        self.links.iter().filter_map(|(pair, link)| Some((link, way(pair)?))).collect()
    }

    /// Whether one says that it leads a stream. One that was deposed and does not know it says so too.
    pub async fn leads(&self, stream: &str, at: usize) -> bool {
        let monitor = self.monitors[at];
        let url = format!("http://127.0.0.1:{monitor}/jsz?acc=KEYWHEEL&accounts=true&streams=true");
        let Ok(answer) = reqwest::get(url).await else { return false };
        let Ok(told) = answer.json::<Value>().await else { return false };
        let streams = told["account_details"][0]["stream_detail"].as_array();
        let found = streams.into_iter().flatten().find(|found| found["name"] == stream);
        found.is_some_and(|found| found["cluster"]["leader"] == self.names[at])
    }
}

fn replaced(text: &str, what: &str, by: &str) -> anyhow::Result<String> {
    let (before, after) = text.split_once(what).with_context(|| format!("no {what:?}"))?;
    ensure!(!after.contains(what), "{what:?} stands there twice");
    Ok([before, by, after].concat())
}
