//! What each command did, kept beside the states by those who decide.

use crate::TableError;
use keywheel_domain::event::{CommandId, EventId, FactKind, RotationId};
use keywheel_domain::state::Done;
use keywheel_domain::{Kid, Version};
use keywheel_wire::body::type_word;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

pub(crate) fn put(
    transaction: &Transaction<'_>,
    subject: &str,
    command: CommandId,
    done: &Done,
) -> Result<(), TableError> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO command VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            subject,
            command.0.to_be_bytes(),
            done.event.0.to_be_bytes(),
            type_word(done.kind),
            done.seq,
            done.version.map(|version| version.0),
            done.kid.map(|kid| kid.to_string()),
            done.rotation.map(|rotation| rotation.0.to_be_bytes()),
        ])?;
    Ok(())
}

pub(crate) fn load(
    connection: &Connection,
    subject: &str,
    id: CommandId,
) -> Result<Option<Done>, TableError> {
    let read = |row: &Row<'_>| {
        let kind: String = row.get(1)?;
        let rotation: Option<[u8; 16]> = row.get(5)?;
        Ok(Done {
            event: EventId(u128::from_be_bytes(row.get(0)?)),
            kind: FactKind::ALL
                .into_iter()
                .find(|known| type_word(*known) == kind)
                .ok_or(rusqlite::Error::InvalidQuery)?,
            seq: row.get(2)?,
            version: row.get::<_, Option<u32>>(3)?.map(Version),
            kid: row.get::<_, Option<String>>(4)?.and_then(|kid| Kid::parse(&kid).ok()),
            rotation: rotation.map(|bytes| RotationId(u128::from_be_bytes(bytes))),
        })
    };
    let mut select = connection.prepare_cached(
        "SELECT event, kind, seq, version, kid, rotation FROM command WHERE subject = ?1 AND id = ?2",
    )?;
    Ok(select.query_row(params![subject, id.0.to_be_bytes()], read).optional()?)
}
