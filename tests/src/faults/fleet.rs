//! The installation under attack: made by `keywheel up`, then run process by process as in production.
//!
//! `up` lays out streams, credentials and configuration and puts the edges on the roster. What it started is then
//! started again with the same arguments by the harness itself, which can so keep a process down, put a link
//! before it, or give it another clock.

use super::clocks::Clocks;
use super::plan::{Kind, Role, Target};
use super::process::{Process, Recipe, until};
use super::routes::{Routes, is_route};
use super::settings::{REPLICAS, Settings};
use crate::Operator;
use crate::link::{Link, Way};
use crate::stack::{Context, Stack, StackOptions};
use anyhow::{Context as _, ensure};
use keywheel_domain::{Address, Tenant};
use keywheel_stack::spawn::Spawner;
use nix::sys::signal::Signal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Who has a link, but no process.
const OPERATOR: &str = "operator";
const PATIENCE: Duration = Duration::from_secs(60);

/// Every process by name.
pub struct Fleet {
    /// What `up` wrote: where the bus and the edges are.
    pub context: Context,
    processes: BTreeMap<String, Arc<Process>>,
    /// By process, one to each bus node; and the operator's.
    links: BTreeMap<String, Vec<Link>>,
    routes: Routes,
    clocks: Option<Clocks>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Child {
    name: String,
    pid: u32,
}

/// What `/v1/info` says of an edge.
#[derive(Clone, Debug, Deserialize)]
pub struct Info {
    /// Its watermark.
    pub watermark: u64,
    /// Digest of its table.
    pub digest: String,
    /// Whether it is fresh.
    pub lease: Lease,
}

/// Its lease.
#[derive(Clone, Debug, Deserialize)]
pub struct Lease {
    /// Whether it holds.
    pub fresh: bool,
}

impl Fleet {
    /// Makes the installation, and starts everything in it.
    ///
    /// # Errors
    /// When something does not come up in time.
    pub async fn start(settings: &Settings) -> anyhow::Result<Fleet> {
        let (context, recipes) = lay_out(settings).await?;
        let routes = Routes::of(&settings.home)?;
        let spawner = Spawner::start()?;
        let (mut processes, mut links) = (BTreeMap::new(), BTreeMap::new());
        let folder = settings.ledger.with_extension("clocks");
        let clocks = settings.faketime.as_ref().map(|library| Clocks::new(library, folder)).transpose()?;
        links.insert(OPERATOR.to_owned(), links_to(&context.nats_url)?);
        for mut recipe in recipes {
            let name = recipe.name.clone();
            if role(&name) != Role::Bus {
                let own = links_to(&context.nats_url)?;
                recipe.environment.push(("KEYWHEEL_BUS__URL".to_owned(), url(&own)));
                links.insert(name.clone(), own);
                if let Some(clocks) = &clocks {
                    recipe.environment.extend(clocks.environment(&name)?);
                }
            }
            if role(&name) == Role::Edge {
                recipe = recipe.without_limits_that_end_it();
            }
            processes.insert(name, Process::start(recipe, &spawner));
        }
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
        let fleet = Fleet { context, processes, links, routes, clocks, http };
        fleet.await_ready().await?;
        Ok(fleet)
    }

    /// Whom faults can be done to.
    pub fn targets(&self) -> Vec<Target> {
        let names = self.processes.keys().cloned().chain([OPERATOR.to_owned()]).chain(self.routes.names());
        names.map(|name| Target { role: role(&name), name }).collect()
    }

    /// The processes' clocks.
    ///
    /// # Errors
    /// When they cannot be set here.
    pub fn clocks(&self) -> anyhow::Result<&Clocks> {
        self.clocks.as_ref().context("there is no libfaketime")
    }

    /// Which kinds of faults can be done here, and which cannot.
    pub fn kinds(&self) -> (Vec<Kind>, Vec<Kind>) {
        let has_prlimit = || std::process::Command::new("prlimit").arg("--version").output().is_ok();
        Kind::ALL.into_iter().partition(|kind| match kind {
            Kind::Clock => self.clocks.is_some(),
            Kind::Disk => has_prlimit(),
            Kind::Kill
            | Kind::Pause
            | Kind::Restart
            | Kind::Cut
            | Kind::Mute
            | Kind::Deaf
            | Kind::Delay
            | Kind::HalfOpen => true,
        })
    }

    /// The target as it is now: whoever leads the log is named.
    pub async fn met(&self, name: String) -> String {
        self.routes.met(name).await
    }

