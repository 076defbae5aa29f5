//! Applies the log to SQLite: in order, without a gap, rows and position in one transaction.

use crate::TableError;
use crate::done;
use crate::doubts::{self, Doubted};
use crate::head;
pub use crate::head::Head;
use crate::replay::believe;
use crate::schema;
use crate::stored;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, Event, Recorded, State, evolve};
use keywheel_wire::belief::Doubt;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::Read;
use keywheel_wire::signature::Signed;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// One message of the log as it was received.
#[derive(Clone, Debug)]
pub struct Message {
    /// Stream sequence, from 1.
    pub seq: u64,
    /// Subject.
    pub subject: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Who claims to have written it.
    pub signed: Option<Signed>,
}

/// What a fold keeps beside the states.
#[derive(Clone, Copy)]
pub struct Options {
    /// Whether to keep which commands had an effect: those who decide need it, readers do not.
    pub commands: bool,
    /// Which events leave work to be settled after a restart.
    pub pending: fn(&Event) -> bool,
    /// Whether to keep which messages were not believed, for whoever tells of them.
    pub doubts: bool,
}

/// An address with what a conditional append needs.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The state, with the asked command in `done` if it had an effect.
    pub state: State,
    /// Last sequence of the subject, believed or not; 0 when there is none.
    pub seq: u64,
    /// Hash of the last believed event's payload.
    pub prev: Option<[u8; 32]>,
    /// Why the address is frozen, when it is.
    pub frozen: Option<String>,
}

/// What a batch did.
#[derive(Debug, Default)]
pub struct Applied {
    /// Believed events in order.
    pub events: Vec<Recorded>,
    /// The addresses that changed, with their states now.
    pub changed: BTreeMap<Address, State>,
    /// Messages that were not believed or not understood: sequence and reason.
    pub alarms: Vec<(u64, String)>,
}

/// The fold of the log in one SQLite file.
pub struct Fold {
    connection: Connection,
    options: Options,
    signers: Arc<Signers>,
    head: Head,
}

impl Fold {
    /// Opens or creates the file, for a reader that believes `signers`.
    ///
    /// # Errors
    /// When SQLite cannot, or the file is of another schema.
    pub fn open(path: &Path, options: Options, signers: Arc<Signers>) -> Result<Self, TableError> {
        let connection = schema::open(path)?;
        let head = head::read(&connection)?;
        Ok(Self { connection, options, signers, head })
    }

    /// Where it stands.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Applies messages in order, with `notes` (name, value) in the same transaction. A message at the
    /// watermark must be the one that was applied there; those below it are passed over.
    ///
    /// # Errors
    /// On a gap or a log that is not the one applied before; then nothing of the batch is applied.
    pub fn apply(&mut self, batch: &[Message], notes: &[(&str, Vec<u8>)]) -> Result<Applied, TableError> {
        let transaction = self.connection.transaction()?;
        let mut work = Work {
            transaction: &transaction,
            options: self.options,
            signers: &self.signers,
            head: self.head,
            loaded: BTreeMap::new(),
            applied: Applied::default(),
        };
        for message in batch {
            work.apply(message)?;
        }
        let (head, applied) = work.finish()?;
        for (name, value) in notes {
            put_note(&transaction, name, value)?;
        }
        transaction.commit()?;
        self.head = head;
        Ok(applied)
    }

    /// Fills an empty fold of a reader in one transaction with what `rows` puts, which must be what
    /// `head` counts.
    pub(crate) fn fill(
        &mut self,
        head: Head,
        notes: &[(&str, Vec<u8>)],
        rows: impl FnOnce(&mut dyn FnMut(&str, &Loaded) -> Result<(), TableError>) -> Result<(), TableError>,
    ) -> Result<(), TableError> {
        let refused = |detail: &str| Err(TableError::Snapshot(detail.to_owned()));
        if self.options.commands || self.options.doubts {
            return refused("who decides needs the whole log");
        }
        if self.head != Head::default() {
            return refused("the fold is not empty");
        }
        let transaction = self.connection.transaction()?;
        let mut digest = [0; 32];
        rows(&mut |subject, loaded| {
            combine(&mut digest, &put_row(&transaction, subject, loaded)?);
            Ok(())
        })?;
        if digest != head.digest {
            return refused("its rows are not those that its digest counts");
        }
        put_head(&transaction, head)?;
        for (name, value) in notes {
            put_note(&transaction, name, value)?;
        }
        transaction.commit()?;
        self.head = head;
        Ok(())
    }

