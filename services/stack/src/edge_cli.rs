//! `keywheel edge add|remove|snapshot|mirror`: an edge gets its credential, durable and place on the roster, or loses them.

use crate::added::{Added, word};
use crate::admission::{eventually, is_let_in, is_shut_out};
use crate::certificates;
use crate::context::ContextEdge;
use crate::failure::{Failure, Options, Output, print, report, say};
use crate::home;
use crate::installation::{self, connect_admin};
use crate::leaf_folder;
use crate::mirror_cli::Mirror;
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::place::Place;
use crate::ports::{self, Finder, Scheme};
use crate::settings::{Edge, Fleet};
use crate::snapshot_cli::Snapshot;
use crate::{process_config, secrets, summary};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use keywheel_bus::topology;
use keywheel_domain::{EdgeId, LeafId};
use keywheel_runtime::exit;
use keywheel_token::id;
use keywheel_wire::outcome::Outcome;
use keywheel_wire::subject::Verb;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Where an edge at a leaf serves that is told nothing.
const LEAF_EDGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// How long to wait for the server, and then for the roster.
const PATIENCE: Duration = Duration::from_secs(30);

/// Change which edges there are.
#[derive(Subcommand, Debug)]
pub enum EdgeCommand {
    /// Make an edge's credential, durable and configuration, and put it on the roster
    #[command(
        after_help = "Examples:\n  keywheel edge add paris --listen 127.0.0.1:9001\n  keywheel edge add notes --library\n  \
                      keywheel edge add p1 --leaf paris"
    )]
    Add(Add),
    /// Withdraw an edge's credential, then take it off the roster
    #[command(after_help = "Example:\n  keywheel edge remove paris")]
    Remove(Remove),
    /// On a leaf's machine: make the mirror of the log and its edges' durables
    #[command(after_help = "Example:\n  keywheel edge mirror --dir paris")]
    Mirror(Mirror),
    /// Have a snapshot of the table written now, with which edges start
    #[command(after_help = "Example:\n  keywheel edge snapshot")]
    Snapshot(Snapshot),
}

/// What `edge add` takes.
#[derive(Args, Debug)]
pub struct Add {
    /// Its name on the roster: a-z, 0-9, _ and -
    #[arg(value_parser = parse_id)]
    pub id: EdgeId,
    /// Where it will serve; else the next port on loopback
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Where it will answer Envoy over gRPC; else on loopback, 500 above its port
    #[arg(long, value_name = "ADDRESS")]
    pub grpc: Option<SocketAddr>,
    /// It is the library inside a service of yours: nothing listens, and `up` does not start it
    #[arg(long, conflicts_with_all = ["listen", "grpc"])]
    pub library: bool,
    /// It reads the mirror of that leaf: what it needs is put into the leaf's folder, and `up` does not start it
    #[arg(long, value_name = "NAME", value_parser = parse_leaf, conflicts_with_all = ["library", "grpc"])]
    pub leaf: Option<LeafId>,
    /// Where
    #[command(flatten)]
    pub at: Where,
}

/// What `edge remove` takes.
#[derive(Args, Debug)]
pub struct Remove {
    /// Its name on the roster
    #[arg(value_parser = parse_id)]
    pub id: EdgeId,
    /// Where
    #[command(flatten)]
    pub at: Where,
}

/// Which installation is meant.
#[derive(Args, Clone, Debug)]
pub struct Where {
    /// Home of the stack; credentials and configuration of edges are written here
    #[arg(long, value_name = "DIR", env = "KEYWHEEL_HOME", default_value = ".keywheel")]
    pub home: PathBuf,
    /// Seed file of a user that may create and delete durables; else the context's
    #[arg(long, value_name = "FILE")]
    pub admin_credentials: Option<PathBuf>,
}

fn parse_leaf(text: &str) -> Result<LeafId, String> {
    LeafId::parse(text).map_err(|error| error.to_string())
}

fn parse_id(text: &str) -> Result<EdgeId, String> {
    EdgeId::parse(text).map_err(|error| error.to_string())
}

