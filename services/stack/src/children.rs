//! The stack's child processes: started, restarted when they die, ended in order.

use crate::failure::say;
use crate::home::{Home, private_folder, read_json, write_json};
use crate::spawn::Spawner;
use anyhow::{Context as _, Result};
use keywheel_runtime::retry::Backoff;
use keywheel_runtime::{Shutdown, exit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A child that ran this long before it died is restarted at once.
const STEADY: Duration = Duration::from_secs(10);
/// How long a child may take to end after it was asked to.
const DRAIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(500);

/// What ends together, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Edges say goodbye while everybody still listens.
    Edges,
    /// Services finish what they are at while the bus still runs.
    Services,
    /// The bus.
    Bus,
}

/// A child process to be.
#[derive(Clone)]
pub struct Plan {
    /// Its name in `processes.json` and of its log.
    pub name: String,
    /// When it ends.
    pub group: Group,
    /// What to run.
    pub program: PathBuf,
    /// With what.
    pub args: Vec<OsString>,
    /// Whether it shall go on; asked now and then, and before each restart.
    pub is_wanted: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The children.
pub struct Children {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<(Group, JoinHandle<()>)>>,
}

struct Shared {
    home: Home,
    spawner: Spawner,
    restarts: bool,
    stops: BTreeMap<Group, Shutdown>,
    running: Mutex<BTreeMap<String, u32>>,
    hopeless: watch::Sender<Option<String>>,
}

#[derive(Serialize, Deserialize)]
struct Process {
    name: String,
    pid: u32,
}

enum End {
    Stopped,
    Unwanted,
    Died(ExitStatus),
    NotStarted(std::io::Error),
}

impl Children {
    /// None yet. A child that dies is left dead unless `restarts`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn none(home: Home, restarts: bool) -> Result<Children> {
        let stops = [Group::Edges, Group::Services, Group::Bus].map(|group| (group, Shutdown::new()));
        let shared = Shared {
            home,
            spawner: Spawner::start()?,
            restarts,
            stops: stops.into(),
            running: Mutex::default(),
            hopeless: watch::Sender::new(None),
        };
        shared.write_processes();
        Ok(Children { shared: Arc::new(shared), tasks: Mutex::default() })
    }

    /// Starts a child and keeps it running.
    pub fn start(&self, plan: Plan) {
        let (group, shared) = (plan.group, Arc::clone(&self.shared));
        let task = tokio::spawn(async move { shared.keep_running(&plan).await });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push((group, task));
    }

    /// Whether any was started.
    pub fn are_some(&self) -> bool {
        !self.tasks.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Resolves when a child can never run, with the reason.
    pub async fn hopeless(&self) -> String {
        let mut watched = self.shared.hopeless.subscribe();
        let reason = watched.wait_for(Option::is_some).await.expect("self keeps the sender");
        reason.clone().unwrap_or_default()
    }

    /// Ends them all in order, each group with time to drain.
    pub async fn stop(&self) {
        for (group, stop) in &self.shared.stops {
            stop.trigger();
            let mut tasks = Vec::new();
            {
                let mut all = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                tasks.extend(all.extract_if(.., |(of, _)| of == group));
            }
            for (_, task) in tasks {
                // A task that panicked has dropped its child, which ends it.
                let _ = task.await;
            }
        }
    }
}

impl Shared {
    async fn keep_running(&self, plan: &Plan) {
        let stop = &self.stops[&plan.group];
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        loop {
            let began = Instant::now();
            let how = match self.run(plan, stop).await {
                End::Stopped => return,
                End::Unwanted => return say(&format!("{} is no longer wanted; stopped it", plan.name)),
                End::Died(status) if status.code() == Some(i32::from(exit::CONFIG)) => {
                    return self.give_up(plan, "does not accept its configuration");
                }
                End::Died(status) => status.to_string(),
                End::NotStarted(error) => format!("cannot start: {error}"),
            };
            let log = self.home.log(&plan.name);
            if !self.restarts {
                return say(&format!(
                    "{} ended ({how}) and stays so: --no-restart; see {}",
                    plan.name,
                    log.display()
                ));
            }
            if began.elapsed() > STEADY {
                backoff.reset();
            }
            let wait = backoff.delay();
            say(&format!("{} ended ({how}); again in {wait:?}; see {}", plan.name, log.display()));
            if !stop.pause(wait).await {
                return;
            }
        }
    }

