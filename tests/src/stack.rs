//! `keywheel up` in a folder of its own: started, its processes found by name, stopped.

use anyhow::{Context as _, bail};
use keywheel_bus::TlsConfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How a stack is started.
#[derive(Clone, Debug)]
pub struct StackOptions {
    /// The `keywheel` binary.
    pub binary: PathBuf,
    /// Where its home lies; it may exist.
    pub home: PathBuf,
    /// How many edges.
    pub edges: usize,
    /// The fleet's lease.
    pub lease: &'static str,
    /// Instances of each deciding service.
    pub replicas: u32,
    /// NATS servers: 1 runs as `nats`, those of a cluster of 3 or 5 as `nats-1`, `nats-2`, …
    pub cluster: u32,
    /// Whether killed children come back.
    pub restart: bool,
    /// A bus that may lose what it acknowledged, in the place of the tests' own.
    pub lossy_bus: Option<PathBuf>,
    /// What else `up` is told.
    pub words: Vec<String>,
}

impl StackOptions {
    /// For a test: the binary that was built beside it, a short lease.
    ///
    /// # Errors
    /// When the binary is not there.
    pub fn for_test(home: &Path) -> anyhow::Result<StackOptions> {
        Ok(StackOptions {
            binary: binary()?,
            home: home.to_owned(),
            edges: 2,
            lease: "2s",
            replicas: 1,
            cluster: 1,
            restart: true,
            lossy_bus: None,
            words: Vec::new(),
        })
    }
}

/// The `keywheel` binary: `$KEYWHEEL_BIN`, or the one that was built in the folder above this test's own.
///
/// # Errors
/// When there is none.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn binary() -> anyhow::Result<PathBuf> {
    let beside = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join("keywheel"));
    let path = std::env::var_os("KEYWHEEL_BIN").map(PathBuf::from).or_else(beside);
    path.filter(|path| path.is_file()).context("no keywheel binary: run `cargo build --workspace` first")
}

/// A command of the binary, with nothing in its environment that was meant for the tests.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn keywheel(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYWHEEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// The nats-server to test with: `$KEYWHEEL_TEST_NATS`, where `tests/run.sh` puts it.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn nats_server() -> Option<PathBuf> {
    std::env::var_os("KEYWHEEL_TEST_NATS").map(PathBuf::from)
}

/// What `up` writes once everything is ready.
#[derive(Clone, Debug, Deserialize)]
pub struct Context {
    /// Where the bus is.
    pub nats_url: String,
    /// File with the operator's seed.
    pub credentials: PathBuf,
    /// Its certificates, if the bus speaks TLS.
    #[serde(default)]
    pub tls: Option<TlsConfig>,
    /// File that says whose events are believed.
    pub signers: PathBuf,
    /// Where its replies come.
    pub inbox_prefix: String,
    /// The edges.
    pub edges: Vec<EdgeEntry>,
    /// The services' processes.
    #[serde(default)]
    pub services: Vec<ServiceEntry>,
}

/// One process of a service.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceEntry {
    /// Its name.
    pub name: String,
    /// Where it tells how it stands.
    pub http: String,
}

/// One edge.
#[derive(Clone, Debug, Deserialize)]
pub struct EdgeEntry {
    /// Its name.
    pub id: String,
    /// Its HTTP address.
    pub http: String,
    /// Where it answers Envoy.
    pub grpc: Option<String>,
}

#[derive(Deserialize)]
struct Process {
    name: String,
    pid: i32,
}

/// A running stack; dropped, it is killed with everything that it started.
pub struct Stack {
    child: Child,
    home: PathBuf,
    /// What it wrote.
    pub context: Context,
}

impl Stack {
    /// Starts a stack and waits until every edge is ready.
    ///
    /// # Errors
    /// With what it printed, when it ends early or is not ready in two minutes.
    pub fn start(options: &StackOptions) -> anyhow::Result<Stack> {
        Stack::start_with(options, &[])
    }

