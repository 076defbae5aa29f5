//! Databases that are damaged, at start and under way: never a wrong answer, and no lasting harm.

use crate::begin;
use crate::history::History;
use crate::process::Process;
use keywheel_bus::Bus;
use keywheel_bus::connect::read_signers;
use keywheel_domain::verdict::{Freshness, Verdict};
use keywheel_domain::{At, Kid, Span};
use keywheel_edge::note::{self, FreshnessNote};
use keywheel_edge::storage;
use keywheel_edge::verify::{Asked, check};
use keywheel_runtime::clock;
use keywheel_table::fold::Head;
use keywheel_table::{Answers, Message};
use keywheel_token::Brand;
use keywheel_wire::signers::Signers;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const DATABASE: &str = "edge/edge.db";

/// By another process, as an accident would: a file that is opened and closed by this one loses the
/// locks that SQLite has on it.
fn sh(folder: &Path, command: &str) {
    let done = Command::new("sh").current_dir(folder).args(["-c", command]).output().unwrap();
    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Flips a bit of every place in the journal where the kid of `key` stands.
fn flip_row(folder: &Path, key: &str) {
    sh(folder, "cp edge/edge.db-wal copy");
    let bytes = std::fs::read(folder.join("copy")).unwrap();
    let kid = key.split('_').nth(2).unwrap().get(..10).unwrap();
    let kid = Kid::parse(kid).unwrap().number().to_be_bytes();
    let found: Vec<usize> = (0..bytes.len() - 8).filter(|at| bytes[*at..*at + 8] == kid).collect();
    assert!(!found.is_empty(), "the row is not in the journal");
    for at in found {
        let byte = bytes[at + 3] ^ 1;
        sh(
            folder,
            &format!("printf '\\{byte:03o}' | dd of={DATABASE}-wal bs=1 seek={} conv=notrunc", at + 3),
        );
    }
}

async fn alarms(process: &Process) -> u64 {
    process.metric("alarms_total{kind=\"damaged\"}").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_damaged_under_way_is_rebuilt_while_the_table_answers() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut server, admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let (active, gone) = (history.issue("active").await, history.issue("gone").await);
    history.revoke("gone").await;
    let process = Process::start(&server, folder.path(), "60s").await;
    process.until_ready(true).await;
    let damages = [
        "flip",
        "rm edge/edge.db-wal",
        "rm edge/edge.db",
        ": > edge/edge.db-wal",
        "cp edge/edge.db old && mv old edge/edge.db",
    ];
    for (n, damage) in damages.into_iter().enumerate() {
        let before = alarms(&process).await;
        match damage {
            "flip" => flip_row(folder.path(), &active),
            command => sh(folder.path(), command),
        }
        let began = std::time::Instant::now();
        while alarms(&process).await == before {
            assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 401), "{damage}");
            assert!(began.elapsed() < Duration::from_secs(20), "not found: {damage}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        println!("{damage}: found after {:?}", began.elapsed());
        let late = history.issue(&format!("late-{n}")).await;
        process.until_check(&late, 200).await;
        assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 401), "{damage}");
        let pulse = acknowledged(&admin).await;
        assert_eq!(pulse, admin.head().await.unwrap().seq, "{damage}");
    }
    process.until_ready(true).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    // What was rebuilt last is whole: it answers by itself.
    server.kill();
    process.stop().await.unwrap();
    let process = Process::start(&server, folder.path(), "60s").await;
    assert_eq!((process.check(&active).await, process.check(&gone).await), (200, 401));
    process.stop().await.unwrap();
}

