//! Snapshots of the fold, so that an edge's cold start costs the table and not the history: by schedule, and when
//! somebody asks.

use keywheel_bus::ask::Registered;
use keywheel_bus::snapshots::{self, Held, Put};
use keywheel_bus::{BusError, Gate, station};
use keywheel_domain::{At, Span};
use keywheel_runtime::Shutdown;
use keywheel_table::TableError;
use keywheel_table::fold::Head;
use keywheel_table::snapshot::export;
use keywheel_wire::snapshot::Manifest;
use keywheel_wire::text::Length;
use serde::Deserialize;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::Mutex;

/// How often it is looked whether one is due, where the schedule does not ask for more.
const LOOK_MS_MAX: u64 = 5000;
const LOOK_MS_MIN: u64 = 50;

/// When a snapshot is due. The table `snapshot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// After so many messages since the last one.
    pub events: u64,
    /// After this time, when there is anything new.
    #[serde(deserialize_with = "station::lease")]
    pub every: Length,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { events: 100_000, every: Length(Span::secs(15 * 60)) }
    }
}

impl Schedule {
    /// Whether a fold that stands at `own` of a log that ends at `end` is to be written, where `last` was written
    /// before. One that still has far to go would be written again and again on its way.
    pub fn is_due(&self, last: Option<&Manifest>, own: u64, end: u64, now: At) -> bool {
        let Some(last) = last else { return own > 0 && own == end };
        let new = own.saturating_sub(last.metadata.watermark.get());
        let is_old = now.since(last.mtime.0) >= self.every.0;
        let is_near = end.saturating_sub(own) < self.events;
        is_near && (new >= self.events || new > 0 && is_old)
    }

    fn look_every(&self) -> Duration {
        Duration::from_millis((self.every.0.0 / 4).clamp(LOOK_MS_MIN, LOOK_MS_MAX))
    }
}

/// Writes snapshots of one propagator's fold.
pub struct Writer {
    gate: Gate,
    database: PathBuf,
    schedule: Schedule,
    /// One at a time: both who ask and the schedule write to the same draft.
    at_work: Mutex<()>,
}

impl Writer {
    /// Of the fold behind `gate`, whose file is `database`.
    pub fn new(gate: Gate, database: PathBuf, schedule: Schedule) -> Self {
        Self { gate, database, schedule, at_work: Mutex::new(()) }
    }

    /// Works until `shutdown`. What cannot be written now is written later.
    ///
    /// # Errors
    /// When the bus refuses the endpoint at which snapshots are asked for.
    pub async fn run(&self, registered: &Registered, shutdown: &Shutdown) -> Result<(), BusError> {
        tokio::select! {
            ended = self.gate.bus().answer_snapshots(registered, || self.write()) => ended?,
            () = self.by_schedule(shutdown) => return Ok(()),
        }
        // The connection is closed, and with it everything ends.
        shutdown.requested().await;
        Ok(())
    }

    async fn by_schedule(&self, shutdown: &Shutdown) {
        let mut written = None;
        while shutdown.pause(self.schedule.look_every()).await {
            let own = self.gate.fold().head().watermark;
            if written == Some(own) {
                continue;
            }
            match self.look(own).await {
                Ok(newest) => written = newest,
                Err(error) => tracing::warn!(%error, "no snapshot could be written; trying again"),
            }
        }
    }

    /// Writes one if it is due; gives the position of the newest that there is.
    async fn look(&self, own: u64) -> Result<Option<u64>, BusError> {
        let log = self.gate.bus().head().await?;
        let held = self.gate.bus().slots().await?;
        let last = newest(&held, log.created);
        let at = |manifest: &Manifest| manifest.metadata.watermark.get();
        if self.schedule.is_due(last, own, log.seq, self.gate.now()) {
            return Ok(Some(at(&self.write().await?)));
        }
        Ok(last.map(at))
    }

