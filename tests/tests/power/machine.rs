//! A machine that loses power: a whole stack whose bus, services and edges each keep their files on a disk of their own.

use crate::disk::Disk;
use anyhow::{Context as _, ensure};
use keywheel_tests::stack::{Context, binary, keywheel, nats_server};
use keywheel_tests::{Stack, StackOptions};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);
const SERVICES: [&str; 4] = ["issuer", "propagator", "usage-tracker", "retirer"];

/// The machine. Its home's settings and credentials lie beside the disks: they are written before anything is
/// acknowledged, and never again.
pub struct Machine {
    stack: Option<Stack>,
    disks: Vec<Disk>,
    options: StackOptions,
    environment: Vec<(&'static str, String)>,
    /// What the stack wrote when it was ready first.
    pub context: Context,
    /// Kept for as long as the machine is.
    _folder: TempDir,
}

/// A process that ends with this.
pub struct Alone(Child);

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Machine {
    /// With empty disks, started.
    pub fn start(
        edges: usize,
        change: impl FnOnce(&mut StackOptions, &Path) -> anyhow::Result<Vec<(&'static str, String)>>,
    ) -> anyhow::Result<Machine> {
        let folder = TempDir::new()?;
        let home = folder.path().join("home");
        let mut options = StackOptions::for_test(&home)?;
        (options.edges, options.lease) = (edges, "5s");
        let environment = change(&mut options, folder.path())?;
        let images = folder.path().join("images");
        // The edges' are mounted within the services', after them.
        let mut disks = vec![Disk::make("bus", &images, &home.join("nats"))?];
        disks.push(Disk::make("services", &images, &home.join("data"))?);
        for edge in names(edges) {
            disks.push(Disk::make(&edge, &images, &home.join(format!("data/edge-{edge}")))?);
        }
        let stack = start(&options, &environment)?;
        let context = stack.context.clone();
        Ok(Machine { stack: Some(stack), disks, options, environment, context, _folder: folder })
    }

    /// The names of its edges.
    pub fn edges(&self) -> Vec<String> {
        names(self.options.edges).collect()
    }

    /// Where an edge answers.
    pub fn http(&self, edge: &str) -> anyhow::Result<&str> {
        let found = self.context.edges.iter().find(|entry| entry.id == edge);
        found.map(|entry| entry.http.as_str()).with_context(|| format!("no edge {edge}"))
    }

    /// The context of another role at the same bus.
    pub fn context_of(&self, role: &str) -> Context {
        let credentials = self.options.home.join(format!("credentials/{role}.nk"));
        Context { credentials, inbox_prefix: format!("_INBOX_{role}"), ..self.context.clone() }
    }

    /// Has all that was written reach the disks.
    pub fn sync(&self) -> anyhow::Result<()> {
        self.disks.iter().try_for_each(Disk::sync)
    }

    /// Stops every process where it is and takes the pictures. What is answered after this was not said before it.
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        let pids = self.processes()?;
        for pid in &pids {
            kill(*pid, Signal::SIGSTOP)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !pids.iter().all(|pid| stands_still(*pid)) {
            ensure!(Instant::now() < deadline, "a process does not stop");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.disks.iter_mut().try_for_each(Disk::picture)
    }

    /// `up`, which would start the others again, and the others.
    fn processes(&self) -> anyhow::Result<Vec<Pid>> {
        let stack = self.stack.as_ref().context("the machine is off")?;
        let edges = self.edges().into_iter().map(|edge| format!("edge-{edge}"));
        let named = SERVICES.iter().map(|name| (*name).to_owned()).chain(["nats".to_owned()]).chain(edges);
        let mut pids = vec![Pid::from_raw(i32::try_from(stack.id())?)];
        for name in named {
            pids.push(stack.pid(&name)?);
        }
        Ok(pids)
    }

    /// Ends everything and puts the pictures in the place of the disks. `commit`: as for [`Disk::return_as_pictured`].
    pub fn cut(&mut self, commit: u32) -> anyhow::Result<()> {
        let pids = self.processes()?;
        for pid in &pids[1..] {
            kill(*pid, Signal::SIGKILL)?;
        }
        drop(self.stack.take());
        self.disks.iter().rev().try_for_each(Disk::remove)?;
        self.disks.iter_mut().try_for_each(|disk| disk.return_as_pictured(commit))
    }

    /// The bus alone loses power; the others go on, and `up` starts it again. It must have been frozen with them.
    pub fn cut_bus(&mut self, commit: u32) -> anyhow::Result<()> {
        let pids = self.processes()?;
        let nats = self.stack.as_ref().context("the machine is off")?.pid("nats")?;
        kill(nats, Signal::SIGKILL)?;
        let bus = &mut self.disks[0];
        bus.remove()?;
        bus.return_as_pictured(commit)?;
        for pid in pids.iter().filter(|pid| **pid != nats) {
            kill(*pid, Signal::SIGCONT)?;
        }
        Ok(())
    }

    /// An edge by itself on what its disk kept, with nothing else running.
    pub fn edge_alone(&self, edge: &str) -> anyhow::Result<Alone> {
        let config = self.options.home.join(format!("config/edge-{edge}.toml"));
        let mut command = keywheel(&binary()?);
        command.args(["run", "edge", "--config"]).arg(config);
        self.spawn(command, &format!("alone-{edge}"))
    }

    /// The bus by itself on what its disk kept.
    pub fn bus_alone(&self) -> anyhow::Result<Alone> {
        let mut command = Command::new(nats_server().context("KEYWHEEL_TEST_NATS")?);
        command.arg("-c").arg(self.options.home.join("nats.conf"));
        self.spawn(command, "alone-bus")
    }

    fn spawn(&self, mut command: Command, name: &str) -> anyhow::Result<Alone> {
        let log = std::fs::File::create(self.options.home.join(format!("logs/{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Alone(command.spawn()?))
    }

    /// Switches everything on again.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        let stack = start(&self.options, &self.environment)?;
        let before = |context: &Context| {
            let edges = context.edges.iter().map(|edge| edge.http.clone());
            [context.nats_url.clone()].into_iter().chain(edges).collect::<Vec<_>>()
        };
        ensure!(before(&stack.context) == before(&self.context), "a port was taken meanwhile");
        self.stack = Some(stack);
        Ok(())
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.stack.take().context("the machine is off")?.stop()
    }
}

fn names(edges: usize) -> impl Iterator<Item = String> {
    (1..=edges).map(|number| format!("e{number}"))
}

fn start(options: &StackOptions, environment: &[(&'static str, String)]) -> anyhow::Result<Stack> {
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Stack::start_with(options, &environment)
}

/// The signal takes effect thread by thread.
fn stands_still(pid: Pid) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let paths: Vec<PathBuf> = threads.flatten().map(|thread| thread.path().join("stat")).collect();
    paths.iter().all(|stat| state_in(stat).is_none_or(|state| state == 'T'))
}

/// None where there is none of that number any more.
fn state_in(stat: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(stat).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}
