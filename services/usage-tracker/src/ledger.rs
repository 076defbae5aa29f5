//! What the tracker knows, in a SQLite file of its own: the coverage of each edge, and the use of each
//! version at each edge. A report changes both in one transaction, and is taken off its queue only after
//! that; each is counted once, by its boot and number. A deleted file loses what was counted and begins
//! every edge's coverage anew, which delays proofs and falsifies none.

use crate::counted::Counted;
use crate::coverage::{Arrival, Coverage, Cut};
use keywheel_domain::key::Seen;
use keywheel_domain::undo::Refusals;
use keywheel_domain::{At, EdgeId, KeyringId, Version};
use keywheel_wire::usage::{Report, VersionRefused, VersionUse};
use rows::{coverage_of, damaged, every_coverage, keyring, put_coverage, refusals, uses};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

mod rows;

const SCHEMA: i64 = 2;
/// What a file of schema 1 lacks.
const SINCE_1: &str = include_str!("ledger/since-1.sql");
const CREATE: &str = include_str!("ledger/schema.sql");

/// Largest number and count that the database holds; no edge that keeps to the contract comes near.
const NUMBER_MAX: u64 = i64::MAX as u64;
const USES_MAX: u64 = 1 << 61;
/// How many boots of an edge are remembered, so that their late reports are counted once.
const BOOTS_MAX: u32 = 1000;

/// A report as it came from the queue.
#[derive(Clone, Copy, Debug)]
pub struct Arrived<'a> {
    /// The edge.
    pub edge: &'a EdgeId,
    /// What it says; none when it could not be read.
    pub report: Option<&'a Report>,
    /// When the bus stored it.
    pub stored_at: At,
}

/// The keyrings that reports are about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Those of which keys were used.
    pub used: BTreeSet<KeyringId>,
    /// Those of which retired keys were refused.
    pub refused: BTreeSet<KeyringId>,
}

/// One version's use at one edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UseAt {
    /// Which version.
    pub version: Version,
    /// At which edge.
    pub edge: String,
    /// First and newest use and their number.
    pub seen: Seen,
}

/// One reading of what is known, all of the same moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Of every edge that ever reported.
    pub coverage: BTreeMap<EdgeId, Coverage>,
    /// Each version's use of the keyrings that were asked for, over all edges.
    pub uses: BTreeMap<KeyringId, BTreeMap<Version, Seen>>,
}

/// The ledger.
pub struct Ledger {
    connection: Connection,
}

