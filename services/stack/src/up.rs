//! `keywheel up`: everything on this machine, started in order, until it is told to stop.

use crate::children::{Children, Group, plan_own};
use crate::context::Context;
use crate::failure::{Failure, Options, Output, report, say};
use crate::home::Home;
use crate::installation::{self, connect_admin, connect_role, demand_sync};
use crate::monitor::Monitor;
use crate::permissions::Role;
use crate::plan::{self, Layout};
use crate::settings::{Edge, Fleet};
use crate::tls_flags::TlsFlags;
use crate::{nats, process_config, ready, summary, verify};
use anyhow::{Context as _, Result};
use clap::Args;
use keywheel_bus::{Bus, mirror};
use keywheel_domain::{LeafId, Span};
use keywheel_runtime::{Shutdown, exit};
use keywheel_wire::subject::{Service, Verb};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the roster may take, and then the edges, until everything is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Run everything on this machine: the bus, the services and some edges. Ctrl-C drains and stops it all.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  keywheel up                              NATS on 4222, edges on 8081, 8082, 8083, for Envoy on 8581, …
  keywheel up --edges 5 --port-base 0      five edges, all ports free ones
  keywheel up --nats-url nats://bus:4222 --admin-credentials admin.nk
  keywheel up --tls                        the same, with TLS and client certificates on the bus
  keywheel up --cluster 3                  three NATS servers that keep each stream together; one may fail
  keywheel up --verify-streams             only check the streams; 0 as they should be, 1 not

A second start with the same home continues where the first stopped, with the same flags unless told otherwise.")]
pub struct Up {
    /// Edges to run: 3 in a new home. More than the home has adds some; `keywheel edge remove` takes one away
    #[arg(long, value_name = "N")]
    pub edges: Option<u16>,
    /// Folder for credentials (0600), configuration, logs, edge tables and NATS data
    #[arg(long, value_name = "DIR", env = "KEYWHEEL_HOME", default_value = ".keywheel")]
    pub home: PathBuf,
    /// Use this running server instead of starting one
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// Seed file of a user that may create streams and durables at that server
    #[arg(long, value_name = "FILE")]
    pub admin_credentials: Option<PathBuf>,
    /// NATS servers to run as one cluster: 1 in a new home. Of 3 one may fail, of 5 two
    #[arg(long, value_name = "N", value_parser = parse_cluster, conflicts_with = "nats_url")]
    pub cluster: Option<u16>,
    /// Copies of each stream that is made at --nats-url: as many as are there already, else 3 where the servers can
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5), requires = "nats_url")]
    pub stream_copies: Option<u8>,
    /// TLS on the bus
    #[command(flatten)]
    pub tls: TlsFlags,
    /// HTTP monitoring URL of that server, where it tells whether it syncs
    #[arg(long, value_name = "URL")]
    pub monitor_url: Option<String>,
    /// The nats-server to start, instead of one on PATH
    #[arg(long, value_name = "FILE")]
    pub nats_server: Option<PathBuf>,
    /// Move the ports: NATS at N, edges at N+1 and up, for Envoy 500 and for watching services 300 above; 0 takes free ones. Else NATS 4222, edges 8081 and up
    #[arg(long, value_name = "N")]
    pub port_base: Option<u16>,
    /// How long an edge may serve without contact with the log's head; one length for the fleet: 15s in a new home
    #[arg(long, value_name = "D", value_parser = parse_lease)]
    pub lease: Option<Span>,
    /// Processes of each of issuer, propagator and retirer: 1 in a new home
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub replicas: Option<u32>,
    /// Let the server of a region connect, which mirrors the log for edges there. Again for another; all are remembered
    #[arg(long = "leaf", value_name = "NAME", value_parser = parse_leaf, conflicts_with = "nats_url")]
    pub leaves: Vec<LeafId>,
    /// Where they connect; else on loopback, at 7422 or a free port
    #[arg(long, value_name = "ADDRESS", conflicts_with = "nats_url")]
    pub leaf_listen: Option<SocketAddr>,
    /// Only check whether the streams and the server are as they should be; change nothing
    #[arg(long)]
    pub verify_streams: bool,
    /// Accept a server that can lose acknowledged events when the power fails
    #[arg(long)]
    pub allow_unsafe_sync: bool,
    /// Leave a process that died dead
    #[arg(long)]
    pub no_restart: bool,
}

fn parse_lease(text: &str) -> Result<Span, String> {
    let span = Span::parse(text)?;
    if span < Span::secs(1) {
        Err("a lease is at least 1s: edges pulse once a second".to_owned())
    } else {
        Ok(span)
    }
}

fn parse_leaf(text: &str) -> Result<LeafId, String> {
    LeafId::parse(text).map_err(|error| error.to_string())
}

fn parse_cluster(text: &str) -> Result<u16, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("1, 3 or 5: an even number survives no more failures than one less".to_owned()),
    }
}

impl Up {
    /// Runs until SIGINT or SIGTERM and returns the exit code. Says itself what went wrong.
    ///
    /// # Panics
    /// Outside a multi-threaded tokio runtime.
    pub async fn run(self, options: &Options) -> u8 {
        self.check_and_run(options).await.unwrap_or_else(|error| report(&error, options.output))
    }

