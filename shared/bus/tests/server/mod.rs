//! A nats-server of a test's own: a free port, a temporary store, gone when the test ends.

use keywheel_bus::{Bus, BusConfig};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{HEADER_SIGNATURE, HEADER_SIGNER, Service};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The one user, who may do everything.
pub const SEED: &str = "SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE";
/// Its public nkey.
pub const PUBLIC: &str = "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF";

/// The installation of these tests.
pub const OURS: Installation = Installation(7);

/// What their readers believe: the one user, as an issuer.
pub fn signers() -> Arc<Signers> {
    signers_of(Service::Issuer)
}

fn signers_of(role: Service) -> Arc<Signers> {
    Arc::new(Signers::of(OURS, [(PUBLIC.to_owned(), role)]).unwrap())
}

/// A running server.
pub struct Server {
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    role: Service,
}

impl Server {
    /// Starts one with an empty store.
    pub fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("user.nk"), SEED).unwrap();
        let store = folder.path().join("store");
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: {store:?}, sync_interval: always }}\n\
             authorization {{ users: [ {{ nkey: {PUBLIC} }} ] }}\n"
        );
        std::fs::write(folder.path().join("nats.conf"), config).unwrap();
        let mut server = Server { folder, port, process: None, role: Service::Issuer };
        server.run();
        server
    }

    /// From now on those who connect take the one user for this service.
    pub fn take_for(&mut self, role: Service) {
        self.role = role;
    }

    /// Publishes what the one user signed, as it is, and gives its position.
    pub async fn publish_signed(&self, subject: &'static str, payload: &[u8]) -> u64 {
        self.publish_signed_as(subject, subject, payload).await
    }

    /// Publishes at `subject` what the one user signed for another.
    pub async fn publish_signed_as(&self, signed: &str, subject: &'static str, payload: &[u8]) -> u64 {
        let signed = Signer::from_seed(SEED).unwrap().sign(signed, payload).unwrap();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert(HEADER_SIGNER, signed.by);
        headers.insert(HEADER_SIGNATURE, signed.signature);
        let context = self.stranger().await;
        let sent = context.publish_with_headers(subject, headers, payload.to_vec().into());
        sent.await.unwrap().await.unwrap().sequence
    }

    /// Starts it again on the same port and store.
    pub fn run(&mut self) {
        let binary = std::env::var_os("KEYWHEEL_TEST_NATS").map(PathBuf::from).expect(
            "these tests run a real nats-server: set KEYWHEEL_TEST_NATS to its path, as tests/run.sh does",
        );
        let process = Command::new(&binary)
            .arg("--config")
            .arg(self.folder.path().join("nats.conf"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.path().join("log")).unwrap())
            .spawn();
        let process = process.unwrap_or_else(|error| panic!("{}: {error}", binary.display()));
        let process = self.process.insert(process);
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let lives = process.try_wait().unwrap().is_none() && began.elapsed() < Duration::from_secs(20);
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(lives, "the server does not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends it as hard as can be.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Takes everything that it stored away; only while it does not run.
    pub fn forget(&self) {
        assert!(self.process.is_none());
        std::fs::remove_dir_all(self.folder.path().join("store")).unwrap();
    }

    /// How a service reaches it.
    pub fn config(&self) -> BusConfig {
        let url = format!("nats://127.0.0.1:{}", self.port);
        let (credentials, signers) = (self.folder.path().join("user.nk"), signers_of(self.role));
        BusConfig { url, credentials, signers, tls: None }
    }

    /// A connection as services have it.
    pub async fn bus(&self, role: &str) -> Bus {
        Bus::connect(&self.config().options(role, true)).await.unwrap()
    }

    /// A connection that knows nothing of Keywheel.
    pub async fn stranger(&self) -> async_nats::jetstream::Context {
        let options = async_nats::ConnectOptions::with_nkey(SEED.to_owned());
        async_nats::jetstream::new(options.connect(self.config().url).await.unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