impl Ledger {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When SQLite cannot, or the file is of another schema.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        match connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))? {
            0 => {
                connection.execute_batch(&format!("BEGIN;{CREATE}PRAGMA user_version = {SCHEMA};COMMIT;"))?
            }
            1 => {
                connection.execute_batch(&format!("BEGIN;{SINCE_1}PRAGMA user_version = {SCHEMA};COMMIT;"))?
            }
            SCHEMA => {}
            found => anyhow::bail!(
                "{} has schema {found}, this program knows {SCHEMA}; set it aside: proofs then begin anew",
                path.display()
            ),
        }
        Ok(Self { connection })
    }

    /// Takes reports in the order in which they came: all of them or, on an error, none. Says which keyrings
    /// they are about.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn take(&mut self, arrived: &[Arrived<'_>]) -> rusqlite::Result<Told> {
        let transaction = self.connection.transaction()?;
        let mut told = Told::default();
        for one in arrived {
            take(&transaction, one, &mut told)?;
        }
        transaction.commit()?;
        Ok(told)
    }

    /// The refusals of a keyring's retired versions.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn refusals(&self, keyring: &KeyringId) -> rusqlite::Result<BTreeMap<Version, Refusals>> {
        refusals(&self.connection, keyring)
    }

    /// All keyrings of which refusals are kept.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn refused(&self) -> rusqlite::Result<BTreeSet<KeyringId>> {
        let mut select = self.connection.prepare_cached("SELECT DISTINCT tenant, client FROM refused")?;
        let rows =
            select.query_map([], |row| keyring(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?))?;
        rows.collect()
    }

    /// Forgets the refusals of a version: it is not retired, or they are of an earlier retirement.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn forget_refusals(&self, keyring: &KeyringId, version: Version) -> rusqlite::Result<()> {
        let (tenant, client) = (keyring.tenant.as_str(), keyring.client.as_str());
        let forget = "DELETE FROM refused WHERE tenant = ?1 AND client = ?2 AND version = ?3";
        self.connection.execute(forget, params![tenant, client, version.0]).map(|_| ())
    }

    /// What is known of every edge, and of the use of `keyrings`, at one moment.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn snapshot<'a>(
        &mut self,
        keyrings: impl IntoIterator<Item = &'a KeyringId>,
    ) -> rusqlite::Result<Snapshot> {
        let transaction = self.connection.transaction()?;
        let mut snapshot = Snapshot { coverage: every_coverage(&transaction)?, ..Snapshot::default() };
        for keyring in keyrings {
            let uses = uses(&transaction, keyring)?;
            snapshot.uses.insert(keyring.clone(), summed(&uses));
        }
        Ok(snapshot)
    }

    /// What is known of every edge that ever reported.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn coverage(&self) -> rusqlite::Result<BTreeMap<EdgeId, Coverage>> {
        every_coverage(&self.connection)
    }

    /// The use of a keyring's versions, edge by edge.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn uses(&self, keyring: &KeyringId) -> rusqlite::Result<Vec<UseAt>> {
        uses(&self.connection, keyring)
    }

    /// Keyrings of which some version was used for the first time at some edge, until [`Ledger::settle`].
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn fresh(&self, max: u32) -> rusqlite::Result<Vec<KeyringId>> {
        let mut select = self.connection.prepare_cached("SELECT tenant, client FROM fresh LIMIT ?1")?;
        let rows =
            select.query_map([max], |row| keyring(&row.get::<_, String>(0)?, &row.get::<_, String>(1)?))?;
        rows.collect()
    }

    /// Takes a keyring off [`Ledger::fresh`]: the log has its first uses.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn settle(&self, keyring: &KeyringId) -> rusqlite::Result<()> {
        let names = [keyring.tenant.as_str(), keyring.client.as_str()];
        self.connection.execute("DELETE FROM fresh WHERE tenant = ?1 AND client = ?2", names)?;
        Ok(())
    }
}

/// Each version's use over all edges.
pub fn summed(uses: &[UseAt]) -> BTreeMap<Version, Seen> {
    let mut sums: BTreeMap<Version, Seen> = BTreeMap::new();
    for UseAt { version, seen, .. } in uses {
        let sum = sums.entry(*version).or_insert(Seen { uses: 0, ..*seen });
        sum.first = sum.first.min(seen.first);
        sum.last = sum.last.max(seen.last);
        sum.uses = sum.uses.saturating_add(seen.uses);
    }
    sums
}

fn take(transaction: &Transaction<'_>, arrived: &Arrived<'_>, told: &mut Told) -> rusqlite::Result<()> {
    let Arrived { edge, report, stored_at } = *arrived;
    let report = report.filter(|report| report.number <= NUMBER_MAX);
    let before = coverage_of(transaction, edge)?;
    let mut coverage = before;
    let seen_at = coverage.take(arrival(report), stored_at);
    if coverage != before {
        put_coverage(transaction, edge, &coverage)?;
    }
    let Some(report) = report else { return Ok(()) };
    if !count(transaction, edge, report, stored_at)? {
        return Ok(());
    }
    if coverage.from != before.from {
        forget_old_boots(transaction, edge)?;
    }
    for one in report.uses.iter().filter(|one| one.uses > 0) {
        match one.of() {
            Ok((keyring, version)) => {
                add_use(transaction, edge, &keyring, version, one, seen_at)?;
                told.used.insert(keyring);
            }
            Err(error) => tracing::warn!(%edge, %error, "a report names a keyring that cannot be"),
        }
    }
    for one in report.refused.iter().filter(|one| one.refused > 0) {
        match one.of() {
            Ok((keyring, version)) => {
                add_refusals(transaction, &keyring, version, one, stored_at)?;
                told.refused.insert(keyring);
            }
            Err(error) => tracing::warn!(%edge, %error, "a report names a keyring that cannot be"),
        }
    }
    Ok(())
}

