//! A real nats-server for one test: a user for each service, each of whom may do everything, and signs
//! as the service that it is.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig};
use keywheel_tests::stack::nats_server;
use keywheel_token::Credential;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::Service;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The installation of these tests.
pub const OURS: Installation = Installation(7);

/// A running server, killed on drop.
pub struct Server {
    folder: TempDir,
    url: String,
    process: Child,
}

impl Server {
    pub fn start() -> Server {
        let folder = TempDir::new().unwrap();
        let of = |name: &str| {
            let credential = Credential::fresh();
            std::fs::write(folder.path().join(format!("{name}.nk")), credential.seed().expose()).unwrap();
            credential.public().to_owned()
        };
        let services = Service::ALL.map(|service| (of(service.name()), service));
        let users: Vec<String> =
            services.iter().map(|(public, _)| public.clone()).chain([of("operator")]).collect();
        let signers = Signers::of(OURS, services).unwrap().to_string();
        std::fs::write(folder.path().join("signers.toml"), signers).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let users: String = users.iter().map(|public| format!("{{ nkey: {public} }}\n")).collect();
        let store = folder.path().join("store");
        let text = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n\
             authorization {{ users: [ {users} ] }}\n"
        );
        std::fs::write(folder.path().join("nats.conf"), text).unwrap();
        let binary =
            nats_server().expect("set KEYWHEEL_TEST_NATS to the path of a nats-server, as tests/run.sh does");
        let mut command = Command::new(binary);
        command.arg("--config").arg(folder.path().join("nats.conf"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (server, began) =
            (Server { folder, url: format!("nats://127.0.0.1:{port}"), process }, Instant::now());
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the server does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    /// A user's seed.
    pub fn seed(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.nk"))
    }

    /// Where it stands whose events are believed.
    pub fn signers(&self) -> PathBuf {
        self.folder.path().join("signers.toml")
    }

    /// How a user reaches it.
    pub fn config(&self, name: &str) -> BusConfig {
        let signers = read_signers(&self.signers()).unwrap();
        BusConfig { url: self.url.clone(), credentials: self.seed(name), signers, tls: None }
    }

    /// The operator's connection.
    pub async fn bus(&self) -> Bus {
        Bus::connect(&self.config("operator").options("operator", true)).await.unwrap()
    }

    /// A connection that knows nothing of Keywheel.
    pub async fn stranger(&self) -> async_nats::jetstream::Context {
        let seed = std::fs::read_to_string(self.seed("operator")).unwrap();
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        async_nats::jetstream::new(options.connect(&self.url).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
