//! How long an edge that has nothing takes until it answers for every key: with a snapshot, beside the bare fetching of
//! its bytes, and with the log.

use crate::figure::{Aim, Figure, Scale};
use crate::log::{self, Log};
use crate::replay;
use crate::server::Server;
use crate::verify::size;
use anyhow::Context as _;
use keywheel_bus::snapshots::{Put, oldest};
use keywheel_bus::{Bus, SharedFold};
use keywheel_domain::{At, EdgeId, Span};
use keywheel_edge::follow::Replica;
use keywheel_edge::metrics::Metrics;
use keywheel_edge::start;
use keywheel_edge::table::{Clocks, Table};
use keywheel_runtime::clock;
use keywheel_table::fold::Head;
use keywheel_table::snapshot::export;
use keywheel_table::{Fold, Message, Options, Weighed};
use keywheel_wire::signers::Signers;
use keywheel_wire::snapshot::Manifest;
use keywheel_wire::subject::{self, Service};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };
const AT_ONCE: usize = 4000;

/// Measures with a nats-server of its own.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let keyrings = scale.pick(1_000_000, 1000);
    let mut log = Log::of(keyrings, scale.seed)?;
    let signers = log.signers()?;
    let messages = log.write(keyrings * 2)?;
    let count = messages.len();
    let folder = tempfile::tempdir()?;
    let mut server = Server::start();
    // The one user takes the propagator's part: it signs the manifest.
    server.take_for(Service::Propagator);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (manifest, fetched, by_snapshot, by_log) = runtime.block_on(async {
        replay::store(&server, &messages).await?;
        let path = folder.path().join("propagator.db");
        fold(messages, &signers, &path)?;
        let bus = server.bus("bench").await;
        let manifest = put(&bus, &path).await?;
        let fetched = fetch(&bus, &manifest, folder.path()).await?;
        let by_snapshot = cold(&bus, &signers, keyrings, folder.path()).await?;
        let rate = replay::replay(&server, &signers, folder.path(), count).await?;
        anyhow::Ok((manifest, fetched, by_snapshot, count as f64 / rate))
    })?;
    println!("a snapshot of {} bytes, {} a key", manifest.size, manifest.size / keyrings as u64);
    Ok(vec![
        Figure {
            what: format!("cold start with a snapshot of {} keys", size(keyrings)),
            unit: "s",
            ours: by_snapshot.as_secs_f64(),
            floor: Some(("fetching its bytes".to_owned(), fetched.as_secs_f64())),
            aim: if scale.quick { Aim::Report } else { Aim::AtMost(3.0) },
        },
        Figure {
            what: format!("cold start with the log of {} events", size(count)),
            unit: "s",
            ours: by_log,
            floor: None,
            aim: Aim::Report,
        },
    ])
}

/// The propagator's fold, without a bus.
fn fold(messages: Vec<Message>, signers: &Arc<Signers>, path: &Path) -> anyhow::Result<()> {
    let mut fold = Fold::open(path, OPTIONS, Arc::clone(signers))?;
    let mut left = messages.into_iter();
    loop {
        let some: Vec<Message> = left.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        let weighed = log::on_all_cores(some, |message| Weighed::new(message, signers));
        let applied = fold.apply_weighed(weighed, &[])?;
        anyhow::ensure!(applied.alarms.is_empty(), "{:?}", applied.alarms);
    }
}

async fn put(bus: &Bus, database: &Path) -> anyhow::Result<Manifest> {
    let draft = database.with_extension("snapshot");
    let mut to = BufWriter::new(File::create(&draft)?);
    let head = export(database, &mut to)?;
    to.flush()?;
    let (created, held) = (bus.head().await?.created, bus.slots().await?);
    let over = oldest(&held).context("a slot")?;
    let mut from = BufReader::new(File::open(&draft)?);
    match bus.put_snapshot(over, &head, created, At(0), &mut from).await? {
        Put::Stored(manifest) => Ok(*manifest),
        Put::Contended => anyhow::bail!("nobody else writes"),
    }
}

async fn fetch(bus: &Bus, manifest: &Manifest, folder: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let mut to = File::create(folder.join("floor"))?;
    bus.read_snapshot(manifest, |chunk| to.write_all(chunk)).await?.map_err(anyhow::Error::msg)?;
    Ok(began.elapsed())
}

/// As an edge begins, from an empty folder until every key answers.
async fn cold(bus: &Bus, signers: &Arc<Signers>, keys: usize, folder: &Path) -> anyhow::Result<Duration> {
    let folder = folder.join("cold");
    std::fs::create_dir(&folder)?;
    let edge = EdgeId::parse("bench")?;
    let clocks =
        Clocks { boot_ms: clock::boot_ms, wall_ms: clock::wall_ms, machine_boot: clock::machine_boot() };
    let table = Arc::new(Table::new(edge.clone(), Span::hours(24), clocks));
    let began = Instant::now();
    let fold = SharedFold::new(Fold::open(&folder.join("edge.db"), OPTIONS, Arc::clone(signers))?);
    let metrics = Arc::new(Metrics::new());
    let replica = Replica::new(Arc::clone(&table), fold, metrics, folder, Arc::clone(signers));
    let begun = start::begin(bus, &subject::edge_durable(&edge), &replica, Head::default()).await?;
    let took = began.elapsed();
    anyhow::ensure!(begun && table.status().keys == keys, "{:?}", table.status());
    Ok(took)
}