    fn give_up(&self, plan: &Plan, why: &str) {
        let log = self.home.log(&plan.name);
        self.hopeless.send_replace(Some(format!("{} {why}; see {}", plan.name, log.display())));
    }

    async fn run(&self, plan: &Plan, stop: &Shutdown) -> End {
        if stop.is_requested() {
            return End::Stopped;
        }
        if !(plan.is_wanted)() {
            return End::Unwanted;
        }
        let mut child = match self.spawn(plan).await {
            Ok(child) => child,
            Err(error) => return End::NotStarted(error),
        };
        if let Some(pid) = child.id() {
            self.note(&plan.name, Some(pid));
        }
        let end = tokio::select! {
            status = child.wait() => match status {
                Ok(status) => End::Died(status),
                Err(error) => End::NotStarted(error),
            },
            () = stop.requested() => End::Stopped,
            () = unwanted(plan) => End::Unwanted,
        };
        if matches!(end, End::Stopped | End::Unwanted) {
            terminate(&mut child, &plan.name).await;
        }
        self.note(&plan.name, None);
        end
    }

    async fn spawn(&self, plan: &Plan) -> std::io::Result<Child> {
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(self.home.log(&plan.name))?;
        let mut command = Command::new(&plan.program);
        command.args(&plan.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // Services may be killed at any moment and lose nothing; the server is asked, since others may use it.
        let at_our_end = match plan.group {
            Group::Edges | Group::Services => Signal::SIGKILL,
            Group::Bus => Signal::SIGTERM,
        };
        self.spawner.spawn(command, at_our_end).await
    }

    fn note(&self, name: &str, pid: Option<u32>) {
        {
            let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            match pid {
                Some(pid) => running.insert(name.to_owned(), pid),
                None => running.remove(name),
            };
        }
        self.write_processes();
    }

    fn write_processes(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let processes: Vec<Process> =
            running.iter().map(|(name, &pid)| Process { name: name.clone(), pid }).collect();
        if let Err(error) = write_json(&self.home.processes(), &processes) {
            say(&format!("warning: {error:#}"));
        }
    }
}

async fn unwanted(plan: &Plan) {
    while (plan.is_wanted)() {
        tokio::time::sleep(LOOK).await;
    }
}

async fn terminate(child: &mut Child, name: &str) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let asked = pid.map(|pid| kill(Pid::from_raw(pid), Signal::SIGTERM));
    if asked.is_some() && tokio::time::timeout(DRAIN, child.wait()).await.is_ok() {
        return;
    }
    say(&format!("{name} did not end within {DRAIN:?} of being asked to; killing it"));
    if let Err(error) = child.kill().await {
        say(&format!("warning: cannot kill {name}: {error}"));
    }
}

/// A plan for one of our own processes: `keywheel run SERVICE --config FILE`.
///
/// # Errors
/// When its data folder cannot be made, or this program does not know its own path.
pub fn plan_own(home: &Home, service: &str, process: &str, group: Group) -> Result<Plan> {
    private_folder(&home.data(process))?;
    let program = std::env::current_exe().context("cannot tell which program this is")?;
    let args = [OsString::from("run"), service.into(), "--config".into(), home.config(process).into()];
    Ok(Plan { name: process.to_owned(), group, program, args: args.into(), is_wanted: Arc::new(|| true) })
}

/// The process id of a child of the `up` that runs in `home` now.
///
/// # Errors
/// When the list of children is damaged.
pub fn pid_of(home: &Home, name: &str) -> Result<Option<Pid>> {
    if !home.is_held() {
        return Ok(None);
    }
    let processes: Vec<Process> = read_json(&home.processes())?.unwrap_or_default();
    let found = processes.iter().find(|process| process.name == name);
    Ok(found.and_then(|process| i32::try_from(process.pid).ok()).map(Pid::from_raw))
}