/// The watermark that the edge's pulses come to show.
async fn acknowledged(admin: &Bus) -> u64 {
    let edge = keywheel_domain::EdgeId::parse("e1").unwrap();
    let head = admin.head().await.unwrap().seq;
    for _ in 0..100 {
        let watermark = admin.last_pulse(&edge).await.unwrap().unwrap().pulse.watermark;
        if watermark == head {
            return watermark;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    0
}

/// What is asked in each trial, and what is right at each position of the log.
struct Oracle {
    signers: Arc<Signers>,
    keys: Vec<String>,
    log: Vec<Message>,
    right: Vec<(Head, Vec<Verdict>)>,
}

impl Oracle {
    async fn of(history: &mut History, admin: &Bus, signers: Arc<Signers>) -> Oracle {
        history.add_edge().await;
        let mut keys = vec!["kw_live_x".to_owned()];
        for n in 0..12 {
            let client = format!("c{n}");
            keys.push(history.issue(&client).await);
            match n % 4 {
                0 => history.revoke(&client).await,
                1 => history.retire(&client).await,
                2 => history.make_strict(&client).await,
                _ => 0,
            };
        }
        let log = admin.page(1, None).await.unwrap();
        let mut oracle = Oracle { signers, keys, log, right: Vec::new() };
        let mut fold = storage::placeholder(&oracle.signers).unwrap();
        for at in 0..=oracle.log.len() {
            fold.apply(&oracle.log[at.saturating_sub(1)..at], &[]).unwrap();
            let said = oracle.ask(&fold.answers().unwrap());
            oracle.right.push((fold.head(), said));
        }
        oracle
    }

    fn ask(&self, answers: &Answers) -> Vec<Verdict> {
        let stale = Freshness::Stale { age: Span::secs(60) };
        let one = |key: &String| {
            let shown = keywheel_token::look(key.as_bytes(), &Brand::default());
            check(answers, &Asked { shown, scopes: &[], from: None }, stale, At(1_800_000_000_001)).0
        };
        self.keys.iter().map(one).collect()
    }

    /// `image`: half in the database, half in its journal, which hides the first; `older`: a copy of
    /// before; `closed`: all in the database.
    fn write(&self, folder: &Path) {
        let note = || {
            let (boot_ms, wall_ms) = (clock::boot_ms(), clock::wall_ms());
            let machine_boot = clock::machine_boot();
            note::write(&FreshnessNote { machine_boot, boot_ms, wall_ms, wall_high_ms: wall_ms })
        };
        sh(folder, "mkdir -p made");
        let (first, second) = self.log.split_at(self.log.len() / 2);
        for half in [first, second] {
            let mut opened = storage::open(&folder.join("made"), 0, &self.signers).unwrap();
            for batch in half.chunks(3) {
                opened.fold.apply(batch, &[(note::FRESHNESS, note())]).unwrap();
            }
            let name = if half.as_ptr() == first.as_ptr() { "older" } else { "image" };
            sh(folder, &format!("mkdir {name}; cp made/edge.db made/edge.db-wal {name}"));
        }
        sh(folder, "mkdir closed; cp made/edge.db closed");
    }
}

/// Numbers that follow from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// Damages the copy in `edge`, and says how.
fn damage(folder: &Path, dice: &mut Dice) -> String {
    let (image, name) =
        [("closed", "edge.db"), ("image", "edge.db"), ("image", "edge.db-wal")][dice.below(3)];
    sh(folder, &format!("rm -rf edge; cp -r {image} edge"));
    let path = folder.join("edge").join(name);
    let mut bytes = std::fs::read(&path).unwrap();
    let at = dice.below(bytes.len());
    let what = match dice.below(10) {
        0 => {
            bytes.truncate(at);
            "cut off"
        }
        1 => {
            let page = at / 4096 * 4096;
            let end = (page + 4096).min(bytes.len());
            bytes[page..end].fill(0);
            "a page of nothing"
        }
        2 => {
            sh(folder, "rm -f edge/edge.db-wal");
            return "journal lost".to_owned();
        }
        3 => {
            sh(folder, "cp older/edge.db-wal edge/edge.db-wal");
            return "a journal of before".to_owned();
        }
        4 => {
            sh(folder, "rm -r edge; cp -r older edge");
            return "a whole copy of before".to_owned();
        }
        5 => {
            bytes.clear();
            "emptied"
        }
        _ => {
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(8);
            }
            "flipped bits"
        }
    };
    std::fs::write(&path, bytes).unwrap();
    format!("{what} in {name} at {at}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_damages_and_never_a_wrong_answer() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let Some((server, admin, mut history)) = begin(folder).await else { return };
    let oracle = Oracle::of(&mut history, &admin, read_signers(&server.signers()).unwrap()).await;
    oracle.write(folder);
    let seed = clock::boot_ms();
    let mut dice = Dice(seed);
    let (mut aside, mut later, mut served, mut before) = (0, 0, 0, 0);
    for trial in 0..200 {
        let what = format!("seed {seed}, trial {trial}: {}", damage(folder, &mut dice));
        let opened = storage::open(&folder.join("edge"), 0, &oracle.signers).expect(&what);
        let head = opened.fold.head();
        let (right_head, right) = &oracle.right[usize::try_from(head.watermark).unwrap()];
        assert_eq!((&head, &oracle.ask(&opened.answers)), (right_head, right), "{what}");
        aside += usize::from(opened.set_aside.is_some());
        served += usize::from(opened.freshness.is_some());
        before += usize::from(head.watermark > 0 && head.watermark < oracle.log.len() as u64);
        let mut fold = opened.fold;
        let rest = usize::try_from(head.watermark).unwrap().saturating_sub(1);
        match fold.apply(&oracle.log[rest..], &[]) {
            Ok(_) => {}
            Err(error) if error.is_damage() => {
                later += 1;
                drop(fold);
                fold = storage::begin_anew(&folder.join("edge"), 1, &oracle.signers).unwrap();
                fold.apply(&oracle.log, &[]).unwrap();
            }
            Err(error) => panic!("{what}: {error}"),
        }
        let (last_head, last) = oracle.right.last().unwrap();
        assert_eq!((&fold.head(), &oracle.ask(&fold.answers().unwrap())), (last_head, last), "{what}");
    }
    println!(
        "seed {seed}: 200 damages: {aside} set aside, {later} found later, {served} served on, {before} from before"
    );
    assert!(aside > 0 && served > 0);
}