    async fn check_and_run(self, options: &Options) -> Result<u8> {
        let home = Home::at(&self.home)?;
        if self.verify_streams {
            return verify::verify(&self, &home, options.output).await;
        }
        let shutdown = Shutdown::on_signals().context("cannot listen to signals")?;
        home.create()?;
        let _held = home.hold()?;
        Context::withdraw(&home)?;
        let children = Children::none(home.clone(), !self.no_restart)?;
        let patience = options.timeout.unwrap_or(PATIENCE);
        let stack = Stack { up: &self, home: &home, children: &children, monitor: Monitor::new()?, patience };
        let ended = tokio::select! {
            ended = stack.serve(&shutdown, options.output) => ended,
            reason = children.hopeless() => Err(Failure::misconfigured(reason).into()),
            () = shutdown.requested() => Ok(exit::DONE),
        };
        if children.are_some() {
            say("stopping: edges, then services, then the bus");
        }
        Context::withdraw(&home)?;
        children.stop().await;
        ended
    }
}

/// One start of the stack.
struct Stack<'a> {
    up: &'a Up,
    home: &'a Home,
    children: &'a Children,
    monitor: Monitor,
    patience: Duration,
}

impl Stack<'_> {
    async fn serve(&self, shutdown: &Shutdown, output: Output) -> Result<u8> {
        let layout = plan::prepare(self.up, self.home).await?;
        self.start_bus(&layout).await?;
        self.lay_out(&layout).await?;
        self.refuse_strangers(&layout).await?;
        self.start_services(&layout)?;
        let operator = connect_role(self.home, &layout.settings.server, &Role::Operator).await?;
        self.enrol(&operator, &layout.fleet).await?;
        self.start_edges(&layout)?;
        ready::await_edges(&self.monitor, &layout.fleet, self.patience).await?;
        operator.close().await;

        let server = &layout.settings.server;
        let context = Context::of(self.home, &layout.settings, &layout.fleet, server.admin(self.home));
        Context::of_auditor(self.home, &layout.settings).save(&self.home.auditor_context())?;
        context.save(&self.home.context())?;
        summary::print_ready(self.home, &context, output)?;
        shutdown.requested().await;
        Ok(exit::DONE)
    }

    async fn start_bus(&self, layout: &Layout) -> Result<()> {
        let server = &layout.settings.server;
        if server.is_ours() {
            let program = nats::find(self.up.nats_server.as_deref(), self.home)?;
            say(&format!("starting {} at {}", program.display(), server.url()));
            for plan in nats::plans(self.home, server, &program) {
                self.children.start(plan);
            }
            nats::await_healthy(self.home, &self.monitor, server).await?;
        }
        match demand_sync(&self.monitor, server).await {
            Err(error) if self.up.allow_unsafe_sync => {
                say(&format!("warning: {error}"));
                Ok(())
            }
            checked => checked,
        }
    }

    async fn lay_out(&self, layout: &Layout) -> Result<()> {
        let server = &layout.settings.server;
        let admin = connect_admin(self.home, server).await?;
        installation::await_log(&admin, self.home, &layout.fleet).await?;
        let copies = installation::copies(&admin, server, self.up.stream_copies).await?;
        installation::lay_out(&admin, copies, layout.settings.instances, layout.fleet.ids()).await?;
        for leaf in &layout.settings.leaves.ids {
            installation::patiently(async || mirror::ensure_feed(&admin, leaf).await).await?;
        }
        admin.close().await;
        Ok(())
    }

    /// A server that somebody else runs has to be told of our users by that somebody.
    async fn refuse_strangers(&self, layout: &Layout) -> Result<()> {
        if layout.settings.server.is_ours() {
            return Ok(());
        }
        let mut users = nats::users(self.home, &layout.fleet)?;
        users.retain(|user| user.role != Role::Admin);
        let strangers = installation::strangers(self.home, &layout.settings, users).await;
        if strangers.is_empty() {
            return Ok(());
        }
        Err(summary::unknown_users(&strangers, layout.settings.instances).into())
    }

    fn start_services(&self, layout: &Layout) -> Result<()> {
        for service in Service::ALL {
            for instance in 1..=process_config::replicas(service, layout.settings.instances) {
                process_config::write_service(self.home, &layout.settings, service, instance)?;
                let process = process_config::process_name(service, instance);
                self.children.start(plan_own(self.home, service.name(), &process, Group::Services)?);
            }
        }
        Ok(())
    }

    /// Puts every edge on the roster; those that are there already stay.
    async fn enrol(&self, operator: &Bus, fleet: &Fleet) -> Result<()> {
        let mut commands = Vec::new();
        for edge in &fleet.edges {
            commands.push((installation::send(operator, Verb::EdgeAdd, &edge.id).await?, &edge.id));
        }
        say("waiting for the services to put the edges on the roster");
        for (command, edge) in commands {
            installation::settle(operator, command, edge, self.patience).await?;
        }
        Ok(())
    }

    fn start_edges(&self, layout: &Layout) -> Result<()> {
        for id in &layout.fleet.libraries {
            // Whoever opens it may have to look for the bus elsewhere than before.
            process_config::write_library(self.home, &layout.settings, id)?;
        }
        for edge in &layout.fleet.edges {
            process_config::write_edge(self.home, &layout.settings, edge)?;
            let mut plan = plan_own(self.home, "edge", &edge.process(), Group::Edges)?;
            plan.is_wanted = is_listed(self.home.clone(), edge);
            self.children.start(plan);
        }
        Ok(())
    }
}

/// Whether the home still lists the edge: `keywheel edge remove` takes it off while we run.
fn is_listed(home: Home, edge: &Edge) -> Arc<dyn Fn() -> bool + Send + Sync> {
    let id = edge.id.clone();
    // A list that cannot be read says nothing against the edge.
    Arc::new(move || Fleet::load(&home).map_or(true, |fleet| fleet.find(&id).is_some()))
}
