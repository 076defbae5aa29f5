//! The library: the same table without a process of its own.

use crate::process::config;
use crate::server::Server;
use crate::{begin, numbers, reports};
use keywheel_edge::{Refusal, Verifier};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

async fn open(server: &Server, folder: &Path) -> Verifier {
    Verifier::open(config(server, folder, "2s")).await.unwrap()
}

/// Waits for an answer without counting as use.
async fn until(verifier: &Verifier, key: &str, wanted: Result<(), Refusal>) {
    let looking = async {
        while verifier.probe(key, &[], None).outcome.map(|_| ()) != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.expect("the answer in time");
}

/// On a runtime of one thread, as a service may have it: what keeps the table has threads of its own.
#[tokio::test]
async fn a_verifier_follows_answers_and_reports() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, admin, mut history)) = begin(folder.path()).await else { return };
    let verifier = open(&server, folder.path()).await;
    let active = history.issue("active").await;
    assert_eq!(verifier.verify(&active, &[], None).outcome, Err(Refusal::NotReady));
    let early = verifier.ready(Duration::from_millis(300)).await.unwrap_err();
    assert!(early.to_string().starts_with("e1 is not"), "{early}");

    history.add_edge().await;
    verifier.ready(PATIENCE).await.unwrap();
    until(&verifier, &active, Ok(())).await;
    let identity = verifier.verify(&active, &[], None).outcome.unwrap();
    assert_eq!((identity.tenant(), identity.client(), identity.version.0), ("t", "active", 1));
    let asked = verifier.clone();
    let key = active.clone();
    std::thread::spawn(move || (0..41).for_each(|_| drop(asked.verify(&key, &[], None)))).join().unwrap();
    assert_eq!(verifier.verify(&active, &["write"], None).outcome, Err(Refusal::InsufficientScope));
    assert_eq!(verifier.verify("kw_live_x", &[], None).outcome, Err(Refusal::Malformed));
    history.revoke("active").await;
    until(&verifier, &active, Err(Refusal::Revoked)).await;
    let metrics = verifier.metrics();
    assert!(metrics.contains(r#"outcome="refused",reason="insufficient_scope"} 1"#), "{metrics}");

    let second =
        Verifier::open(config(&server, folder.path(), "2s")).await.err().expect("the folder is held");
    assert!(format!("{second:#}").contains("held by another process"), "{second:#}");
    assert!(verifier.close().await && !verifier.close().await);
    assert_eq!(verifier.verify(&active, &[], None).outcome, Err(Refusal::NotReady));
    assert_eq!(verifier.unready(), Some("stopping"));
    drop(verifier);
    let found = reports(&admin).await;
    assert_eq!(found.iter().map(|report| report.number).collect::<Vec<_>>(), numbers(found.len()));
    assert_eq!(found.iter().flat_map(|report| &report.uses).map(|each| each.uses).sum::<u64>(), 42);
    let last = found.last().unwrap();
    assert!(last.goodbye);

    let verifier = open(&server, folder.path()).await;
    verifier.ready(PATIENCE).await.unwrap();
    assert!(verifier.close().await);
    let again = reports(&admin).await;
    assert_eq!(again[0].continues.unwrap().number, last.number, "it goes on where the first ended");
}

#[tokio::test]
async fn a_verifier_serves_on_while_the_bus_is_away_and_after_it_is_dropped_another_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, _admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let (active, strict) = (history.issue("active").await, history.issue("strict").await);
    history.make_strict("strict").await;
    let verifier = open(&server, folder.path()).await;
    verifier.ready(PATIENCE).await.unwrap();
    assert!(verifier.verify(&strict, &[], None).outcome.is_ok());

    server.kill();
    until(&verifier, &strict, Err(Refusal::Stale)).await;
    let answered = verifier.verify(&active, &[], None);
    assert!(answered.outcome.is_ok() && answered.stale_for.is_some());
    drop(verifier);
    let verifier = another(&server, folder.path()).await;
    assert!(verifier.verify(&active, &[], None).outcome.is_ok(), "from what the first one kept");
    assert!(!verifier.close().await, "nobody has acknowledged it");
}

/// What a dropped verifier left running ends in its own time.
async fn another(server: &Server, folder: &Path) -> Verifier {
    let opening = async {
        loop {
            if let Ok(verifier) = Verifier::open(config(server, folder, "2s")).await {
                return verifier;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.expect("the folder is given back")
}

/// The threads that keep verifiers' tables.
fn threads() -> BTreeSet<String> {
    let all = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name = |path: &Path| std::fs::read_to_string(path.join("comm")).unwrap_or_default();
    let own = all.filter(|task| name(&task.path()).starts_with("keywheel-edge"));
    own.map(|task| task.file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn the_threads_of_a_verifier_end_with_the_last_of_its_clones() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, _admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let active = history.issue("active").await;
    let before = threads();
    let verifier = open(&server, folder.path()).await;
    let last = verifier.clone();
    drop(verifier);
    last.ready(PATIENCE).await.unwrap();
    until(&last, &active, Ok(())).await;
    let own: BTreeSet<String> = threads().difference(&before).cloned().collect();
    assert!(!own.is_empty());
    drop(last);
    let ending = async {
        while !threads().is_disjoint(&own) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ending).await.expect("they end");
}
