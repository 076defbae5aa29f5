//! Rows of the ledger, read and written.

use super::UseAt;
use crate::coverage::{Coverage, Last};
use keywheel_domain::key::Seen;
use keywheel_domain::undo::Refusals;
use keywheel_domain::{At, EdgeId, KeyringId, Version};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use std::collections::BTreeMap;

pub(super) fn coverage_of(connection: &Connection, edge: &EdgeId) -> rusqlite::Result<Coverage> {
    let mut select = connection.prepare_cached("SELECT * FROM coverage WHERE edge = ?1")?;
    let found = select.query_row([edge.as_str()], read_coverage).optional()?;
    Ok(found.unwrap_or_default())
}

pub(super) fn every_coverage(connection: &Connection) -> rusqlite::Result<BTreeMap<EdgeId, Coverage>> {
    let mut select = connection.prepare_cached("SELECT * FROM coverage")?;
    let rows = select.query_map([], |row| {
        let edge =
            EdgeId::parse(&row.get::<_, String>("edge")?).map_err(|error| damaged(error.to_string()))?;
        Ok((edge, read_coverage(row)?))
    })?;
    rows.collect()
}

fn read_coverage(row: &Row<'_>) -> rusqlite::Result<Coverage> {
    let last = match row.get::<_, Option<[u8; 16]>>("boot")? {
        None => None,
        Some(boot) => Some(Last {
            boot: u128::from_be_bytes(boot),
            number: row.get("number")?,
            stored_at: At(row.get("stored_at")?),
            goodbye: row.get("goodbye")?,
        }),
    };
    Ok(Coverage {
        last,
        from: At(row.get("covered_from")?),
        through: row.get::<_, Option<u64>>("covered_through")?.map(At),
        newest: At(row.get("newest")?),
        broken: row.get("broken")?,
    })
}

pub(super) fn put_coverage(
    transaction: &Transaction<'_>,
    edge: &EdgeId,
    coverage: &Coverage,
) -> rusqlite::Result<()> {
    let Coverage { last, from, through, newest, broken } = coverage;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO coverage VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?
        .execute(params![
            edge.as_str(),
            last.map(|last| last.boot.to_be_bytes()),
            last.map(|last| last.number),
            last.map(|last| last.stored_at.0),
            last.map(|last| last.goodbye),
            from.0,
            through.map(|through| through.0),
            newest.0,
            broken,
        ])?;
    Ok(())
}

pub(super) fn uses(connection: &Connection, keyring: &KeyringId) -> rusqlite::Result<Vec<UseAt>> {
    let mut select = connection.prepare_cached(
        "SELECT version, edge, first_use, last_use, uses FROM used WHERE tenant = ?1 AND client = ?2
         ORDER BY version, edge",
    )?;
    let names = [keyring.tenant.as_str(), keyring.client.as_str()];
    let rows = select.query_map(names, |row| {
        let seen = Seen { first: At(row.get(2)?), last: At(row.get(3)?), uses: row.get(4)? };
        Ok(UseAt { version: Version(row.get(0)?), edge: row.get(1)?, seen })
    })?;
    rows.collect()
}

pub(super) fn refusals(
    connection: &Connection,
    keyring: &KeyringId,
) -> rusqlite::Result<BTreeMap<Version, Refusals>> {
    let mut select = connection.prepare_cached(
        "SELECT version, since, refused, accepted_before, (SELECT coalesce(sum(uses), 0) FROM used
         WHERE tenant = ?1 AND client = ?2 AND used.version <> refused.version)
         FROM refused WHERE tenant = ?1 AND client = ?2",
    )?;
    let names = [keyring.tenant.as_str(), keyring.client.as_str()];
    let rows = select.query_map(names, |row| {
        let (before, now): (u64, u64) = (row.get(3)?, row.get(4)?);
        let (since, refused) = (At(row.get(1)?), row.get(2)?);
        Ok((Version(row.get(0)?), Refusals { since, refused, accepted: now.saturating_sub(before) }))
    })?;
    rows.collect()
}

pub(super) fn keyring(tenant: &str, client: &str) -> rusqlite::Result<KeyringId> {
    KeyringId::parse(&format!("{tenant}/{client}")).map_err(|error| damaged(error.to_string()))
}

pub(super) fn damaged(detail: String) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(
        0,
        Type::Text,
        format!("the ledger is damaged: {detail}").into(),
    )
}
