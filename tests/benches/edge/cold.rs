//! What an edge's own database takes: on the disk, and in time from its start until it answers.

use crate::figure::{Aim, Figure, Scale};
use crate::keys;
use crate::log::{self, Log};
use crate::verify::size;
use anyhow::Context as _;
use keywheel_edge::storage;
use keywheel_table::{Fold, Options, Weighed};
use rusqlite::Connection;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::time::{Duration, Instant};

const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };
const AT_ONCE: usize = 4000;
/// Digest, hash of the event before, kid and rotation: no packing makes these smaller.
const RANDOM_BYTES: f64 = 32.0 + 32.0 + 8.0 + 16.0;

/// Measures with one key on each keyring, issued and activated in no order.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 2000);
    let folder = tempfile::tempdir()?;
    let mut log = Log::of(count, scale.seed)?;
    let signers = log.signers()?;
    let path = folder.path().join("edge.db");
    let mut fold = Fold::open(&path, OPTIONS, signers.clone())?;
    loop {
        let messages = log.write(AT_ONCE)?;
        if messages.is_empty() {
            break;
        }
        let weighed = log::on_all_cores(messages, |message| Weighed::new(message, &signers));
        let applied = fold.apply_weighed(weighed, &[])?;
        anyhow::ensure!(applied.alarms.is_empty(), "{:?}", applied.alarms);
    }
    drop(fold);
    let per_key = bytes(&path)? / count as f64;
    let aims = if scale.quick { [Aim::Report; 2] } else { [Aim::AtMost(160.0), Aim::AtMost(1000.0)] };
    let (floor, ours) = (read_alone(&path)?, start(folder.path(), count, &signers)?);
    Ok(vec![
        Figure {
            what: format!("file per key, {} keys", size(count)),
            unit: "bytes",
            ours: per_key,
            floor: Some(("digest, prev, kid and rotation alone".to_owned(), RANDOM_BYTES)),
            aim: aims[0],
        },
        Figure {
            what: format!("cold start with its own database of {} keys", size(count)),
            unit: "ms",
            ours: ours.as_secs_f64() * 1e3,
            floor: Some((
                "reading and hashing the rows alone, one thread".to_owned(),
                floor.as_secs_f64() * 1e3,
            )),
            aim: aims[1],
        },
    ])
}

/// The database's own pages, once its journal is in it.
fn bytes(path: &Path) -> anyhow::Result<f64> {
    let connection = Connection::open(path)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let pages: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
    let page: u32 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    anyhow::ensure!(
        std::fs::metadata(path)?.len() == u64::from(pages) * u64::from(page),
        "all are in the file"
    );
    Ok(f64::from(pages) * f64::from(page))
}

fn read_alone(path: &Path) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let connection = Connection::open(path)?;
    let mut select = connection.prepare("SELECT place, row FROM address")?;
    let mut rows = select.query([])?;
    let mut all = [0; 32];
    while let Some(row) = rows.next()? {
        let hash =
            Sha256::new().chain_update(row.get_ref(0)?.as_str()?).chain_update(row.get_ref(1)?.as_blob()?);
        all.iter_mut().zip(hash.finalize()).for_each(|(byte, other)| *byte ^= other);
    }
    std::hint::black_box(all);
    Ok(began.elapsed())
}

/// Until the table answers for a key; the file is in the machine's cache, as after a restart of the edge.
fn start(
    folder: &Path,
    count: usize,
    signers: &std::sync::Arc<keywheel_wire::signers::Signers>,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let opened = storage::open(folder, 0, signers)?;
    anyhow::ensure!(opened.set_aside.is_none(), "{:?}", opened.set_aside);
    let keys = opened.answers.keys();
    let app = keys::app(opened.answers);
    let _ = keys::ask(&app, b"kw_live_x");
    let took = began.elapsed();
    anyhow::ensure!(keys == count, "{keys} of {count} keys");
    app.table.status().head.watermark.checked_sub(1).context("it stands somewhere")?;
    Ok(took)
}