    /// The same with variables in its environment, and so in that of everything that it starts.
    ///
    /// # Errors
    /// As [`Stack::start`].
    pub fn start_with(options: &StackOptions, environment: &[(&str, &str)]) -> anyhow::Result<Stack> {
        std::fs::create_dir_all(&options.home)?;
        let printed = std::fs::File::create(options.home.join("up.log"))?;
        let mut command = keywheel(&options.binary);
        command
            .args(["up", "--port-base", "0", "--lease", options.lease])
            .args(["--edges", &options.edges.to_string(), "--replicas", &options.replicas.to_string()])
            .args(&options.words)
            .arg("--home")
            .arg(&options.home)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(printed.try_clone()?)
            .stderr(printed);
        if options.cluster > 1 {
            command.args(["--cluster", &options.cluster.to_string()]);
        }
        if let Some(nats) = options.lossy_bus.clone().or_else(nats_server) {
            command.arg("--nats-server").arg(nats);
        }
        if options.lossy_bus.is_some() {
            command.arg("--allow-unsafe-sync");
        }
        if !options.restart {
            command.arg("--no-restart");
        }
        let context = options.home.join("context.json");
        // A context from before would be taken for this run's.
        let _ = std::fs::remove_file(&context);
        let child = command.spawn().with_context(|| format!("starting {}", options.binary.display()))?;
        let mut stack = Stack { child, home: options.home.clone(), context: Context::none() };
        stack.context = stack.await_context(&context)?;
        Ok(stack)
    }

    fn await_context(&mut self, path: &Path) -> anyhow::Result<Context> {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            if let Ok(bytes) = std::fs::read(path) {
                return serde_json::from_slice(&bytes).context("context.json");
            }
            let printed = || std::fs::read_to_string(self.home.join("up.log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("keywheel up ended with {status}:\n{}", printed());
            }
            if Instant::now() > deadline {
                bail!("keywheel up is not ready after two minutes:\n{}", printed());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Its home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The process id of a child by name (`issuer`, `edge-1`, `nats`, …).
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn pid(&self, name: &str) -> anyhow::Result<Pid> {
        let bytes = std::fs::read(self.home.join("processes.json"))?;
        let processes: Vec<Process> = serde_json::from_slice(&bytes)?;
        let found = processes.iter().find(|process| process.name == name);
        let names = || processes.iter().map(|process| process.name.as_str()).collect::<Vec<_>>().join(", ");
        found
            .map(|process| Pid::from_raw(process.pid))
            .with_context(|| format!("no {name} among {}", names()))
    }

    /// Sends a signal to a child.
    ///
    /// # Errors
    /// When there is no such child.
    pub fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        kill(self.pid(name)?, signal).with_context(|| format!("signalling {name}"))
    }

    /// Kills a child and waits until another process has its place.
    ///
    /// # Errors
    /// When none comes in 30 s.
    pub fn kill_and_await(&self, name: &str) -> anyhow::Result<()> {
        let before = self.pid(name)?;
        kill(before, Signal::SIGKILL)?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.pid(name).ok().is_none_or(|now| now == before) {
            if Instant::now() > deadline {
                bail!("{name} did not come back");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The HTTP address of an edge.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn edge(&self, id: &str) -> anyhow::Result<&str> {
        let found = self.context.edges.iter().find(|edge| edge.id == id);
        found.map(|edge| edge.http.as_str()).with_context(|| format!("no edge {id}"))
    }

    /// Asks the stack to stop, as Ctrl-C does, and waits for its end.
    ///
    /// # Errors
    /// When it does not end in a minute, or not well.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.interrupt()
    }

    /// The same, for one whose home is used again before it is dropped.
    ///
    /// # Errors
    /// When it does not end in a minute, or not well.
    pub fn interrupt(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGINT)?;
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = self.child.try_wait()? {
                anyhow::ensure!(status.success(), "keywheel up ended with {status}");
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "keywheel up did not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The process id of `up` itself.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Context {
    fn none() -> Self {
        Self {
            nats_url: String::new(),
            credentials: PathBuf::new(),
            tls: None,
            signers: PathBuf::new(),
            inbox_prefix: String::new(),
            edges: Vec::new(),
            services: Vec::new(),
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // Its children die with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
