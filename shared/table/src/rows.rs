//! The rows of addresses: 8 bytes that show damage, the numbers of the parts that the row shares with
//! others, and its body ([`crate::stored`]).
//!
//! A row's hash is over what the log alone determines, so that it is the same for every reader: also
//! whether the address is frozen, but not in which words, and the parts but not their numbers.

use crate::TableError;
use crate::fold::{Loaded, damaged};
use crate::pack::{Unpack, put_bytes, put_number, wrong};
use crate::part::Part;
use crate::parts::{Counted, Parts};
use crate::stored::{self, Stored, StoredRow};
use keywheel_wire::{Malformed, subject};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use sha2::{Digest, Sha256};

/// So much of a row's hash stands in it.
const CHECK_BYTES: usize = 8;

/// Said by a row that names no part. One that does says of each its number and one more, and in the lowest
/// bit whether it is the last.
const NO_PART: u64 = 0;
/// The number of a part that follows it.
const OWN_PART: u64 = 0;

/// An address with the hash of the row that it was read from.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) loaded: Loaded,
    /// Nothing where there is no row yet.
    pub(crate) before: Option<Before>,
}

/// What is replaced when a row is written anew.
#[derive(Clone, Copy)]
pub(crate) struct Before {
    pub(crate) hash: [u8; 32],
    pub(crate) is_open: bool,
}

/// Where to begin and where to end, by place; the end is not in it.
#[derive(Clone, Default)]
pub(crate) struct Stretch {
    pub(crate) from: String,
    pub(crate) to: Option<String>,
}

/// Puts a row's hash into a digest; the same again takes it out.
pub(crate) fn combine(digest: &mut [u8; 32], hash: &[u8; 32]) {
    for (byte, other) in digest.iter_mut().zip(hash) {
        *byte ^= other;
    }
}

/// The row of a subject. A damaged one is never gone on with: written again, its damage would get a hash
/// that fits.
pub(crate) fn load(connection: &Connection, parts: &Parts, subject: &str) -> Result<Held, TableError> {
    let place = subject::event_place(subject);
    let mut select = connection.prepare_cached("SELECT row FROM address WHERE place = ?1")?;
    let mut rows = select.query([&place])?;
    let Some(row) = rows.next()? else { return Ok(Held::default()) };
    let bytes = row.get_ref(0)?.as_blob().map_err(|error| damaged(&place, &error))?;
    open(parts, &place, bytes, |Opened { row, hash, .. }| {
        let frozen = row.is_frozen.then(|| reason(connection, &place)).transpose()?;
        let loaded = row.into_loaded(frozen);
        let before = Some(Before { hash, is_open: loaded.state.is_open() });
        Ok(Held { loaded, before })
    })
}

