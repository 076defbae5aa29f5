//! What every test begins with: a machine on disks of its own, owners with their keyrings, and chance that is told.

use crate::check;
use crate::disk::{Disk, own_mounts};
use crate::load::{Load, Owner};
use crate::machine::Machine;
use crate::record::Record;
use anyhow::ensure;
use keywheel_table::Message;
use keywheel_tests::hostile::chance::Chance;
use keywheel_tests::{Operator, StackOptions};
use keywheel_token::id::fresh;
use keywheel_wire::subject::Verb;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::task::block_in_place;

const EDGES: usize = 2;
const OWNERS: usize = 10;
/// Every how many seconds the kernel commits what nobody synced: hardly ever, as usual, all the time.
const COMMITS: [u32; 3] = [300, 5, 1];
const RECONNECTED: Duration = Duration::from_secs(30);

/// A number from the environment.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a test with mounts of its own, or says why it cannot. `tests/run.sh` sets the variable where it can.
#[allow(clippy::disallowed_methods, reason = "a test is configured by its environment alone")]
pub fn with_disks(run: impl AsyncFnOnce()) {
    let folder = TempDir::new().unwrap();
    let (images, at) = (folder.path().join("images"), folder.path().join("at"));
    if let Err(error) = own_mounts().and_then(|()| Disk::make("probe", &images, &at)) {
        assert!(std::env::var_os("KEYWHEEL_TEST_LOOPS").is_none(), "loop mounts are to be had: {error:#}");
        eprintln!("SKIPPED: no disks can be mounted here: {error:#}");
        return;
    }
    // Its threads are started by this one, and so have the same mounts.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(run());
}

/// A machine, and who uses it.
pub struct Scene {
    pub machine: Machine,
    pub operator: Arc<Operator>,
    pub record: Record,
    chance: Chance,
    owners: Vec<Owner>,
    log: Vec<Message>,
}

impl Scene {
    /// The machine runs. `change` may have it start otherwise, with what variables it gives.
    pub async fn begin(
        change: impl FnOnce(&mut StackOptions, &Path) -> anyhow::Result<Vec<(&'static str, String)>>,
    ) -> anyhow::Result<Scene> {
        let seed = number("KEYWHEEL_POWER_SEED").unwrap_or_else(|| fresh() as u64);
        println!("KEYWHEEL_POWER_SEED={seed}");
        let machine = block_in_place(|| Machine::start(EDGES, change))?;
        let operator = Arc::new(Operator::connect(&machine.context).await?);
        let record = Record::default();
        let owners = (0..OWNERS).map(|n| Owner::new(&operator, &record, &format!("c{n}"))).collect();
        let chance = Chance::new(seed);
        Ok(Scene { machine, operator, record, chance, owners, log: Vec::new() })
    }

    /// One more owner, of a keyring that nothing else touches.
    pub fn owner(&self, client: &str) -> Owner {
        Owner::new(&self.operator, &self.record, client)
    }

    fn edges(&self) -> Vec<String> {
        self.machine.context.edges.iter().map(|edge| edge.http.clone()).collect()
    }

    /// Lets everything run for a while, freezes it, and says what was lost when the machine goes on from its disks.
    pub async fn cut(&mut self) -> anyhow::Result<Vec<String>> {
        let load = self.run_a_while().await;
        block_in_place(|| self.machine.freeze())?;
        let traffic = load.end();
        let commit = COMMITS[self.chance.index(COMMITS.len())];
        let lost = self.switch_off_and_on(commit).await?;
        let tally = traffic.stop().await;
        println!("  {} requests accepted", tally.accepted.load(Ordering::Relaxed));
        let complaints = tally.complaints.lock().unwrap().clone();
        // Between its revocation and the next key a client is refused; the new key is there before it is used.
        let odd = complaints.into_iter().filter(|complaint| complaint.contains("retired"));
        Ok(lost.into_iter().chain(odd).collect())
    }

    async fn run_a_while(&mut self) -> Load {
        self.record.lock().pulses.clear();
        let load = Load::begin(&self.owners, &self.edges(), &mut self.chance);
        tokio::time::sleep(Duration::from_millis(self.chance.within(500, 3000))).await;
        load
    }

    /// The pictures were taken: the power goes, and comes back. What was lost is said as soon as it is clear.
    pub async fn switch_off_and_on(&mut self, commit: u32) -> anyhow::Result<Vec<String>> {
        block_in_place(|| self.machine.cut(commit))?;
        let told = self.record.told();
        let mut lost = check::edges_alone(&self.machine, &told).await?;
        lost.extend(check::bus_alone(&self.machine, &told, &mut self.log).await?);
        if !lost.is_empty() {
            return Ok(lost);
        }
        block_in_place(|| self.machine.go_on())?;
        lost.extend(self.together().await?);
        let acknowledged = told.commands.iter().filter(|sent| sent.acknowledged).count();
        println!(
            "cut (the kernel commits every {commit} s): {} commands so far, {acknowledged} acknowledged, {} keys, {} \
             receipts, {} messages: nothing lost",
            told.commands.len(),
            told.keys.len(),
            told.revoked().count(),
            self.log.len(),
        );
        Ok(lost)
    }

    async fn together(&self) -> anyhow::Result<Vec<String>> {
        let began = Instant::now();
        while !self.operator.bus.is_connected() {
            ensure!(began.elapsed() < RECONNECTED, "not connected again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        check::together(&self.machine, &self.operator, &self.record.told()).await
    }

    /// The bus alone loses power, under way; everything else goes on and finds it again.
    pub async fn cut_bus(&mut self) -> anyhow::Result<Vec<String>> {
        let load = self.run_a_while().await;
        let commit = COMMITS[self.chance.index(COMMITS.len())];
        block_in_place(|| self.machine.freeze().and_then(|()| self.machine.cut_bus(commit)))?;
        let before = self.record.told().keys.len();
        let began = Instant::now();
        while self.record.lock().keys.len() < before + OWNERS {
            ensure!(began.elapsed() < RECONNECTED, "no key was delivered after the bus came back");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("the bus alone was cut: ten more keys were delivered after {:?}", began.elapsed());
        load.end().stop().await;
        self.together().await
    }

    /// Nothing that was acknowledged is left undone; a rotation and a revocation as if nothing had been; a good end.
    pub async fn end(self) -> anyhow::Result<()> {
        let mut told = self.record.told();
        let undone = check::commands(&self.operator, &mut told).await?;
        ensure!(undone.is_empty(), "{undone:?}");
        let owner = self.owner("last");
        owner.new_key(Verb::Issue).await?;
        owner.new_key(Verb::Rotate).await?;
        let newest = self.record.lock().living(&owner.ring)[1];
        owner.revoke(newest).await?;
        told = self.record.told();
        let (_, receipt) = told.revoked().last().expect("it waited for the receipt");
        ensure!(receipt.applied_on.len() == EDGES && receipt.unreached.is_empty(), "{receipt:?}");
        block_in_place(|| self.machine.stop())
    }
}
