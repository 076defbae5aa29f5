//! The routes between the nodes of a cluster, as faults name them: `nats-1+nats-2` is the one between two,
//! `nats-1+others` is all that one has, `nats-leader+others` those of whoever leads the log when the fault begins.

use crate::cluster::Cluster;
use crate::link::{Link, Way};
use anyhow::Context as _;
use keywheel_stack::home::Home;
use keywheel_stack::settings::Settings;
use keywheel_wire::subject;
use std::path::Path;

const LEADER: &str = "nats-leader";
const OTHERS: &str = "others";

/// Whether it names a route.
pub fn is_route(target: &str) -> bool {
    target.contains('+')
}

/// The routes of an installation; it has none where one server is the bus.
pub struct Routes(Option<Cluster>);

impl Routes {
    /// Puts a link into each route, before the servers are started.
    ///
    /// # Errors
    /// When the installation is not as `up` makes it.
    pub fn of(home: &Path) -> anyhow::Result<Routes> {
        let home = Home::at(home)?;
        let settings = Settings::load(&home)?.context("an installation has settings")?;
        let is_cluster = keywheel_stack::nats::processes(&settings.server).len() > 1;
        Ok(Routes(is_cluster.then(|| Cluster::rerouted(&home, &settings.server)).transpose()?))
    }

    /// What faults can be done to.
    pub fn names(&self) -> Vec<String> {
        let nodes = self.0.as_ref().map_or(&[][..], Cluster::names);
        let mut names = Vec::new();
        for (at, node) in nodes.iter().enumerate() {
            names.extend(nodes[at + 1..].iter().chain([&OTHERS.to_owned()]).map(|to| format!("{node}+{to}")));
        }
        names.extend(nodes.first().map(|_| format!("{LEADER}+{OTHERS}")));
        names
    }

    /// The same name with the node that leads the log now; where none does, with the first.
    pub async fn met(&self, name: String) -> String {
        let (Some(cluster), Some((LEADER, to))) = (&self.0, name.split_once('+')) else { return name };
        for (at, node) in cluster.names().iter().enumerate() {
            if cluster.leads(subject::EVENTS, at).await {
                return format!("{node}+{to}");
            }
        }
        format!("{}+{to}", cluster.names()[0])
    }

    /// The links of a name, each with the way that goes away from its first node; nothing when it is no route's.
    pub fn links(&self, name: &str) -> Option<Vec<(&Link, Way)>> {
        let cluster = self.0.as_ref()?;
        let (node, to) = name.split_once('+')?;
        let place = |name: &str| cluster.names().iter().position(|node| node == name);
        let at = place(node)?;
        let of_one = cluster.links_of(at);
        if to == OTHERS {
            return Some(of_one);
        }
        let between = cluster.link(at, place(to)?);
        Some(of_one.into_iter().filter(|(link, _)| std::ptr::eq(*link, between)).collect())
    }
}
