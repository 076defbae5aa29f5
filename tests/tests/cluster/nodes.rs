//! Three servers as `up --cluster 3` configures them, without services, and each pair joined by a link that can be cut.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig};
use keywheel_domain::EdgeId;
use keywheel_stack::home::Home;
use keywheel_stack::installation::lay_out;
use keywheel_stack::monitor::Monitor;
use keywheel_stack::permissions::Role;
use keywheel_stack::ports::{self, Finder, Scheme, loopback};
use keywheel_stack::settings::{Edge, Fleet, Leaves, Node, Server, Settings};
use keywheel_stack::{nats, secrets};
use keywheel_tests::cluster::Cluster;
use keywheel_tests::link::Link;
use keywheel_tests::stack::nats_server;
use keywheel_wire::signature::Signer;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long the servers may take to agree on a leader.
const PATIENCE: Duration = Duration::from_secs(90);

/// The servers, by their place: 0, 1 and 2.
pub struct Nodes {
    _folder: TempDir,
    home: Home,
    nodes: Vec<Node>,
    children: Vec<Child>,
    cluster: Cluster,
    _ports: Finder,
}

impl Nodes {
    /// Starts them with all streams, and a durable for the edge `e1`.
    pub async fn start() -> Nodes {
        let folder = TempDir::new().unwrap();
        let home = Home::at(folder.path()).unwrap();
        home.create().unwrap();
        let mut finder = Finder::new(keywheel_token::id::fresh());
        let nodes = ports::cluster(Scheme::Free, &[], 3, &mut finder).await.unwrap();
        let server = Server::Cluster { nodes: nodes.clone(), tls: false };
        let settings = Settings {
            server,
            port_base: Some(0),
            lease: "15s".to_owned(),
            instances: 1,
            observe: [].into(),
            leaves: Leaves::default(),
        };
        let mut fleet = Fleet::default();
        let id = edge();
        fleet.add(Edge { id: id.clone(), listen: loopback(finder.find().unwrap()), grpc: None });
        nats::configure(&home, &settings, &fleet).unwrap();
        secrets::ensure_signers(&home).unwrap();

        let cluster = Cluster::rerouted(&home, &settings.server).unwrap();
        let (mut children, program) = (Vec::new(), nats_server().expect("KEYWHEEL_TEST_NATS"));
        for process in cluster.names() {
            let log = std::fs::File::create(home.log(process)).unwrap();
            let mut command = Command::new(&program);
            command.arg("-c").arg(home.nats_conf(process)).stdout(Stdio::null()).stderr(log);
            children.push(command.spawn().unwrap());
        }
        let started = Nodes { _folder: folder, home, nodes, children, cluster, _ports: finder };
        nats::await_healthy(&started.home, &Monitor::new().unwrap(), &settings.server).await.unwrap();
        let admin = started.connect(&Role::Admin, &[0, 1, 2]).await;
        lay_out(&admin, 3, 1, [&id].into_iter()).await.unwrap();
        started
    }

    /// A connection to some of them.
    pub async fn connect(&self, role: &Role, at: &[usize]) -> Bus {
        let url: Vec<String> =
            at.iter().map(|&at| format!("nats://127.0.0.1:{}", self.nodes[at].port)).collect();
        let name = role.name();
        let signers = read_signers(&self.home.signers()).unwrap();
        let config =
            BusConfig { url: url.join(","), credentials: self.home.credential(&name), signers, tls: None };
        Bus::connect(&config.options(&name, false)).await.unwrap()
    }

    /// A connection of the issuer that knows nothing of Keywheel.
    pub async fn stranger(&self, at: usize) -> async_nats::jetstream::Context {
        let seed = std::fs::read_to_string(self.home.credential("issuer")).unwrap();
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        let options = options.custom_inbox_prefix("_INBOX_issuer").ignore_discovered_servers();
        let url = format!("nats://127.0.0.1:{}", self.nodes[at].port);
        async_nats::jetstream::new(options.connect(url).await.unwrap())
    }

    /// Which of `asked` says that it leads a stream.
    pub async fn leader(&self, stream: &str, asked: &[usize]) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            for &at in asked {
                if self.cluster.leads(stream, at).await {
                    return at;
                }
            }
            assert!(Instant::now() < deadline, "nobody leads {stream}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends a signal to one.
    pub fn signal(&self, at: usize, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.children[at].id()).unwrap()), signal).unwrap();
    }

    /// Whether that one has a connection of a role.
    pub async fn has(&self, at: usize, role: &Role) -> bool {
        let seed = std::fs::read_to_string(self.home.credential(&role.name())).unwrap();
        let public = Signer::from_seed(seed.trim()).unwrap().public().to_owned();
        let url = format!("http://127.0.0.1:{}", self.nodes[at].monitor);
        Monitor::new().unwrap().is_connected(&url, &public).await.unwrap()
    }

    /// Ends what one has to the others, while clients reach it as before.
    pub fn isolate(&self, at: usize) {
        self.cluster.links_of(at).into_iter().for_each(|(link, _)| link.cut());
    }

    /// The link between two.
    pub fn link(&self, one: usize, other: usize) -> &Link {
        self.cluster.link(one, other)
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for child in &mut self.children {
            // SIGKILL also ends what is paused.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The edge that has a durable.
pub fn edge() -> EdgeId {
    EdgeId::parse("e1").unwrap()
}