    /// Writes one.
    async fn write(&self) -> Result<Manifest, BusError> {
        let _alone = self.at_work.lock().await;
        let created = self.gate.fold().log_created()?;
        let Some(created) = created.filter(|_| self.gate.fold().head().watermark > 0) else {
            return Err(failed(&"the log has nothing yet"));
        };
        let draft = self.database.with_extension("snapshot");
        let (database, path) = (self.database.clone(), draft.clone());
        let exported = tokio::task::spawn_blocking(move || exported(&database, &path));
        let (head, file) = exported.await.map_err(|error| failed(&error))??;
        let held = self.gate.bus().slots().await?;
        let Some(over) = snapshots::oldest(&held) else { return Err(failed(&"there is no slot")) };
        let now = self.gate.now();
        let put = self.gate.bus().put_snapshot(over, &head, created, now, &mut BufReader::new(file)).await;
        // A draft that stays is written over by the next.
        drop(std::fs::remove_file(&draft));
        match put? {
            Put::Stored(manifest) => {
                let (slot, bytes) = (&manifest.name, manifest.size);
                tracing::info!(watermark = head.watermark, slot, bytes, "a snapshot is written");
                Ok(*manifest)
            }
            Put::Contended => Err(failed(&"another propagator is writing one; ask again")),
        }
    }
}

/// The newest that is of this log.
fn newest(held: &[Held], created: At) -> Option<&Manifest> {
    let ours = held.iter().filter_map(|held| held.manifest.as_ref());
    ours.filter(|it| it.metadata.log_created.0 == created).max_by_key(|it| it.metadata.watermark)
}

/// The whole database at one moment, in a file that begins at its beginning.
fn exported(database: &Path, draft: &Path) -> Result<(Head, File), TableError> {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(draft)?;
    let mut to = BufWriter::new(file);
    let head = export(database, &mut to)?;
    let mut file = to.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    Ok((head, file))
}

fn failed(detail: &dyn std::fmt::Display) -> BusError {
    BusError::Failed { what: "writing a snapshot", detail: detail.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::snapshot::{Count, read};

    const NOON: At = At(1_769_860_800_123);
    const RULE: Schedule = Schedule { events: 100, every: Length(Span::secs(60)) };

    fn written(watermark: u64, at: At) -> Manifest {
        let sample = include_bytes!("../../../schemas/golden/v1/manifest.json");
        let (_, mut manifest) = read(sample).unwrap();
        manifest.metadata.watermark = Count::of(watermark).unwrap();
        manifest.mtime.0 = at;
        manifest
    }

    #[test]
    fn one_is_due_after_many_events_or_with_any_after_a_while() {
        let last = written(1000, NOON);
        let due = |own, end, after| RULE.is_due(Some(&last), own, end, At(NOON.0 + after));
        assert!(!due(1099, 1099, 59_999));
        assert!(due(1100, 1100, 0), "many events");
        assert!(due(1001, 1001, 60_000), "some time");
        assert!(!due(1000, 1000, 600_000), "nothing new");
        assert!(!due(1100, 1200, 0), "on its way");
        assert!(due(1100, 1199, 0));
        assert!(!due(900, 1000, 600_000), "behind what a replica wrote");
    }

    #[test]
    fn where_there_is_none_the_first_is_written_at_the_end_of_the_log() {
        assert!(!RULE.is_due(None, 0, 0, NOON));
        assert!(!RULE.is_due(None, 5, 6, NOON));
        assert!(RULE.is_due(None, 6, 6, NOON));
    }

    #[test]
    fn the_newest_is_that_of_this_log() {
        let held = |slot, manifest| Held { slot, manifest, last_chunk: 0 };
        let slots: Vec<_> = keywheel_wire::snapshot::Slot::all().collect();
        let mut foreign = written(9000, NOON);
        foreign.metadata.log_created.0 = At(1);
        let all = [
            held(slots[0], Some(written(7, NOON))),
            held(slots[1], Some(foreign)),
            held(slots[2], Some(written(8, NOON))),
        ];
        assert_eq!(newest(&all, NOON), Some(&written(8, NOON)));
        assert_eq!(newest(&all, At(2)), None);
        assert_eq!(snapshots::oldest(&all).unwrap().slot, slots[0]);
        let broken = [all[0].clone(), held(slots[1], None), all[2].clone()];
        assert_eq!(snapshots::oldest(&broken).unwrap().slot, slots[1]);
    }
}