    /// An address, with `command` in its `done` when that had an effect there.
    ///
    /// # Errors
    /// When SQLite fails or the row is damaged.
    pub fn load(&self, address: &Address, command: Option<CommandId>) -> Result<Loaded, TableError> {
        let subject = subject::event(address);
        let mut loaded = load_row(&self.connection, &subject)?;
        let done = command.map(|id| done::load(&self.connection, &subject, id)).transpose()?.flatten();
        loaded.state.done = command.zip(done).into_iter().collect();
        Ok(loaded)
    }

    /// Every address with its state, one after the other. What was taken counts only when this ends
    /// well: that no row is missing shows at the end.
    ///
    /// # Errors
    /// When SQLite fails, a row is damaged, or the rows are not those that the table digest counts.
    pub fn each(&self, mut take: impl FnMut(Address, State)) -> Result<(), TableError> {
        each_row(&self.connection, self.head.digest, &mut take)
    }

    /// The addresses in which something is pending ([`State::is_open`]).
    ///
    /// # Errors
    /// When SQLite fails or a row is damaged.
    pub fn open_addresses(&self) -> Result<Vec<(Address, State)>, TableError> {
        let mut select = self.connection.prepare_cached(&format!("{SELECT_ROW} WHERE open = 1"))?;
        let mut rows = select.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (subject, loaded, _) = read_row(row)?;
            if let Ok(address) = subject::parse_event(&subject) {
                found.push((address, loaded.state));
            }
        }
        Ok(found)
    }

    /// Positions of events whose work is not settled, with their subjects' addresses, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn pending(&self) -> Result<Vec<(u64, Address)>, TableError> {
        let mut select = self.connection.prepare_cached("SELECT seq, subject FROM pending ORDER BY seq")?;
        let rows = select.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        let mut found = Vec::new();
        for row in rows {
            let (seq, subject) = row?;
            if let Ok(address) = subject::parse_event(&subject) {
                found.push((seq, address));
            }
        }
        Ok(found)
    }

    /// Marks the work that the event at `seq` left as done.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn settle(&self, seq: u64) -> Result<(), TableError> {
        self.connection.execute("DELETE FROM pending WHERE seq = ?1", [seq])?;
        Ok(())
    }

    /// Marks the work of many events as done, in one transaction.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn settle_all(&self, seqs: &[u64]) -> Result<(), TableError> {
        if seqs.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.unchecked_transaction()?;
        for seq in seqs {
            transaction.prepare_cached("DELETE FROM pending WHERE seq = ?1")?.execute([seq])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Up to `most` messages that were not believed and of which nobody has told yet, oldest first.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn doubted(&self, most: usize) -> Result<Vec<Doubted>, TableError> {
        doubts::oldest(&self.connection, most)
    }

    /// Marks the message at `seq` as told of.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn told(&self, seq: u64) -> Result<(), TableError> {
        doubts::forget(&self.connection, seq)
    }

    /// A note of the shell's own.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn note(&self, name: &str) -> Result<Option<Vec<u8>>, TableError> {
        read_note(&self.connection, name)
    }
}

/// Looks over a database that another connection of this process writes: every row as it stands at one
/// moment on the disk, passed to `take` with the position of that moment. Delays no writer.
///
/// # Errors
/// As [`Fold::each`]; also when the file is not there.
pub fn look_over(path: &Path, mut take: impl FnMut(Head, Address, State)) -> Result<Head, TableError> {
    let mut connection = schema::open_to_look(path)?;
    let moment = connection.transaction()?;
    let head = head::read(&moment)?;
    each_row(&moment, head.digest, &mut |address, state| take(head, address, state))?;
    Ok(head)
}

fn each_row(
    connection: &Connection,
    counted: [u8; 32],
    take: &mut impl FnMut(Address, State),
) -> Result<(), TableError> {
    each_loaded(connection, counted, &mut |subject, loaded| {
        if let Ok(address) = subject::parse_event(&subject) {
            take(address, loaded.state);
        }
    })
}