impl EdgeCommand {
    /// Does it and returns the exit code. Says itself what went wrong.
    pub async fn run(self, options: &Options) -> u8 {
        let done = match self {
            EdgeCommand::Add(add) => add.run(options).await,
            EdgeCommand::Mirror(mirror) => mirror.run(options).await,
            EdgeCommand::Remove(remove) => remove.run(options).await,
            EdgeCommand::Snapshot(snapshot) => snapshot.run(options).await,
        };
        done.map_or_else(|error| report(&error, options.output), |()| exit::DONE)
    }
}

impl Add {
    async fn run(self, options: &Options) -> Result<()> {
        let patience = options.timeout.unwrap_or(PATIENCE);
        let place = Place::find(&self.at, options.context.as_deref())?;
        place.demand_running()?;
        let admin = connect_admin(&place.home, &place.settings.server).await?;
        let added = self.enlist(&place)?;
        let role = Role::Edge(self.id.clone());
        let user = secrets::ensure_user(&place.home, &role)?;
        if place.settings.server.is_ours() {
            place.reconfigure()?;
        }
        if !is_let_in(&place, &role, patience).await {
            return Err(if place.settings.server.is_ours() {
                Failure::unfinished(format!("the server does not let {} in; see its log", self.id)).into()
            } else {
                summary::unknown_users(&[user], place.settings.instances).into()
            });
        }
        topology::ensure_edge(&admin, &self.id).await?;
        admin.close().await;
        home::private_folder(&place.home.data(&role.name()))?;
        match &added {
            Added::Process(edge) => process_config::write_edge(&place.home, &place.settings, edge)?,
            Added::Library(id) => process_config::write_library(&place.home, &place.settings, id)?,
            Added::AtLeaf(id, leaf) => self.pack(&place, leaf, id)?,
        }
        let outcome = change_roster(&place, Verb::EdgeAdd, &self.id, patience).await?;
        place.show(|context| {
            context.edges.retain(|other| other.id != self.id.as_str());
            if let Added::Process(edge) = &added {
                context.edges.push(ContextEdge::of(edge));
            }
        })?;
        added.tell(&place, &outcome, options.output);
        Ok(())
    }

    /// Writes it into the home's list, at its place of before unless told another.
    fn enlist(&self, place: &Place) -> Result<Added> {
        place.home.create()?;
        let _held = place.home.hold_edges()?;
        let mut fleet = place.fleet()?;
        let added = if let Some(leaf) = &self.leaf {
            if !place.settings.leaves.ids.contains(leaf) {
                let detail = format!("there is no leaf {leaf}; start `keywheel up --leaf {leaf}` first");
                return Err(Failure::refused("unknown_leaf", detail).into());
            }
            fleet.add_at_leaf(self.id.clone(), leaf.clone());
            Added::AtLeaf(self.id.clone(), leaf.clone())
        } else if self.library {
            fleet.add_library(self.id.clone());
            Added::Library(self.id.clone())
        } else {
            let edge = self.process(place, &fleet)?;
            fleet.add(edge.clone());
            Added::Process(edge)
        };
        fleet.save(&place.home)?;
        Ok(added)
    }

    /// Puts all that the edge needs into its leaf's folder. In the home it is told how to reach the hub by itself, in case
    /// the leaf is lost.
    fn pack(&self, place: &Place, leaf: &LeafId, id: &EdgeId) -> Result<()> {
        process_config::write_library(&place.home, &place.settings, id)?;
        let listen = self.listen.unwrap_or(LEAF_EDGE);
        leaf_folder::write_edge(&place.home, &place.settings, leaf, id, listen)?;
        place.pack(leaf)
    }

    fn process(&self, place: &Place, fleet: &Fleet) -> Result<Edge> {
        let scheme = Scheme::of(place.settings.port_base);
        let mut finder = Finder::new(id::fresh());
        let listen = match (self.listen, fleet.find(&self.id)) {
            (Some(listen), _) => listen,
            (None, Some(edge)) => edge.listen,
            (None, None) => ports::loopback(ports::next(scheme, &fleet.edges, &mut finder)?),
        };
        let before = fleet.find(&self.id).filter(|edge| edge.listen == listen).and_then(|edge| edge.grpc);
        let grpc = match self.grpc.or(before) {
            Some(grpc) => grpc,
            None => ports::grpc(scheme, listen, &mut finder)?,
        };
        Ok(Edge { id: self.id.clone(), listen, grpc: Some(grpc) })
    }
}