    /// The links of a target, each with the way that what it says goes.
    ///
    /// # Errors
    /// When it has none.
    pub fn links(&self, name: &str) -> anyhow::Result<Vec<(&Link, Way)>> {
        let own = || Some(self.links.get(name)?.iter().map(|link| (link, Way::Out)).collect());
        own().or_else(|| self.routes.links(name)).with_context(|| format!("no links of {name}"))
    }

    /// How the operator reaches the bus: over links that faults are done to.
    pub fn context_of_operator(&self) -> Context {
        Context { nats_url: url(&self.links[OPERATOR]), ..self.context.clone() }
    }

    /// A process.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn process(&self, name: &str) -> anyhow::Result<&Arc<Process>> {
        self.processes.get(name).with_context(|| format!("no process {name}"))
    }

    /// Every process.
    pub fn processes(&self) -> impl Iterator<Item = &Arc<Process>> {
        self.processes.values()
    }

    /// What an edge says of itself, if it answers.
    pub async fn info(&self, http: &str) -> Option<Info> {
        self.http.get(format!("{http}/v1/info")).send().await.ok()?.json().await.ok()
    }

    async fn await_ready(&self) -> anyhow::Result<()> {
        for edge in &self.context.edges {
            let what = format!("edge {} is ready", edge.id);
            until(&what, PATIENCE, || async {
                self.info(&edge.http).await.is_some_and(|info| info.lease.fresh)
            })
            .await?;
        }
        Ok(())
    }

    /// Ends everything in good order: edges, services, bus.
    pub async fn stop(&self) {
        for wanted in [Role::Edge, Role::Service, Role::Bus] {
            let of_role = self.processes().filter(|process| role(&process.recipe.name) == wanted);
            let ending: Vec<_> = of_role
                .cloned()
                .map(|process| tokio::spawn(async move { process.down(Signal::SIGTERM).await }))
                .collect();
            for task in ending {
                // One that does not end in time was killed.
                let _ = task.await;
            }
        }
    }
}

fn role(process: &str) -> Role {
    match process {
        OPERATOR => Role::Operator,
        name if is_route(name) => Role::Route,
        name if name.starts_with("edge-") => Role::Edge,
        name if name.starts_with("nats") => Role::Bus,
        _ => Role::Service,
    }
}

/// A link to each bus node.
fn links_to(nats_url: &str) -> anyhow::Result<Vec<Link>> {
    let each = nats_url.split(',').map(|node| {
        let target = node.strip_prefix("nats://").with_context(|| format!("{node}: no link speaks TLS"))?;
        Ok(Link::to(target)?)
    });
    each.collect()
}

/// Where to connect to the bus over these links.
fn url(links: &[Link]) -> String {
    links.iter().map(|link| format!("nats://{}", link.address())).collect::<Vec<_>>().join(",")
}

/// Has `up` make the installation, sets the policies, notes how each process was started, and stops it all.
async fn lay_out(settings: &Settings) -> anyhow::Result<(Context, Vec<Recipe>)> {
    let options = StackOptions {
        binary: settings.binary.clone(),
        home: settings.home.clone(),
        edges: settings.edges,
        lease: settings.lease().1,
        replicas: REPLICAS,
        cluster: settings.cluster,
        restart: true,
        lossy_bus: None,
        words: Vec::new(),
    };
    let stack = tokio::task::block_in_place(|| Stack::start(&options))?;
    let operator = Operator::connect(&stack.context).await?;
    for (tenant, is_strict) in Settings::tenants() {
        let address = Address::Tenant(Tenant::parse(&tenant)?);
        operator.policy(&address, Settings::policy(is_strict)).await?;
    }
    operator.bus.close().await;
    let recipes = recipes(stack.home())?;
    let context = stack.context.clone();
    tokio::task::block_in_place(|| stack.stop())?;
    Ok((context, recipes))
}

/// How each child of the `up` that runs in `home` was started, as the system tells it.
fn recipes(home: &Path) -> anyhow::Result<Vec<Recipe>> {
    let children: Vec<Child> = serde_json::from_slice(&std::fs::read(home.join("processes.json"))?)?;
    let recipe = |Child { name, pid }: Child| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
        let mut words = line.split_terminator('\0').map(str::to_owned);
        let program = words.next().with_context(|| format!("how {name} was started"))?;
        let log = home.join("logs").join(format!("{name}.log"));
        Ok(Recipe { name, program: program.into(), args: words.collect(), environment: Vec::new(), log })
    };
    let recipes = children.into_iter().map(recipe).collect::<anyhow::Result<Vec<Recipe>>>()?;
    ensure!(recipes.iter().any(|recipe| role(&recipe.name) == Role::Bus), "up started no bus");
    Ok(recipes)
}
