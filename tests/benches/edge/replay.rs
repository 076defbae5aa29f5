//! How fast an edge without a database of its own reads the log, beside what it cannot do without: taking
//! the messages from the bus, checking their signatures on all cores, writing rows. On a machine of few cores
//! these three share them, while each floor has them for itself.

use crate::figure::{Aim, Figure, Scale};
use crate::log::{self, Log};
use crate::server::Server;
use crate::verify::size;
use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::PullConsumer};
use futures_util::StreamExt;
use keywheel_bus::{Bus, Follower, SharedFold, topology};
use keywheel_domain::{EdgeId, Span};
use keywheel_edge::follow::Replica;
use keywheel_edge::metrics::Metrics;
use keywheel_edge::table::{Clocks, Table};
use keywheel_runtime::clock;
use keywheel_table::{Fold, Message, Options};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };
/// Messages of one transaction of the floor, and of one pull.
const AT_ONCE: usize = 4000;
/// Messages that the bus stores together.
const STORED: usize = 500;
/// What a usual row has.
const ROW_BYTES: usize = 110;

/// Measures with a nats-server of its own.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let keyrings = scale.pick(500_000, 1000);
    let mut log = Log::of(keyrings, scale.seed)?;
    let signers = log.signers()?;
    let messages = log.write(keyrings * 2)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let server = Server::start();
    let (consumed, ours) = runtime.block_on(async {
        store(&server, &messages).await?;
        let consumed = consume(&server, messages.len()).await?;
        let ours = replay(&server, &signers, folder.path(), messages.len()).await?;
        anyhow::Ok((consumed, ours))
    })?;
    let (checked, written) = (check(&messages, &signers), write(&messages)?);
    println!(
        "per second: consumed {consumed:.0}, signatures checked {checked:.0} on {} cores, rows written {written:.0}",
        log::cores()
    );
    let floors = [
        ("bare consume", consumed),
        ("bare signature checks on all cores", checked),
        ("bare SQLite rows", written),
    ];
    let slowest = floors.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).context("three")?;
    Ok(vec![Figure {
        what: format!("replay of {} events into an empty edge", size(messages.len())),
        unit: "events/s",
        ours,
        floor: Some((format!("the slowest of three: {}", slowest.0), slowest.1)),
        aim: if scale.quick { Aim::Report } else { Aim::RatioAtLeast(0.8) },
    }])
}