/// Passes the rows of a stretch on, in the order of their places, and gives their combined hash.
pub(crate) fn each(
    connection: &Connection,
    parts: &Parts,
    stretch: &Stretch,
    take: &mut impl FnMut(&str, Opened<'_>) -> Result<(), TableError>,
) -> Result<[u8; 32], TableError> {
    let mut digest = [0; 32];
    each_bytes(connection, stretch, |place, bytes| {
        open(parts, place, bytes, |opened| {
            combine(&mut digest, &opened.hash);
            take(place, opened)
        })
    })?;
    Ok(digest)
}

/// As [`each`], with rows that live as long as what they share: `take`; but those that have parts of their
/// own, which live no longer than the call of `take_now`.
pub(crate) fn each_shared<'p>(
    connection: &Connection,
    parts: &'p Parts,
    stretch: &Stretch,
    mut take: impl FnMut(&str, StoredRow<'p>),
    mut take_now: impl FnMut(&str, StoredRow<'_>),
) -> Result<[u8; 32], TableError> {
    let mut digest = [0; 32];
    each_bytes(connection, stretch, |place, bytes| {
        if let Some((row, hash)) = open_shared(parts, place, bytes)? {
            combine(&mut digest, &hash);
            take(place, row);
            return Ok(());
        }
        open(parts, place, bytes, |opened| {
            combine(&mut digest, &opened.hash);
            take_now(place, opened.row);
            Ok(())
        })
    })?;
    Ok(digest)
}

fn each_bytes(
    connection: &Connection,
    stretch: &Stretch,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), TableError>,
) -> Result<(), TableError> {
    const SELECT: &str = "SELECT place, row FROM address WHERE place >= ?1 AND (?2 IS NULL OR place < ?2) \
                          ORDER BY place";
    let mut select = connection.prepare(SELECT)?;
    let mut rows = select.query(params![stretch.from, stretch.to])?;
    while let Some(row) = rows.next()? {
        let place = row.get_ref(0)?.as_str().map_err(|error| damaged("of unknown place", &error))?;
        let bytes = row.get_ref(1)?.as_blob().map_err(|error| damaged(place, &error))?;
        take(place, bytes)?;
    }
    Ok(())
}

/// Two stretches of about as many rows each; nothing where there are fewer than `least`.
pub(crate) fn halves(connection: &Connection, least: u64) -> Result<Option<[Stretch; 2]>, TableError> {
    let count: u64 = connection.query_row("SELECT count(*) FROM address", [], |row| row.get(0))?;
    if count < least {
        return Ok(None);
    }
    const SELECT: &str = "SELECT place FROM address ORDER BY place LIMIT 1 OFFSET ?1";
    let middle: String = connection.query_row(SELECT, [count / 2], |row| row.get(0))?;
    let first = Stretch { from: String::new(), to: Some(middle.clone()) };
    Ok(Some([first, Stretch { from: middle, to: None }]))
}

/// Why an address is frozen.
pub(crate) fn reason(connection: &Connection, place: &str) -> Result<String, TableError> {
    let mut select = connection.prepare_cached("SELECT reason FROM frozen WHERE place = ?1")?;
    let reason = select.query_row([place], |row| row.get(0)).optional()?;
    reason.ok_or_else(|| damaged(place, &"it is frozen and does not say why"))
}

/// Writes a row in the place of the one `before`, and gives what that does to the table digest.
pub(crate) fn put(
    transaction: &Transaction<'_>,
    parts: &mut Parts,
    subject: &str,
    loaded: &Loaded,
    before: Option<Before>,
) -> Result<[u8; 32], TableError> {
    let place = subject::event_place(subject);
    let stored = stored::write(loaded);
    let counted = stored.parts.iter().map(|part| parts.count_in(transaction, part));
    let counted: Vec<Counted> = counted.collect::<Result<_, _>>()?;
    let (bytes, hash) = pack(&place, &stored, &counted);
    let write = match before {
        None => "INSERT INTO address VALUES (?1, ?2)",
        Some(_) => "UPDATE address SET row = ?2 WHERE place = ?1",
    };
    transaction.prepare_cached(write)?.execute(params![place, bytes])?;
    match (before.is_some_and(|before| before.is_open), loaded.state.is_open()) {
        (false, true) => transaction.prepare_cached("INSERT INTO open VALUES (?1)")?.execute([&place])?,
        (true, false) => {
            transaction.prepare_cached("DELETE FROM open WHERE place = ?1")?.execute([&place])?
        }
        (true, true) | (false, false) => 0,
    };
    if let Some(reason) = &loaded.frozen {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO frozen VALUES (?1, ?2)")?
            .execute(params![place, reason])?;
    }
    let mut change = hash;
    combine(&mut change, &before.map_or([0; 32], |before| before.hash));
    Ok(change)
}

fn pack(place: &str, stored: &Stored, counted: &[Counted]) -> (Vec<u8>, [u8; 32]) {
    let mut bytes = vec![0; CHECK_BYTES];
    let mut hash = begin_hash(place, &stored.body);
    if counted.is_empty() {
        put_number(&mut bytes, NO_PART);
    }
    let mut left = counted.len();
    for (part, Counted { number, hash: of_part }) in stored.parts.iter().zip(counted) {
        left -= 1;
        let is_last = u64::from(left == 0);
        put_number(&mut bytes, (number.unwrap_or(OWN_PART) + 1) << 1 | is_last);
        if number.is_none() {
            put_bytes(&mut bytes, part);
        }
        hash.update(of_part);
    }
    bytes.extend_from_slice(&stored.body);
    let hash: [u8; 32] = hash.finalize().into();
    bytes[..CHECK_BYTES].copy_from_slice(&hash[..CHECK_BYTES]);
    (bytes, hash)
}

fn begin_hash(place: &str, body: &[u8]) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update(place.as_bytes());
    hash.update([0]);
    hash.update(body);
    hash
}

