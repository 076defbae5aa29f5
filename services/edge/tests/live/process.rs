//! One run of the edge inside the test, asked over real sockets.

use crate::server::Server;
use keywheel_edge::Config;
use keywheel_runtime::{Shutdown, log};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A running edge.
pub struct Process {
    address: String,
    accepted: AtomicU64,
    shutdown: Shutdown,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Process {
    /// Starts one whose files lie in `folder`, and waits until it listens.
    pub async fn start(server: &Server, folder: &Path, lease: &str) -> Process {
        Process::start_as(config(server, folder, lease), folder).await
    }

    /// The same with a configuration of its own.
    pub async fn start_as(config: Config, folder: &Path) -> Process {
        let data_dir = folder.join("edge");
        log::init(&config.log);
        let address_file = data_dir.join("http.addr");
        let _ = std::fs::remove_file(&address_file);
        let shutdown = Shutdown::new();
        let running = tokio::spawn(keywheel_edge::run(config, shutdown.clone()));
        let address = within(async || std::fs::read_to_string(&address_file).ok()).await;
        let process = Process { address, accepted: AtomicU64::new(0), shutdown, running };
        // The table is there once it is known to be on the roster or not, and before that nothing is said.
        tokio::time::sleep(Duration::from_millis(100)).await;
        process
    }

    /// Ends it on purpose.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.trigger();
        self.ended().await
    }

    /// How it ended.
    pub async fn ended(self) -> anyhow::Result<()> {
        self.running.await.unwrap()
    }

    /// Status, headers and body.
    pub async fn get(&self, path: &str, headers: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_owned(), body.to_owned())
    }

    /// The status of a check.
    pub async fn check(&self, key: &str) -> u16 {
        let (status, _, _) = self.get("/v1/check", &format!("x-api-key: {key}\r\n")).await;
        self.accepted.fetch_add(u64::from(status == 200), Ordering::Relaxed);
        status
    }

    /// How many checks were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// One of its metrics that is a whole number.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = self.get("/metrics", "").await.2;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("keywheel_edge_{name} ")));
        line.unwrap().parse().unwrap()
    }

    /// Waits for a check's status.
    pub async fn until_check(&self, key: &str, status: u16) {
        within(async || (self.check(key).await == status).then_some(())).await;
    }

    /// Waits until it calls itself ready, or no longer.
    pub async fn until_ready(&self, is_ready: bool) {
        within(async || ((self.get("/readyz", "").await.0 == 200) == is_ready).then_some(())).await;
    }
}

/// For an edge whose files lie in `folder`.
pub fn config(server: &Server, folder: &Path, lease: &str) -> Config {
    let data_dir = folder.join("edge");
    let text = format!(
        r#"
        id = "e1"
        data_dir = "{}"
        lease = "{lease}"
        pulse_every = "200ms"
        report_every = "100ms"
        [log]
        level = "warn,keywheel_edge=debug,keywheel_bus=debug"
        [http]
        listen = "127.0.0.1:0"
        [bus]
        url = "{}"
        credentials = "{}"
        signers = "{}"
        "#,
        data_dir.display(),
        server.url(),
        server.seed("edge-e1").display(),
        server.signers().display(),
    );
    toml::from_str(&text).unwrap()
}

async fn within<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look().await {
                Some(found) => return found,
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("it did not come about in time")
}
