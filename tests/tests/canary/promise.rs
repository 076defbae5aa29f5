//! The test itself: mint and misuse, search; kill, damage, mint and misuse again, search again.

use crate::minting::{self, Owners};
use crate::needles::{Needles, secret};
use crate::pasting;
use crate::places::{Searched, processes};
use crate::showing::Showing;
use keywheel_domain::{Address, KeyringId};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::{Brand, mint};
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const KEYS: usize = 1000;
/// What the promise says: memory is looked at so long after the last minting.
const AFTER: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn no_key_text_is_outside_its_owners_hands() {
    let began = Instant::now();
    let folder = TempDir::new().unwrap();
    let options = StackOptions::for_test(&folder.path().join("home")).unwrap();
    // Everything is logged: what could be said of a key is said.
    let loud = [("KEYWHEEL_LOG__LEVEL", "trace")];
    let stack = tokio::task::block_in_place(|| Stack::start_with(&options, &loud)).unwrap();
    let operator = Operator::connect(&stack.context).await.unwrap();
    let owners = Owners::default();
    let pasted = mint(&Brand::default()).text;
    println!("{:>4.0?} ready", began.elapsed());

    use_and_search(&stack, &operator, &owners, "before").await;
    println!("{:>4.0?} searched before anything was struck", began.elapsed());
    pasting::paste(&operator, &Address::Keyring(KeyringId::parse("acme/before-0").unwrap()), pasted.expose())
        .await;
    strike(&stack, &operator, &owners).await;
    println!("{:>4.0?} struck", began.elapsed());
    use_and_search(&stack, &operator, &owners, "after").await;

    let keys = owners.all();
    assert!(keys.len() >= KEYS);
    let mut searched = Searched::default();
    let needles = Needles::new(keys.iter().map(|key| secret(key.expose())));
    search(&mut searched, &needles, &stack, &|_| false).await;
    // The bus holds what was published, for as long as it takes.
    let needles = Needles::new([secret(pasted.expose())]);
    search(&mut searched, &needles, &stack, &|path| path.ends_with("nats")).await;
    println!("{:>4.0?} {} keys in {}", began.elapsed(), keys.len(), searched.summary());
    assert!(searched.leaks.is_empty(), "{:#?}", searched.leaks);
    tokio::task::block_in_place(|| stack.stop()).unwrap();
    println!("{:>4.0?} stopped", began.elapsed());
}

/// Mints half of the keys while they are shown to every edge, then looks into every process.
async fn use_and_search(stack: &Stack, operator: &Operator, owners: &Owners, phase: &str) {
    let edges: Vec<String> = stack
        .context
        .edges
        .iter()
        .map(|edge| edge.http.strip_prefix("http://").unwrap_or(&edge.http).to_owned())
        .collect();
    let from = owners.all().len();
    let showing = Showing::start(owners, from, &edges);
    let last = minting::mint(operator, owners, phase, KEYS / 2).await;
    // The connections stay open, and idle: what was sent on them last should be gone all the same.
    let (tally, open) = showing.stop().await;
    tokio::time::sleep_until((last + AFTER).into()).await;
    let keys = owners.all();
    let needles = Needles::new(keys.iter().map(|key| secret(key.expose())));
    let mut searched = Searched::default();
    for (name, pid) in processes(stack) {
        searched.process(&needles, &name, pid);
    }
    let count = |counter: &std::sync::atomic::AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "  {} requests ({} accepted, {} refused, {} connections closed by edges, {} idle): {}",
        count(&tally.requests),
        count(&tally.accepted),
        count(&tally.refused),
        count(&tally.closed),
        open.len(),
        searched.summary()
    );
    assert!(count(&tally.accepted) >= KEYS * edges.len(), "every key was accepted twice on every edge");
    assert!(searched.leaks.is_empty(), "{} leaks: {:#?}", searched.leaks.len(), searched.leaks);
}

/// Kills and breaks what can be killed and broken.
async fn strike(stack: &Stack, operator: &Operator, owners: &Owners) {
    minting::outlast(operator, owners, "acme/outlasts", || {
        tokio::task::block_in_place(|| stack.kill_and_await("issuer").unwrap());
    })
    .await;
    let before = stack.pid("propagator").unwrap();
    stack.signal("propagator", Signal::SIGABRT).unwrap();
    await_another(stack, "propagator", before).await;
    for file in ["edge.db", "edge.db-wal"] {
        damage(&stack.home().join("data/edge-e1").join(file));
    }
    tokio::task::block_in_place(|| stack.kill_and_await("edge-e1").unwrap());
    tokio::task::block_in_place(|| stack.kill_and_await("nats").unwrap());
    minting::outlast(operator, owners, "acme/outlasts-too", || {}).await;
    await_ready(stack).await;
    let damaged = std::fs::read_dir(stack.home().join("data/edge-e1")).unwrap().flatten();
    let aside = damaged.filter(|entry| entry.file_name().to_string_lossy().contains("damaged")).count();
    assert!(aside > 0, "the damaged database was set aside");
}

async fn await_another(stack: &Stack, name: &str, before: nix::unistd::Pid) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while stack.pid(name).ok().is_none_or(|now| now == before) {
        assert!(Instant::now() < deadline, "{name} did not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn await_ready(stack: &Stack) {
    let http = reqwest::Client::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    for edge in &stack.context.edges {
        let url = format!("{}/readyz", edge.http);
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < deadline, "{} is not ready", edge.id);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Overwrites the beginning of a file.
fn damage(path: &Path) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; 8192], 0).unwrap();
}

/// Everything but memory: files, names of files, and what edges tell.
async fn search(
    searched: &mut Searched,
    needles: &Needles,
    stack: &Stack,
    is_owners: &dyn Fn(&Path) -> bool,
) {
    searched.files(needles, stack.home(), is_owners);
    let http = reqwest::Client::new();
    for edge in &stack.context.edges {
        searched.told(needles, &http, &edge.http).await;
    }
}
