//! A process of the installation, started and kept running by the harness, so that it can be harmed in any way.

use super::clocks;
use anyhow::Context as _;
use keywheel_stack::spawn::Spawner;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long one that ended by itself stays so: its supervisor would start it again.
const PAUSE: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

/// How it is started.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// What runs.
    pub program: PathBuf,
    /// With what.
    pub args: Vec<String>,
    /// And which variables beside the harness's own.
    pub environment: Vec<(String, String)>,
    /// Where it writes what it has to say.
    pub log: PathBuf,
}

impl Recipe {
    /// The same where a file that may not grow any more is an error there, not its end.
    #[must_use]
    pub fn without_limits_that_end_it(mut self) -> Recipe {
        let run = r#"trap "" XFSZ; exec "$0" "$@""#.to_owned();
        let program = std::mem::replace(&mut self.program, "sh".into());
        self.args.splice(0..0, ["-c".to_owned(), run, program.display().to_string()]);
        self
    }

    fn command(&self) -> std::io::Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = crate::stack::keywheel(&self.program);
        command.args(&self.args).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// One that is started again whenever it ends, unless it is held down.
pub struct Process {
    /// How it is started.
    pub recipe: Recipe,
    wanted: watch::Sender<bool>,
    pid: watch::Sender<Option<Pid>>,
    ends: Mutex<Vec<ExitStatus>>,
}

impl Process {
    /// Starts it, and goes on doing so.
    pub fn start(recipe: Recipe, spawner: &Spawner) -> Arc<Process> {
        let process = Arc::new(Process {
            recipe,
            wanted: watch::Sender::new(true),
            pid: watch::Sender::new(None),
            ends: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&process).keep(spawner.clone()));
        process
    }

    async fn keep(self: Arc<Self>, spawner: Spawner) {
        let mut wanted = self.wanted.subscribe();
        loop {
            // It keeps the sender itself.
            let _ = wanted.wait_for(|wanted| *wanted).await;
            let started = match self.recipe.command() {
                Ok(command) => spawner.spawn(command, Signal::SIGKILL).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(mut child) => {
                    let id = child.id().and_then(|id| i32::try_from(id).ok());
                    self.pid.send_replace(id.map(Pid::from_raw));
                    if !self.is_wanted() {
                        // Somebody held it down while it was being started.
                        self.signal(Signal::SIGKILL);
                    }
                    let ended = child.wait().await;
                    if let Some(pid) = self.pid.send_replace(None) {
                        clocks::sweep(pid);
                    }
                    if let (Ok(status), true) = (ended, self.is_wanted()) {
                        self.ends.lock().unwrap_or_else(PoisonError::into_inner).push(status);
                        tokio::time::sleep(PAUSE).await;
                    }
                }
                Err(error) => {
                    eprintln!("faults: cannot start {}: {error}", self.recipe.name);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        *self.pid.borrow()
    }

    /// Sends it a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended this moment.
            let _ = kill(pid, signal);
        }
    }

    /// Lets no file that it writes be longer, as a full disk would not; or any again.
    ///
    /// # Errors
    /// When the system has no `prlimit`.
    pub async fn file_size_max(&self, bytes: Option<u64>) -> anyhow::Result<()> {
        let Some(pid) = self.pid() else { return Ok(()) };
        let most = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let mut command = tokio::process::Command::new("prlimit");
        command.args(["--pid", &pid.to_string(), &format!("--fsize={most}:unlimited")]);
        // The process may have ended this moment.
        let _ = command.stderr(Stdio::null()).status().await.context("prlimit")?;
        Ok(())
    }

    /// Ends it with `signal` and holds it down. One that does not end in time is killed.
    pub async fn down(&self, signal: Signal) {
        self.wanted.send_replace(false);
        self.signal(signal);
        let mut pid = self.pid.subscribe();
        let gone = async |pid: &mut watch::Receiver<Option<Pid>>| {
            let wait = pid.wait_for(Option::is_none);
            tokio::time::timeout(PATIENCE, wait).await.is_ok()
        };
        if !gone(&mut pid).await {
            self.signal(Signal::SIGKILL);
            gone(&mut pid).await;
        }
    }

    /// Lets it run again.
    pub fn up(&self) {
        self.wanted.send_replace(true);
    }

    /// How it ended when nobody had asked it to.
    pub fn unasked_ends(&self) -> Vec<ExitStatus> {
        self.ends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Waits for something that is asked again and again.
///
/// # Errors
/// When it is not so in time, with what it was.
pub async fn until<F: Future<Output = bool>>(
    what: &str,
    patience: Duration,
    mut holds: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + patience;
    while !holds().await {
        (Instant::now() < deadline).then_some(()).with_context(|| format!("not in time: {what}"))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
