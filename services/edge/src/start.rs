//! The beginning of an empty table: with the newest snapshot that the log confirms, so that it costs the table and not
//! the history. A snapshot gives no freshness: that takes a handshake, as ever.

use crate::follow::Replica;
use crate::metrics::Alarm;
use anyhow::Context as _;
use keywheel_bus::follow::{confirms, created_note};
use keywheel_bus::snapshots::position;
use keywheel_bus::{Bus, BusError};
use keywheel_table::TableError;
use keywheel_table::fold::Head;
use keywheel_table::snapshot::FORMAT;
use keywheel_wire::snapshot::Manifest;
use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom, Write};
use std::path::Path;

/// Where what is fetched lies until it is taken over.
const FETCHED: &str = "edge.snapshot";

/// Why a snapshot was not begun with.
#[derive(Debug)]
enum Unfit {
    /// It contradicts the log, or itself: somebody should look at it.
    Refused(String),
    /// It is sound as far as is known, and of no use here.
    Useless(String),
}

/// Takes the newest snapshot over that is good for a table of which `known` answers already; whether there was one.
///
/// # Errors
/// When the bus or the disk gives it up half-way; the table is then as empty as it was.
pub async fn begin(bus: &Bus, durable: &str, replica: &Replica, known: Head) -> anyhow::Result<bool> {
    for read in bus.manifests().await? {
        let taken = match read {
            Ok(manifest) => take(bus, durable, replica, known, &manifest).await?,
            Err(reason) => Err(Unfit::Refused(reason)),
        };
        match taken {
            Ok(()) => return Ok(true),
            Err(Unfit::Useless(reason)) => tracing::info!(%reason, "a snapshot is passed over"),
            Err(Unfit::Refused(reason)) => {
                replica.metrics.alarm(Alarm::Snapshot);
                tracing::error!(%reason, "a snapshot is refused; trying an older one, then the log itself");
            }
        }
    }
    Ok(false)
}

async fn take(
    bus: &Bus,
    durable: &str,
    replica: &Replica,
    known: Head,
    manifest: &Manifest,
) -> anyhow::Result<Result<(), Unfit>> {
    let (head, created) = (position(&manifest.metadata), manifest.metadata.log_created.0);
    if let Err(reason) = of_use(manifest, known) {
        return Ok(Err(Unfit::Useless(reason)));
    }
    if let Err(reason) = confirms(bus, durable, head, created).await? {
        return Ok(Err(Unfit::Refused(reason)));
    }
    let path = replica.data_dir().join(FETCHED);
    let fetched = fetch(bus, manifest, &path).await;
    let taken = fetched.and_then(|fetched| match fetched {
        Ok(file) => {
            let imported = tokio::task::block_in_place(|| {
                let mut from = BufReader::new(file);
                replica.fold.lock().import(&mut from, &head, &[created_note(created)])
            });
            match imported {
                Err(TableError::Snapshot(reason)) => Ok(Err(Unfit::Refused(reason))),
                imported => Ok(Ok(imported.context("taking a snapshot over")?)),
            }
        }
        Err(reason) => Ok(Err(Unfit::Refused(reason))),
    });
    // What stays is written over by the next.
    drop(std::fs::remove_file(&path));
    if matches!(taken, Ok(Ok(()))) {
        tracing::info!(watermark = head.watermark, bytes = manifest.size, "the table begins with a snapshot");
        replica.metrics.begun();
        replica.begun(head);
    }
    taken
}

/// Whether it is worth fetching. What answers already is only ever replaced by a table that has come as far by the
/// log, which is held against it there.
fn of_use(manifest: &Manifest, known: Head) -> Result<(), String> {
    let (at, format) = (manifest.metadata.watermark.get(), manifest.metadata.format.get());
    if format != u64::from(FORMAT) {
        return Err(format!("its format is {format}, this program reads {FORMAT}"));
    }
    if known.watermark > 0 && at > known.watermark {
        return Err(format!("it stands at {at}, beyond {} that is known here", known.watermark));
    }
    Ok(())
}

/// Into a file, chunk by chunk; its content is what was signed, or the inner error says why not.
async fn fetch(bus: &Bus, manifest: &Manifest, path: &Path) -> anyhow::Result<Result<File, String>> {
    let open = || File::options().read(true).write(true).create(true).truncate(true).open(path);
    let mut file = open().with_context(|| format!("cannot write {}", path.display()))?;
    let read: Result<Result<(), String>, BusError> =
        bus.read_snapshot(manifest, |chunk| file.write_all(chunk)).await;
    if let Err(reason) = read? {
        return Ok(Err(reason));
    }
    file.seek(SeekFrom::Start(0)).context("reading a snapshot")?;
    Ok(Ok(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::snapshot::{Count, read};

    #[test]
    fn a_table_that_answers_is_not_overtaken_by_a_snapshot() {
        let (_, mut manifest) = read(include_bytes!("../../../schemas/golden/v1/manifest.json")).unwrap();
        manifest.metadata.format = Count::of(u64::from(FORMAT)).unwrap();
        let known = |watermark| Head { watermark, ..Head::default() };
        let use_at = |manifest: &Manifest, watermark| of_use(manifest, known(watermark)).is_ok();
        assert!(use_at(&manifest, 0), "nothing is known yet");
        assert!(!use_at(&manifest, 4710), "what lies between cannot be held against the log");
        assert!(use_at(&manifest, 4711) && use_at(&manifest, 9000));
        manifest.metadata.format = Count::of(u64::from(FORMAT) + 1).unwrap();
        assert!(!use_at(&manifest, 0));
    }
}
