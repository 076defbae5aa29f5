//! Buses that speak TLS: one that `up` starts, and one that somebody else runs and tells of every user by hand.

use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig, TlsConfig};
use keywheel_runtime::clock;
use keywheel_stack::certificates;
use keywheel_stack::home::Home;
use keywheel_stack::permissions::Role;
use keywheel_tests::stack::{Context, binary, keywheel, nats_server};
use keywheel_tests::traffic;
use keywheel_token::Credential;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A process that ends with the test.
struct Running(Child);

impl Running {
    fn start(mut command: Command, log: &Path) -> Running {
        let log = std::fs::File::create(log).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Running(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Also `up`, which is killed with everything that it started.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A home, and the commands about it.
struct At {
    folder: TempDir,
}

impl At {
    fn new() -> At {
        At { folder: TempDir::new().unwrap() }
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = keywheel(&binary().unwrap());
        command.args(words).env("KEYWHEEL_HOME", self.home());
        command
    }

    /// The exit code of a command, and its document: of an error where it failed.
    fn run(&self, words: &[&str], input: &str) -> (i32, Value) {
        let mut command = self.command(&[words, &["--output", "json"]].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let ended = child.wait_with_output().unwrap();
        let code = ended.status.code().unwrap();
        let printed = if code == 0 { &ended.stdout } else { &ended.stderr };
        let last = printed.split(|byte| *byte == b'\n').rfind(|line| line.starts_with(b"{"));
        let last = last.unwrap_or_else(|| panic!("{words:?}: {}", String::from_utf8_lossy(printed)));
        (code, serde_json::from_slice(last).unwrap())
    }

    fn done(&self, words: &[&str]) -> Value {
        let (code, document) = self.run(words, "");
        assert_eq!(code, 0, "{words:?}: {document}");
        document
    }

    /// The same command until the server has read its configuration again.
    async fn until_done(&self, words: &[&str]) -> Value {
        let began = Instant::now();
        loop {
            match self.run(words, "") {
                (0, document) => return document,
                (code, document) => assert!(began.elapsed() < PATIENCE, "{words:?}: {code} {document}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn up(&self, words: &[&str]) -> Running {
        let first = ["up", "--edges", "1", "--port-base", "0", "--lease", "2s"];
        let log = self.folder.path().join("up.log");
        let mut up = Running::start(self.command(&[&first, words].concat()), &log);
        let began = Instant::now();
        while !self.home().join("context.json").exists() {
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(up.0.try_wait().unwrap().is_none(), "{}", said());
            assert!(began.elapsed() < PATIENCE * 2, "{}", said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        up
    }

    fn context(&self) -> Context {
        serde_json::from_slice(&std::fs::read(self.home().join("context.json")).unwrap()).unwrap()
    }

    /// Starts an edge that `edge add` made, and waits until it accepts the key.
    async fn serve(&self, added: &Value, key: &str) -> Running {
        let config = added["config"].as_str().unwrap();
        let log = self.folder.path().join("edge.log");
        let edge = Running::start(self.command(&["run", "edge", "--config", config]), &log);
        let (http, began) = (reqwest::Client::new(), Instant::now());
        let at = added["edge"]["http"].as_str().unwrap();
        loop {
            let answer = traffic::ask(&http, at, key, true).await;
            if answer.as_ref().is_ok_and(|answer| answer.valid) {
                return edge;
            }
            let said = || std::fs::read_to_string(&log).unwrap();
            assert!(began.elapsed() < PATIENCE, "{answer:?}\n{}", said());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_speaks_tls_issues_rotates_and_takes_another_edge() {
    let at = At::new();
    let nats = nats_server().unwrap();
    let _up = at.up(&["--tls", "--nats-server", nats.to_str().unwrap()]).await;
    let context = at.context();
    assert!(context.nats_url.starts_with("tls://") && context.tls.is_some());
    let issued = at.done(&["issue", "acme/web"]);
    assert_eq!(at.run(&["verify", "--key-stdin"], issued["key"].as_str().unwrap()).0, 0);
    let rotated = at.done(&["rotate", "acme/web"]);
    let key = rotated["key"].as_str().unwrap();
    let added = at.done(&["edge", "add", "paris"]);
    drop(at.serve(&added, key).await);

    // The environment overlays one field of the certificates, and is named when it is wrong.
    let config = added["config"].as_str().unwrap();
    let mut wrong = at.command(&["run", "edge", "--config", config]);
    let ended = wrong.env("KEYWHEEL_BUS__TLS__CA", "nowhere.pem").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr) + String::from_utf8_lossy(&ended.stdout);
    assert!(!ended.status.success() && said.contains("bus.tls.ca") && said.contains("nowhere.pem"), "{said}");
}

/// A server that somebody else runs.
struct Server {
    folder: PathBuf,
    ports: [u16; 2],
    certificates: Home,
    admin: Credential,
    process: Option<Running>,
}

impl Server {
    fn start(folder: &Path) -> Server {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [free(), free()].map(|listener| listener.local_addr().unwrap().port());
        let certificates = Home::at(&folder.join("certificates")).unwrap();
        certificates.create().unwrap();
        certificates::ensure(&certificates, &[Role::Operator], clock::wall_ms()).unwrap();
        let admin = Credential::fresh();
        std::fs::write(folder.join("admin.nk"), admin.seed().expose()).unwrap();
        let mut server = Server { folder: folder.to_owned(), ports, certificates, admin, process: None };
        let alone = format!(
            "accounts {{ KEYWHEEL {{ jetstream: enabled, users: [ {{ nkey: {} }} ] }} }}",
            server.admin.public()
        );
        server.configure(&alone);
        server.restart();
        server
    }

    fn restart(&mut self) {
        drop(self.process.take());
        let mut command = Command::new(nats_server().unwrap());
        command.arg("-c").arg(self.folder.join("nats.conf"));
        self.process = Some(Running::start(command, &self.folder.join("nats.log")));
    }

    async fn is_healthy(&self) {
        let (url, began) = (format!("http://127.0.0.1:{}/healthz", self.ports[1]), Instant::now());
        while !reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(began.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn file(&self, name: &str) -> String {
        self.certificates.tls().join(name).to_str().unwrap().to_owned()
    }

    fn configure(&self, accounts: &str) {
        let [client, monitor] = self.ports;
        let text = format!(
            "listen: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
             jetstream {{ store_dir: {:?}, sync_interval: always }}\n\
             tls {{ ca_file: {:?}, cert_file: {:?}, key_file: {:?}, verify: true }}\n{accounts}\n",
            self.folder.join("store"),
            self.file("ca.pem"),
            self.file("server.pem"),
            self.file("server.key"),
        );
        std::fs::write(self.folder.join("nats.conf"), text).unwrap();
        if let Some(process) = &self.process {
            process.signal(Signal::SIGHUP);
        }
    }

    async fn is_connected(&self, public: &str) -> bool {
        let url = format!("http://127.0.0.1:{}/connz?auth=true&limit=1000", self.ports[1]);
        reqwest::get(url).await.unwrap().text().await.unwrap().contains(public)
    }
}

/// What an error tells to paste.
fn block(document: &Value) -> String {
    assert_eq!(document["error"]["code"], "unknown_users", "{document}");
    document["error"]["detail"].as_str().unwrap().split_once("\n\n").unwrap().1.to_owned()
}

fn among_users(accounts: &str, account: &str, user: &str) -> String {
    let (before, after) = accounts.split_once(&format!("  {account} {{")).unwrap();
    format!("{before}  {account} {{{}", after.replacen("users: [\n", &format!("users: [\n{user}"), 1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_somebody_else_runs_takes_what_is_printed() {
    let at = At::new();
    let mut server = Server::start(at.folder.path());
    let (url, monitor) =
        (format!("tls://127.0.0.1:{}", server.ports[0]), format!("http://127.0.0.1:{}", server.ports[1]));
    let admin = at.folder.path().join("admin.nk");
    let [ca, cert, key] = ["ca.pem", "operator.pem", "operator.key"].map(|name| server.file(name));
    let flags = ["--nats-url", &url, "--monitor-url", &monitor, "--admin-credentials"];
    let flags = [&flags[..], &[admin.to_str().unwrap(), "--tls-ca", &ca, "--tls-cert", &cert]].concat();
    let flags = [&flags[..], &["--tls-key", &key]].concat();
    server.is_healthy().await;
    let first = ["up", "--edges", "1", "--port-base", "0", "--lease", "2s"];
    let (code, told) = at.run(&[&first[..], &flags].concat(), "");
    assert_eq!(code, 1, "{told}");
    let administrator = format!("      {{ nkey: {} }}\n", server.admin.public());
    let accounts = among_users(&block(&told), "KEYWHEEL", &administrator);
    server.configure(&accounts);
    // As it is told: a reload does not join new accounts.
    server.restart();
    server.is_healthy().await;
    let _up = at.up(&flags).await;
    let issued = at.done(&["issue", "acme/web"]);

    let (code, told) = at.run(&["edge", "add", "paris"], "");
    assert_eq!(code, 1, "{told}");
    assert!(told["error"]["detail"].as_str().unwrap().contains("accounts.KEYWHEEL_READERS.users"), "{told}");
    server.configure(&among_users(&accounts, "KEYWHEEL_READERS", &block(&told)));
    let added = at.until_done(&["edge", "add", "paris"]).await;
    let _paris = at.serve(&added, issued["key"].as_str().unwrap()).await;
    let seed = at.folder.path().join("kept.nk");
    std::fs::copy(added["credentials"].as_str().unwrap(), &seed).unwrap();
    let public = Credential::parse(&std::fs::read_to_string(&seed).unwrap()).unwrap().public().to_owned();
    assert!(server.is_connected(&public).await);

    let (code, told) = at.run(&["edge", "remove", "paris"], "");
    assert_eq!((code, told["error"]["code"].as_str()), (1, Some("still_let_in")), "{told}");
    assert!(told["error"]["detail"].as_str().unwrap().contains(&public), "{told}");
    server.configure(&accounts);
    at.until_done(&["edge", "remove", "paris"]).await;
    assert!(!server.is_connected(&public).await);
    let tls = Some(TlsConfig { ca: ca.into(), cert: Some(cert.into()), key: Some(key.into()) });
    let signers = read_signers(&at.context().signers).unwrap();
    let kept = BusConfig { url, credentials: seed, tls, signers };
    let refused = Bus::connect(&kept.options("edge-paris", false)).await.map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("authorization"), "{refused}");
}
