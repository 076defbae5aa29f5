//! A real nats-server with the configuration that the stack writes for a home.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig, BusError};
use keywheel_domain::EdgeId;
use keywheel_stack::children::Children;
use keywheel_stack::home::Home;
use keywheel_stack::installation::{copies, lay_out};
use keywheel_stack::monitor::Monitor;
use keywheel_stack::permissions::Role;
use keywheel_stack::ports::{self, Finder, Scheme, loopback};
use keywheel_stack::settings::{Edge, Fleet, LEASE, Leaves, Server, Settings};
use keywheel_stack::tls_flags::TlsFlags;
use keywheel_stack::{nats, secrets};
use std::fs::File;
use std::path::PathBuf;
use tempfile::TempDir;

/// A home with its server running.
pub struct Rig {
    _folder: TempDir,
    _held: File,
    pub home: Home,
    pub settings: Settings,
    pub children: Children,
    _ports: Finder,
}

/// The server that the tests run.
pub fn server() -> PathBuf {
    std::env::var_os("KEYWHEEL_TEST_NATS").map(PathBuf::from).expect(
        "these tests run a real nats-server: set KEYWHEEL_TEST_NATS to one, as with \
         KEYWHEEL_TEST_NATS=$(deploy/get-nats.sh) cargo test -p keywheel-stack",
    )
}

pub fn edge(id: &str) -> EdgeId {
    EdgeId::parse(id).unwrap()
}

impl Rig {
    /// Starts one with two edges, `e1` and `e2`, and all streams and durables.
    pub async fn start() -> Rig {
        Rig::start_with(false).await
    }

    /// The same with TLS, or without.
    pub async fn start_with(tls: bool) -> Rig {
        Rig::start_at(tls, &["e1", "e2"]).await
    }

    /// The same with edges of those names.
    pub async fn start_at(tls: bool, edges: &[&str]) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let held = home.hold().unwrap();
        let mut finder = Finder::new(keywheel_token::id::fresh());
        let flags = TlsFlags { tls: Some(tls), ..TlsFlags::default() };
        let server_at = flags.apply(ports::server(Scheme::Free, None, &mut finder).await.unwrap()).unwrap();
        let settings = Settings {
            server: server_at,
            port_base: Some(0),
            lease: LEASE.to_string(),
            instances: 2,
            observe: [].into(),
            leaves: Leaves::default(),
        };
        let mut fleet = Fleet::default();
        for id in edges {
            fleet.add(Edge { id: edge(id), listen: loopback(finder.find().unwrap()), grpc: None });
        }
        settings.save(&home).unwrap();
        fleet.save(&home).unwrap();
        nats::configure(&home, &settings, &fleet).unwrap();
        secrets::ensure_recipient(&home).unwrap();
        secrets::ensure_signers(&home).unwrap();

        let children = Children::none(home.clone(), true).unwrap();
        start(&children, &home, &settings.server).await;
        let rig = Rig { _folder: folder, _held: held, home, settings, children, _ports: finder };
        let admin = rig.connect(&Role::Admin).await;
        let copies = copies(&admin, &rig.settings.server, None).await.unwrap();
        lay_out(&admin, copies, 2, fleet.edges.iter().map(|edge| &edge.id)).await.unwrap();
        rig
    }

    /// Starts the server again, as `up` does after a stop.
    pub async fn again(self) -> Rig {
        let fleet = Fleet::load(&self.home).unwrap();
        nats::configure(&self.home, &self.settings, &fleet).unwrap();
        let children = Children::none(self.home.clone(), true).unwrap();
        start(&children, &self.home, &self.settings.server).await;
        Rig { children, ..self }
    }

    /// A connection of its own, so that what it is denied is its own too.
    pub async fn connect(&self, role: &Role) -> Bus {
        let role = role.name();
        let config = BusConfig {
            url: self.settings.server.url(),
            credentials: self.home.credential(&role),
            signers: read_signers(&self.home.signers()).unwrap(),
            tls: self.settings.server.tls(&self.home, &role),
        };
        Bus::connect(&config.options(&role, false)).await.unwrap()
    }
}

async fn start(children: &Children, home: &Home, at: &Server) {
    for plan in nats::plans(home, at, &nats::find(Some(&server()), home).unwrap()) {
        children.start(plan);
    }
    nats::await_healthy(home, &Monitor::new().unwrap(), at).await.unwrap();
}

/// The server must allow it.
pub async fn allowed<T>(bus: &Bus, what: &str, act: impl Future<Output = Result<T, BusError>>) -> T {
    tokio::select! {
        done = act => done.unwrap_or_else(|error| panic!("{what}: {error}")),
        detail = bus.denied() => panic!("{what}: {detail}"),
    }
}