/// So many in the time since then, a second.
pub fn rate(count: usize, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// Has the bus store a log, and makes the durables `bench` and `floor`.
pub async fn store(server: &Server, messages: &[Message]) -> anyhow::Result<()> {
    let bus = server.bus("bench").await;
    topology::ensure(&bus, 1, 1).await?;
    for edge in ["bench", "floor"] {
        topology::ensure_edge(&bus, &EdgeId::parse(edge)?).await?;
    }
    let context = server.stranger().await;
    let client = context.client();
    for batch in messages.chunks(STORED) {
        let id = format!("batch-{}", batch[0].seq);
        for (at, message) in batch.iter().enumerate() {
            let signed = message.signed.as_ref().context("signed")?;
            let mut headers = HeaderMap::new();
            headers.insert(subject::HEADER_SIGNER, signed.by.as_str());
            headers.insert(subject::HEADER_SIGNATURE, signed.signature.as_str());
            headers.insert(subject::HEADER_BATCH, id.as_str());
            headers.insert(subject::HEADER_BATCH_SEQUENCE, (at + 1).to_string());
            let (to, payload) = (message.subject.clone(), message.payload.clone().into());
            if at + 1 < batch.len() {
                client.publish_with_headers(to, headers, payload).await?;
                continue;
            }
            headers.insert(subject::HEADER_BATCH_COMMIT, "1");
            let stored = client.request_with_headers(to, headers, payload).await?.payload;
            let stored: jetstream::response::Response<jetstream::publish::PublishAck> =
                serde_json::from_slice(&stored)?;
            anyhow::ensure!(
                matches!(&stored, jetstream::response::Response::Ok(ack) if ack.sequence == message.seq),
                "not stored: {stored:?}"
            );
        }
    }
    Ok(())
}

/// Takes all of it from a durable, and does nothing with it.
pub async fn consume(server: &Server, count: usize) -> anyhow::Result<f64> {
    let context = server.stranger().await;
    let durable = subject::edge_durable(&EdgeId::parse("floor")?);
    let consumer: PullConsumer = context.get_consumer_from_stream(durable, subject::EVENTS).await?;
    let began = Instant::now();
    let mut messages = consumer.stream().max_messages_per_batch(AT_ONCE).messages().await?.take(count);
    while let Some(message) = messages.next().await {
        std::hint::black_box(message?);
    }
    Ok(rate(count, began))
}

/// As an edge does it, with the table that answers.
pub async fn replay(
    server: &Server,
    signers: &Arc<Signers>,
    folder: &Path,
    count: usize,
) -> anyhow::Result<f64> {
    let mut config = server.config();
    config.signers = Arc::clone(signers);
    let bus = Bus::connect(&config.options("bench", true)).await?;
    let edge = EdgeId::parse("bench")?;
    let clocks =
        Clocks { boot_ms: clock::boot_ms, wall_ms: clock::wall_ms, machine_boot: clock::machine_boot() };
    let table = Arc::new(Table::new(edge.clone(), Span::hours(24), clocks));
    let began = Instant::now();
    let fold = SharedFold::new(Fold::open(&folder.join("edge.db"), OPTIONS, Arc::clone(signers))?);
    let metrics = Arc::new(Metrics::new());
    let replica =
        Replica::new(Arc::clone(&table), fold.clone(), metrics, folder.to_owned(), Arc::clone(signers));
    let follower = Follower::new(bus, fold.clone(), subject::edge_durable(&edge));
    let mut visible = table.visible();
    let reached = async move { visible.wait_for(|visible| *visible >= count as u64).await.map(drop) };
    follower.run(replica, async { reached.await.expect("the table outlives this") }).await?;
    let ours = rate(count, began);
    anyhow::ensure!(table.status().keys == count / 2, "{:?}", table.status());
    Ok(ours)
}

/// Checks each signature, on all cores.
pub fn check(messages: &[Message], signers: &Signers) -> f64 {
    let began = Instant::now();
    let checked = log::on_all_cores(messages.iter().collect(), |message: &Message| {
        signers
            .author(
                keywheel_wire::signers::When::At(message.seq),
                message.signed.as_ref(),
                &message.subject,
                &message.payload,
            )
            .is_ok()
    });
    let rate = rate(messages.len(), began);
    assert!(checked.into_iter().all(|is_known| is_known));
    rate
}

/// Rows of the usual size in the same order and the same transactions, each read before it is written.
fn write(messages: &[Message]) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut connection = Connection::open(folder.path().join("floor.db"))?;
    let settings = [
        ("journal_mode", "WAL"),
        ("synchronous", "FULL"),
        ("wal_autocheckpoint", "20000"),
        ("cache_size", "-32768"),
    ];
    for (pragma, value) in settings {
        connection.pragma_update(None, pragma, value)?;
    }
    connection.execute_batch("CREATE TABLE address (place TEXT PRIMARY KEY, row BLOB) WITHOUT ROWID")?;
    let began = Instant::now();
    for batch in messages.chunks(AT_ONCE) {
        let transaction = connection.transaction()?;
        let places: BTreeSet<&str> = batch.iter().map(|message| message.subject.as_str()).collect();
        {
            let mut select = transaction.prepare_cached("SELECT row FROM address WHERE place = ?1")?;
            let mut insert = transaction.prepare_cached("INSERT OR REPLACE INTO address VALUES (?1, ?2)")?;
            for place in places {
                std::hint::black_box(select.exists([place])?);
                insert.execute(params![place, [7_u8; ROW_BYTES]])?;
            }
        }
        transaction.commit()?;
    }
    Ok(rate(messages.len(), began))
}