/// In the order of their subjects.
pub(crate) fn each_loaded(
    connection: &Connection,
    counted: [u8; 32],
    take: &mut impl FnMut(String, Loaded),
) -> Result<(), TableError> {
    let mut select = connection.prepare(&format!("{SELECT_ROW} ORDER BY subject"))?;
    let mut rows = select.query([])?;
    let mut digest = [0; 32];
    while let Some(row) = rows.next()? {
        let (subject, loaded, hash) = read_row(row)?;
        combine(&mut digest, &hash);
        take(subject, loaded);
    }
    if digest == counted {
        return Ok(());
    }
    Err(damaged("of the whole table", &"its rows are not those that its digest counts"))
}

struct Work<'a> {
    transaction: &'a Transaction<'a>,
    options: Options,
    signers: &'a Signers,
    head: Head,
    loaded: BTreeMap<String, Loaded>,
    applied: Applied,
}

impl Work<'_> {
    fn apply(&mut self, message: &Message) -> Result<(), TableError> {
        let Message { seq, subject, payload, signed: _ } = message;
        if *seq < self.head.watermark {
            return Ok(());
        }
        if *seq == self.head.watermark {
            return self.check_again(message);
        }
        if *seq != self.head.watermark + 1 {
            return Err(TableError::Gap { expected: self.head.watermark + 1, got: *seq });
        }
        self.head.chain_before = self.head.chain;
        self.head.chain = self.head.chain.next(*seq, subject, payload);
        self.head.watermark = *seq;
        let mut loaded = match self.loaded.remove(subject) {
            Some(loaded) => loaded,
            None => load_row(self.transaction, subject)?,
        };
        loaded.seq = *seq;
        let believed = match &loaded.frozen {
            Some(reason) => Err(Doubt::Freeze(format!("{subject} is frozen: {reason}"))),
            None => believe(message, self.signers, loaded.state.revision, loaded.prev),
        };
        match believed {
            Ok(read) => self.fold_in(&mut loaded, message, read)?,
            Err(doubt) => {
                if self.options.doubts {
                    doubts::put(self.transaction, *seq, subject, &doubt)?;
                }
                if doubt.freezes() {
                    loaded.frozen.get_or_insert_with(|| doubt.reason().to_owned());
                }
                self.applied.alarms.push((*seq, doubt.reason().to_owned()));
            }
        }
        self.loaded.insert(subject.clone(), loaded);
        Ok(())
    }

    fn check_again(&self, message: &Message) -> Result<(), TableError> {
        let chain = self.head.chain_before.next(message.seq, &message.subject, &message.payload);
        if chain == self.head.chain {
            return Ok(());
        }
        Err(TableError::Diverged { seq: message.seq, detail: "another message stands there now".to_owned() })
    }

    fn fold_in(&mut self, loaded: &mut Loaded, message: &Message, read: Read) -> Result<(), TableError> {
        let recorded = Recorded { seq: message.seq, event: read.event };
        loaded.state = evolve(std::mem::take(&mut loaded.state), &recorded);
        loaded.prev = Some(payload_hash(&message.payload));
        if self.options.commands {
            for (command, done) in std::mem::take(&mut loaded.state.done) {
                done::put(self.transaction, &message.subject, command, &done)?;
            }
        }
        loaded.state.done.clear();
        if (self.options.pending)(&recorded.event) {
            self.transaction
                .prepare_cached("INSERT OR IGNORE INTO pending VALUES (?1, ?2)")?
                .execute(params![message.seq, message.subject])?;
        }
        self.applied.changed.insert(recorded.event.address.clone(), State::default());
        self.applied.events.push(recorded);
        Ok(())
    }

    /// Writes the rows that changed and the position.
    fn finish(mut self) -> Result<(Head, Applied), TableError> {
        for (subject, loaded) in std::mem::take(&mut self.loaded) {
            let hash = put_row(self.transaction, &subject, &loaded)?;
            combine(&mut self.head.digest, &hash);
            if let Ok(address) = subject::parse_event(&subject)
                && let Some(state) = self.applied.changed.get_mut(&address)
            {
                *state = loaded.state;
            }
        }
        put_head(self.transaction, self.head)?;
        Ok((self.head, self.applied))
    }
}

