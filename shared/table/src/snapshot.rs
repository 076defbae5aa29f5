//! The fold as one stream of bytes, for a reader that begins with it in place of the whole log.
//!
//! Every row is in it as the log alone determines it, so that two readers at one position write the
//! same (but for the words in which an address is frozen). Numbers are big-endian:
//!
//! ```text
//! "kwsnap" version:u8 watermark:u64 chain:32 chain_before:32 digest:32 rows:u64
//! rows × { length:u32 { place:text frozen:count(0|1)×text parts:count×bytes body } }
//! ```
//!
//! A place is what tells an event subject from others; parts and body are those of [`crate::stored`], each
//! text and part after its length. Rows are in the order of their places' bytes. Commands, unsettled work, doubts and notes are not in it: they are their writer's own.

use crate::fold::{self, Fold, Head, Loaded};
use crate::pack::{self, Unpack, put_bytes, put_count};
use crate::part::Part;
use crate::parts::Parts;
use crate::rows::{self, Opened, Stretch};
use crate::{TableError, head, schema, stored};
use keywheel_wire::chain::Chain;
use keywheel_wire::{Malformed, subject};
use std::io::{Read, Write};
use std::path::Path;

const MAGIC: &[u8; 6] = b"kwsnap";
/// The version that this code writes, and the only one that it reads.
pub const FORMAT: u8 = 2;
/// Longest row that is read, in bytes.
pub const ROW_BYTES_MAX: usize = 64 << 20;

/// Writes the database at `path` as it stands on the disk at one moment, which another connection of
/// this process may be writing. Delays no writer, and needs no lock; gives the position of the moment.
///
/// # Errors
/// When SQLite or `to` fails, a row is damaged, or the rows are not those that the digest counts; what
/// was written until then is worth nothing.
pub fn export(path: &Path, to: &mut impl Write) -> Result<Head, TableError> {
    let mut connection = schema::open_to_look(path)?;
    let moment = connection.transaction()?;
    let head = head::read(&moment)?;
    let rows: u64 = moment.query_row("SELECT count(*) FROM address", [], |row| row.get(0))?;
    write_begin(to, &head, rows)?;
    let parts = Parts::load(&moment)?;
    let digest = rows::each(&moment, &parts, &Stretch::default(), &mut |place, opened| {
        let frozen = opened.row.is_frozen.then(|| rows::reason(&moment, place)).transpose()?;
        write_row(to, place, frozen.as_deref(), &opened)
    })?;
    fold::expect_digest(digest, head.digest)?;
    to.flush()?;
    Ok(head)
}

impl Fold {
    /// Takes the rows of a snapshot over into this fold, which must be empty, with `notes` in the same
    /// transaction: all of it or nothing. It must be the one that `promised` describes; whether that is
    /// to be believed, and whether it is of this log, is for the caller to know. The message at the
    /// watermark is checked against it when it comes, as after a restart.
    ///
    /// # Errors
    /// When it is not what was promised or not of this format, or `from` ends early or has more, or the
    /// fold is not empty or is one of those that decide, which need what no snapshot has.
    pub fn import(
        &mut self,
        from: &mut impl Read,
        promised: &Head,
        notes: &[(&str, Vec<u8>)],
    ) -> Result<(), TableError> {
        let (head, rows) = read_begin(from)?;
        if head != *promised {
            return Err(wrong("it is of another position than was promised"));
        }
        self.fill(head, notes, |put| {
            let mut last = None;
            for _ in 0..rows {
                let (place, loaded) = read_row(from)?;
                if last.as_ref().is_some_and(|last| *last >= place) {
                    return Err(wrong("its rows are not in order"));
                }
                if loaded.seq.max(loaded.state.revision) > head.watermark {
                    return Err(wrong("a row of it lies beyond its position"));
                }
                put(&subject::event_at(&place), &loaded)?;
                last = Some(place);
            }
            match from.read(&mut [0])? {
                0 => Ok(()),
                _ => Err(wrong("it has more after its end")),
            }
        })
    }
}

fn wrong(detail: &str) -> TableError {
    TableError::Snapshot(detail.to_owned())
}

fn write_begin(to: &mut impl Write, head: &Head, rows: u64) -> Result<(), TableError> {
    to.write_all(MAGIC)?;
    to.write_all(&[FORMAT])?;
    to.write_all(&head.watermark.to_be_bytes())?;
    for hash in [head.chain.0, head.chain_before.0, head.digest] {
        to.write_all(&hash)?;
    }
    Ok(to.write_all(&rows.to_be_bytes())?)
}

fn read_begin(from: &mut impl Read) -> Result<(Head, u64), TableError> {
    if take::<6>(from)? != *MAGIC {
        return Err(wrong("it does not begin like one"));
    }
    let [format] = take(from)?;
    if format != FORMAT {
        return Err(TableError::Snapshot(format!("its format is {format}, this program reads {FORMAT}")));
    }
    let head = Head {
        watermark: u64::from_be_bytes(take(from)?),
        chain: Chain(take(from)?),
        chain_before: Chain(take(from)?),
        digest: take(from)?,
    };
    Ok((head, u64::from_be_bytes(take(from)?)))
}

fn write_row(
    to: &mut impl Write,
    place: &str,
    frozen: Option<&str>,
    opened: &Opened<'_>,
) -> Result<(), TableError> {
    let mut row = Vec::with_capacity(256);
    put_bytes(&mut row, place.as_bytes());
    put_count(&mut row, usize::from(frozen.is_some()));
    frozen.iter().for_each(|reason| put_bytes(&mut row, reason.as_bytes()));
    put_count(&mut row, opened.parts.len());
    opened.parts.iter().for_each(|part| put_bytes(&mut row, &part.bytes));
    row.extend_from_slice(opened.body);
    if row.len() > ROW_BYTES_MAX {
        return Err(TableError::Snapshot(format!("{place} has more than {ROW_BYTES_MAX} bytes")));
    }
    let length = u32::try_from(row.len()).unwrap_or(u32::MAX);
    to.write_all(&length.to_be_bytes())?;
    Ok(to.write_all(&row)?)
}

fn read_row(from: &mut impl Read) -> Result<(String, Loaded), TableError> {
    let length = u32::from_be_bytes(take(from)?) as usize;
    if length > ROW_BYTES_MAX {
        return Err(wrong("a row of it is too long"));
    }
    let mut row = Vec::new();
    from.take(length as u64).read_to_end(&mut row)?;
    if row.len() < length {
        return Err(wrong("it ends early"));
    }
    unpack_row(&row).map_err(|error| TableError::Snapshot(error.to_string()))
}

fn unpack_row(row: &[u8]) -> Result<(String, Loaded), Malformed> {
    let mut from = Unpack(row);
    let place = from.text()?.to_owned();
    let frozen = match from.count()? {
        0 => None,
        1 => Some(from.text()?.to_owned()),
        _ => return Err(pack::wrong("it is frozen more than once")),
    };
    let count = from.count()?;
    let parts: Vec<Part> = (0..count).map(|_| Part::read(from.sized()?)).collect::<Result<_, _>>()?;
    let row = stored::read(from.0, &parts.iter().collect::<Vec<_>>())?;
    if row.is_frozen != frozen.is_some() {
        return Err(pack::wrong("it does not say why it is frozen"));
    }
    Ok((place, row.into_loaded(frozen)))
}

fn take<const N: usize>(from: &mut impl Read) -> Result<[u8; N], TableError> {
    let mut bytes = [0; N];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(wrong("it ends early")),
        Err(error) => Err(error.into()),
    }
}
