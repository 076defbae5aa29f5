//! The configuration that `deploy/cluster` has, on three servers, with what its README makes of a home beside it.

use crate::rotation::{Scene, assert_nobody_was_refused};
use keywheel_domain::EdgeId;
use keywheel_stack::home::Home;
use keywheel_stack::monitor::Monitor;
use keywheel_stack::ports::{self, Finder, Scheme, loopback};
use keywheel_stack::settings::{Edge, Fleet, Leaves, Node, Server, Settings};
use keywheel_stack::{certificates, nats, secrets};
use keywheel_tests::StackOptions;
use keywheel_tests::stack::nats_server;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONFIGURATION: &str = include_str!("../../../deploy/cluster/nats.conf");
const PATIENCE: Duration = Duration::from_secs(90);

/// One machine's server.
struct Machine {
    folder: PathBuf,
    node: Node,
    child: Option<Child>,
}

impl Machine {
    /// Fills the folder of the `at`th as the README says, and starts its server.
    fn start(root: &Path, seed: &Home, at: usize, nodes: &[Node]) -> Machine {
        let (folder, node) = (root.join(format!("machine-{}", at + 1)), nodes[at]);
        fs::create_dir(&folder).unwrap();
        let local = |listen: &str, port: u16| (listen.to_owned(), loopback(port).to_string());
        let mut text = CONFIGURATION.to_owned();
        for (shipped, here) in [
            local("0.0.0.0:4222", node.port),
            local("127.0.0.1:8222", node.monitor),
            local("0.0.0.0:6222", node.route),
        ] {
            assert_eq!(text.matches(&shipped).count(), 1, "{shipped}");
            text = text.replace(&shipped, &here);
        }
        let made = fs::read_to_string(seed.nats_conf("nats-1")).unwrap();
        let password = fs::read_to_string(seed.credential("routes")).unwrap();
        let routes: String = nodes
            .iter()
            .map(|node| format!("  \"nats-route://route:{}@{}\"\n", password.trim(), loopback(node.route)))
            .collect();
        let routes = format!(
            "authorization {{ user: route, password: \"{}\", timeout: 5 }}\nroutes: [\n{routes}]\n",
            password.trim()
        );
        let accounts = &made[made.find("\naccounts {").unwrap()..];
        for (name, content) in [
            ("nats.conf", text.as_str()),
            ("server.conf", &format!("SERVER: \"nats-{}\"\n", at + 1)),
            ("routes.conf", &routes),
            ("accounts.conf", accounts),
        ] {
            fs::write(folder.join(name), content).unwrap();
        }
        for name in ["ca.pem", "server.pem", "server.key", "route.pem", "route.key"] {
            fs::copy(seed.tls().join(name), folder.join(name)).unwrap();
        }
        let mut machine = Machine { folder, node, child: None };
        machine.run();
        machine
    }

    fn run(&mut self) {
        let log = fs::File::create(self.folder.join("log")).unwrap();
        let mut command = Command::new(nats_server().expect("KEYWHEEL_TEST_NATS"));
        command.args(["-c", "nats.conf"]).current_dir(&self.folder).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// What it says of the log: whether it leads, and how many others keep it.
    async fn leads(&self, name: &str) -> Option<usize> {
        let url =
            format!("http://127.0.0.1:{}/jsz?acc=KEYWHEEL&accounts=true&streams=true", self.node.monitor);
        let told: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
        let streams = told["account_details"][0]["stream_detail"].as_array()?;
        let cluster = &streams.iter().find(|found| found["name"] == "KW_EVENTS")?["cluster"];
        (cluster["leader"] == name).then(|| cluster["replicas"].as_array().map_or(0, Vec::len))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A home as `up --cluster 3 --tls` leaves it behind: credentials, certificates and the configurations of its servers.
async fn seeded(home: &Home) -> (Vec<Node>, Server) {
    home.create().unwrap();
    let mut finder = Finder::new(keywheel_token::id::fresh());
    let nodes = ports::cluster(Scheme::Free, &[], 3, &mut finder).await.unwrap();
    let server = Server::Cluster { nodes: nodes.clone(), tls: true };
    let lease = "10s".to_owned();
    let settings = Settings {
        server: server.clone(),
        port_base: Some(0),
        lease,
        instances: 1,
        observe: [].into(),
        leaves: Leaves::default(),
    };
    let mut fleet = Fleet::default();
    for id in ["e1", "e2"] {
        let listen = loopback(finder.find().unwrap());
        fleet.add(Edge { id: EdgeId::parse(id).unwrap(), listen, grpc: None });
    }
    secrets::ensure_signers(home).unwrap();
    secrets::ensure_recipient(home).unwrap();
    nats::configure(home, &settings, &fleet).unwrap();
    (nodes, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_on_the_shipped_cluster_while_the_leader_of_the_log_dies() {
    let folder = TempDir::new().unwrap();
    let seed = Home::at(&folder.path().join("home")).unwrap();
    let (nodes, server) = seeded(&seed).await;
    let mut machines: Vec<Machine> =
        (0..nodes.len()).map(|at| Machine::start(folder.path(), &seed, at, &nodes)).collect();
    nats::await_healthy(&seed, &Monitor::new().unwrap(), &server).await.unwrap();

    let operator = certificates::files(&seed, "operator");
    let mut options = StackOptions::for_test(seed.root()).unwrap();
    options.lease = "10s";
    let (admin, ca) = (seed.credential("admin"), certificates::authority(&seed));
    let path = |path: &Path| path.display().to_string();
    options.words = [
        ("--nats-url", server.url()),
        ("--monitor-url", server.monitor_urls().join(",")),
        ("--admin-credentials", path(&admin)),
        ("--tls-ca", path(&ca)),
        ("--tls-cert", path(&operator.cert)),
        ("--tls-key", path(&operator.key)),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect();
    let scene = Scene::over(&options, folder).await;
    let running = scene.traffic();
    scene.rotate().await;

    let (leader, began) = (
        'found: {
            let began = Instant::now();
            loop {
                for (at, machine) in machines.iter().enumerate() {
                    if let Some(others) = machine.leads(&format!("nats-{}", at + 1)).await {
                        assert_eq!(others, 2, "three servers keep the log");
                        break 'found at;
                    }
                }
                assert!(began.elapsed() < PATIENCE, "nobody leads the log");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        },
        Instant::now(),
    );
    machines[leader].kill();
    let newest = scene.rotate().await;
    println!("rotated {:?} after the death of the leader, nats-{}", began.elapsed(), leader + 1);
    machines[leader].run();
    scene.ends_well(newest).await;
    assert_nobody_was_refused(&running.stop().await);
}