/// A part of a row: by its number, or as it stands there.
enum Named<'p> {
    Shared(&'p Part),
    Own(Box<Part>),
}

/// A row as it stands in the database, read and found to be sound.
pub(crate) struct Opened<'r> {
    pub(crate) row: StoredRow<'r>,
    pub(crate) hash: [u8; 32],
    pub(crate) body: &'r [u8],
    pub(crate) parts: &'r [&'r Part],
}

/// Reads a row, whose own parts live no longer than this.
fn open<T>(
    parts: &Parts,
    place: &str,
    bytes: &[u8],
    take: impl FnOnce(Opened<'_>) -> Result<T, TableError>,
) -> Result<T, TableError> {
    let torn = |error: Malformed| damaged(place, &error);
    let (check, named, body) = take_apart(parts, bytes).map_err(torn)?;
    let of = |named| match named {
        &Named::Shared(part) => part,
        Named::Own(part) => part,
    };
    let parts: Vec<&Part> = named.iter().map(of).collect();
    let (row, hash) = checked(place, check, body, &parts)?;
    take(Opened { row, hash, body, parts: &parts })
}

/// Reads a row as [`open`] does, for longer than that; nothing where it has parts of its own.
fn open_shared<'p>(
    parts: &'p Parts,
    place: &str,
    bytes: &[u8],
) -> Result<Option<(StoredRow<'p>, [u8; 32])>, TableError> {
    let torn = |error: Malformed| damaged(place, &error);
    let (check, named, body) = take_apart(parts, bytes).map_err(torn)?;
    let of = |named| match named {
        Named::Shared(part) => Some(part),
        Named::Own(_) => None,
    };
    let Some(parts) = named.into_iter().map(of).collect::<Option<Vec<&'p Part>>>() else { return Ok(None) };
    checked(place, check, body, &parts).map(Some)
}

type TakenApart<'p, 'b> = ([u8; CHECK_BYTES], Vec<Named<'p>>, &'b [u8]);

fn take_apart<'p, 'b>(parts: &'p Parts, bytes: &'b [u8]) -> Result<TakenApart<'p, 'b>, Malformed> {
    let mut from = Unpack(bytes);
    let (check, mut named) = (from.array()?, Vec::new());
    loop {
        let said = from.number()?;
        if said == NO_PART && named.is_empty() {
            break;
        }
        let number = (said >> 1).checked_sub(1).ok_or_else(|| wrong("a part is not named"))?;
        named.push(match number {
            OWN_PART => Named::Own(Box::new(Part::read(from.sized()?)?)),
            number => Named::Shared(parts.get(number).ok_or_else(|| wrong("a part is missing"))?),
        });
        if said & 1 == 1 {
            break;
        }
    }
    Ok((check, named, from.0))
}

fn checked<'p>(
    place: &str,
    check: [u8; CHECK_BYTES],
    body: &[u8],
    parts: &[&'p Part],
) -> Result<(StoredRow<'p>, [u8; 32]), TableError> {
    let mut hash = begin_hash(place, body);
    parts.iter().for_each(|part| hash.update(part.hash));
    let hash: [u8; 32] = hash.finalize().into();
    if hash[..CHECK_BYTES] != check {
        return Err(damaged(place, &"its hash does not match"));
    }
    let row = stored::read(body, parts).map_err(|error| damaged(place, &error))?;
    Ok((row, hash))
}

#[cfg(test)]
mod tests;