const SELECT_ROW: &str = "SELECT subject, seq, prev, frozen, state, hash FROM address";

fn load_row(connection: &Connection, subject: &str) -> Result<Loaded, TableError> {
    let mut select = connection.prepare_cached(&format!("{SELECT_ROW} WHERE subject = ?1"))?;
    let mut rows = select.query([subject])?;
    let loaded = rows.next()?.map(read_row).transpose()?;
    Ok(loaded.map(|(_, loaded, _)| loaded).unwrap_or_default())
}

/// Reads what [`SELECT_ROW`] found. A damaged row is never gone on with: written again, its damage
/// would get a hash that fits.
fn read_row(row: &Row<'_>) -> Result<(String, Loaded, [u8; 32]), TableError> {
    let subject: String = row.get(0)?;
    let (seq, prev, frozen): (u64, Option<[u8; 32]>, Option<String>) =
        (row.get(1)?, row.get(2)?, row.get(3)?);
    let (bytes, hash): (Vec<u8>, [u8; 32]) = (row.get(4)?, row.get(5)?);
    let loaded = Loaded { state: State::default(), seq, prev, frozen };
    if hash != row_hash(&subject, &loaded, &bytes) {
        return Err(damaged(&subject, &"its hash does not match"));
    }
    let state = stored::read(&bytes).map_err(|error| damaged(&subject, &error))?;
    Ok((subject, Loaded { state, ..loaded }, hash))
}

/// Writes a row and gives what its change does to the table digest.
fn put_row(transaction: &Transaction<'_>, subject: &str, loaded: &Loaded) -> Result<[u8; 32], TableError> {
    let before: Option<[u8; 32]> = transaction
        .prepare_cached("SELECT hash FROM address WHERE subject = ?1")?
        .query_row([subject], |row| row.get(0))
        .optional()?;
    let bytes = stored::write(&loaded.state).map_err(|error| damaged(subject, &error))?;
    let hash = row_hash(subject, loaded, &bytes);
    transaction
        .prepare_cached("INSERT OR REPLACE INTO address VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?
        .execute(params![
            subject,
            loaded.seq,
            loaded.state.revision,
            loaded.prev,
            loaded.state.is_open(),
            loaded.frozen,
            bytes,
            hash
        ])?;
    let mut change = hash;
    combine(&mut change, &before.unwrap_or([0; 32]));
    Ok(change)
}

/// Puts a row's hash into a digest; the same again takes it out.
fn combine(digest: &mut [u8; 32], hash: &[u8; 32]) {
    for (byte, other) in digest.iter_mut().zip(hash) {
        *byte ^= other;
    }
}

/// Over everything that the log alone determines, so that it is the same for every reader: also
/// whether the address is frozen, but not in which words.
fn row_hash(subject: &str, loaded: &Loaded, state: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(subject.as_bytes());
    hash.update([0, u8::from(loaded.frozen.is_some()), u8::from(loaded.prev.is_some())]);
    hash.update(loaded.seq.to_be_bytes());
    hash.update(loaded.prev.unwrap_or_default());
    hash.update(state);
    hash.finalize().into()
}

pub(crate) fn damaged(subject: &str, error: &dyn std::fmt::Display) -> TableError {
    TableError::Damaged { subject: subject.to_owned(), detail: error.to_string() }
}

pub(crate) fn read_note(connection: &Connection, name: &str) -> Result<Option<Vec<u8>>, TableError> {
    let value = connection.query_row("SELECT value FROM note WHERE name = ?1", [name], |row| row.get(0));
    Ok(value.optional()?)
}

fn put_note(transaction: &Transaction<'_>, name: &str, value: &[u8]) -> Result<(), TableError> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO note VALUES (?1, ?2)")?
        .execute(params![name, value])?;
    Ok(())
}

fn put_head(transaction: &Transaction<'_>, head: Head) -> Result<(), TableError> {
    let Head { watermark, chain, chain_before, digest } = head;
    transaction
        .prepare_cached("UPDATE head SET watermark = ?1, chain = ?2, chain_before = ?3, digest = ?4")?
        .execute(params![watermark, chain.0, chain_before.0, digest])?;
    put_note(transaction, head::HASH, &head.hash())
}