fn arrival(report: Option<&Report>) -> Arrival {
    report.map_or(Arrival::Unreadable, |report| {
        Arrival::Report(Cut {
            boot: report.boot.0,
            number: report.number,
            continues: report.continues.map(|last| (last.boot.0, last.number)),
            goodbye: report.goodbye,
        })
    })
}

/// Marks a report as counted; false when it was.
fn count(
    transaction: &Transaction<'_>,
    edge: &EdgeId,
    report: &Report,
    stored_at: At,
) -> rusqlite::Result<bool> {
    let boot = report.boot.0.to_be_bytes();
    let mut select =
        transaction.prepare_cached("SELECT numbers FROM counted WHERE edge = ?1 AND boot = ?2")?;
    let known: Option<String> =
        select.query_row(params![edge.as_str(), boot], |row| row.get(0)).optional()?;
    let mut counted = match known {
        Some(text) => Counted::parse(&text).ok_or_else(|| damaged(format!("numbers `{text}`")))?,
        None => Counted::default(),
    };
    if !counted.insert(report.number) {
        return Ok(false);
    }
    transaction
        .prepare_cached(
            "INSERT INTO counted VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET
             numbers = excluded.numbers, newest = max(newest, excluded.newest)",
        )?
        .execute(params![edge.as_str(), boot, counted.to_string(), stored_at.0])?;
    Ok(true)
}

fn forget_old_boots(transaction: &Transaction<'_>, edge: &EdgeId) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "DELETE FROM counted WHERE edge = ?1 AND boot NOT IN
             (SELECT boot FROM counted WHERE edge = ?1 ORDER BY newest DESC LIMIT ?2)",
        )?
        .execute(params![edge.as_str(), BOOTS_MAX])?;
    Ok(())
}

fn add_use(
    transaction: &Transaction<'_>,
    edge: &EdgeId,
    keyring: &KeyringId,
    version: Version,
    one: &VersionUse,
    seen_at: At,
) -> rusqlite::Result<()> {
    let (tenant, client) = (keyring.tenant.as_str(), keyring.client.as_str());
    let uses = one.uses.min(USES_MAX);
    let added = transaction
        .prepare_cached(
            "UPDATE used SET first_use = min(first_use, ?5), last_use = max(last_use, ?5),
             uses = min(uses + ?6, ?7) WHERE tenant = ?1 AND client = ?2 AND version = ?3 AND edge = ?4",
        )?
        .execute(params![tenant, client, version.0, edge.as_str(), seen_at.0, uses, USES_MAX])?;
    if added == 0 {
        transaction
            .prepare_cached("INSERT INTO used VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)")?
            .execute(params![tenant, client, version.0, edge.as_str(), seen_at.0, uses])?;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO fresh VALUES (?1, ?2)")?
            .execute([tenant, client])?;
    }
    Ok(())
}

fn add_refusals(
    transaction: &Transaction<'_>,
    keyring: &KeyringId,
    version: Version,
    one: &VersionRefused,
    stored_at: At,
) -> rusqlite::Result<()> {
    let (tenant, client) = (keyring.tenant.as_str(), keyring.client.as_str());
    transaction
        .prepare_cached(
            "INSERT INTO refused SELECT ?1, ?2, ?3, ?4, ?5, coalesce(sum(uses), 0) FROM used
             WHERE tenant = ?1 AND client = ?2 AND version <> ?3
             ON CONFLICT DO UPDATE SET refused = min(refused + excluded.refused, ?6)",
        )?
        .execute(params![tenant, client, version.0, stored_at.0, one.refused.min(USES_MAX), USES_MAX])?;
    Ok(())
}

#[cfg(test)]
mod tests;