impl Remove {
    async fn run(self, options: &Options) -> Result<()> {
        let patience = options.timeout.unwrap_or(PATIENCE);
        let place = Place::find(&self.at, options.context.as_deref())?;
        place.demand_running()?;
        let admin = connect_admin(&place.home, &place.settings.server).await?;
        let was_removed = place.fleet()?.removed.contains(&self.id);
        self.withdraw(&place, patience).await?;
        topology::remove_edge(&admin, &self.id).await?;
        admin.close().await;
        let outcome = match change_roster(&place, Verb::EdgeRemove, &self.id, patience).await {
            Ok(outcome) => Some(outcome),
            Err(error) if was_removed && is_about_nobody(&error) => None,
            Err(error) => return Err(error),
        };
        place.show(|context| context.edges.retain(|edge| edge.id != self.id.as_str()))?;
        self.tell(&place, outcome.as_ref(), options.output);
        Ok(())
    }

    /// Its credential goes first: an edge that is off the roster must not be able to look fresh.
    async fn withdraw(&self, place: &Place, patience: Duration) -> Result<()> {
        let role = Role::Edge(self.id.clone());
        let seed = place.home.credential(&role.name());
        let user = if seed.exists() { Some(secrets::ensure_user(&place.home, &role)?) } else { None };
        {
            let _held = place.home.hold_edges()?;
            let mut fleet = place.fleet()?;
            if fleet.has(&self.id) {
                let leaf = fleet.at_leaves.get(&self.id).cloned();
                fleet.remove(&self.id);
                fleet.save(&place.home)?;
                if let Some(leaf) = leaf {
                    leaf_folder::remove_edge(&place.home, &leaf, &self.id)?;
                    place.pack(&leaf)?;
                }
            }
        }
        let is_ours = place.settings.server.is_ours();
        if is_ours {
            place.reconfigure()?;
        }
        let Some(user) = user else {
            if !is_ours {
                say(
                    "warning: its credential is not in this home; see to it that the server no longer lets it in",
                );
            }
            return Ok(());
        };
        let monitor = Monitor::new()?;
        let is_shut_out = async || is_shut_out(place, &monitor, &user.public, &role).await;
        let patience = if is_ours { patience } else { Duration::ZERO };
        if !eventually(patience, is_shut_out).await {
            let detail = format!(
                "the server still lets {} in; take the user {} out of its configuration, reload it, and run this \
                 command again",
                self.id, user.public
            );
            return Err(Failure::refused("still_let_in", detail).into());
        }
        home::remove(&place.home.config(&role.name()))?;
        certificates::withdraw(&place.home, &role.name())?;
        home::remove(&seed)
    }

    fn tell(&self, place: &Place, outcome: Option<&Outcome>, output: Output) {
        let what = outcome
            .map_or("off the roster already", |outcome| word(outcome, "off the roster now", "not on it"));
        let lease = &place.settings.lease;
        match output {
            Output::Text => print(&format!(
                "{} is {what} and its credential withdrawn. From then on it counts for one lease more ({lease}). Stop it \
                 if it still runs: cut off, it may go on serving available keyrings until their stale_max. Its own \
                 copy of the table stays in {}",
                self.id,
                place.home.data(&Role::Edge(self.id.clone()).name()).display()
            )),
            Output::Json => print(
                &serde_json::json!({ "edge": self.id.as_str(), "outcome": outcome, "counts_for": lease })
                    .to_string(),
            ),
        }
    }
}

fn is_about_nobody(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(|failure| failure.is("unknown_edge"))
}

async fn change_roster(place: &Place, verb: Verb, edge: &EdgeId, patience: Duration) -> Result<Outcome> {
    let operator =
        installation::connect(&place.home, &place.settings.server, place.operator.clone(), &Role::Operator)
            .await?;
    let command = installation::send(&operator, verb, edge).await?;
    let outcome = installation::settle(&operator, command, edge, patience).await;
    operator.close().await;
    outcome.context("changing the roster")
}
