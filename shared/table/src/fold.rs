//! Applies the log to SQLite: in order, without a gap, rows and position in one transaction.

use crate::TableError;
use crate::done;
use crate::doubts::{self, Doubted};
use crate::head;
pub use crate::head::Head;
use crate::parts::Parts;
use crate::rows::{self, Held, Stretch, combine};
use crate::schema;
use crate::weigh::{Opinion, Weighed};
use crate::work::Work;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, Event, Recorded, State};
use keywheel_wire::signature::Signed;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    parts: Parts,
    head: Head,
}

impl Fold {
    /// Opens or creates the file, for a reader that believes `signers`.
    ///
    /// # Errors
    /// When SQLite cannot, or the file is of another schema.
    pub fn open(path: &Path, options: Options, signers: Arc<Signers>) -> Result<Self, TableError> {
        let connection = schema::open(path)?;
        let (head, parts) = (head::read(&connection)?, Parts::load(&connection)?);
        let signers = known_signers(&connection, &parts, &signers)?;
        Ok(Self { connection, options, signers, parts, head })
    }

    /// Opens or creates the file as [`Fold::open`] does, but one of an older schema is renamed, and an empty
    /// one begun, to be filled from the log. Gives how the old one is called then.
    ///
    /// # Errors
    /// As [`Fold::open`]; a file of a newer schema stays as it is.
    pub fn open_or_begin(
        path: &Path,
        options: Options,
        signers: &Arc<Signers>,
    ) -> Result<(Self, Option<PathBuf>), TableError> {
        match Self::open(path, options, Arc::clone(signers)) {
            Ok(fold) => Ok((fold, None)),
            Err(TableError::Schema { found, known, .. }) if found < known => {
                let aside = schema::set_aside(path, found)?;
                Ok((Self::open(path, options, Arc::clone(signers))?, Some(aside)))
            }
            Err(error) => Err(error),
        }
    }

    /// What reads it: rows name their parts.
    pub(crate) fn to_read(&self) -> (&Connection, &Parts) {
        (&self.connection, &self.parts)
    }

    /// Its file; nothing where no disk keeps it.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.connection.path().filter(|path| !path.is_empty()).map(Path::new)
    }

    /// Whom it believes where it stands: its signers file, and what the events that it applied say.
    pub fn signers(&self) -> &Arc<Signers> {
        &self.signers
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
        self.commit(notes, |work| {
            let opinion = |message: &Message, signers: &Signers| Opinion::of(message, signers);
            batch.iter().try_for_each(|message| work.apply(message, |signers| opinion(message, signers)))
        })
    }

    /// As [`Fold::apply`], with messages whose signatures were checked already. Those that were checked before a change
    /// of the signers was applied are checked again.
    ///
    /// # Errors
    /// As [`Fold::apply`].
    pub fn apply_weighed(
        &mut self,
        batch: Vec<Weighed>,
        notes: &[(&str, Vec<u8>)],
    ) -> Result<Applied, TableError> {
        self.commit(notes, |work| {
            batch.into_iter().try_for_each(|Weighed { record, opinion }| {
                work.apply(&record.message, |signers| opinion.renewed(&record.message, signers))
            })
        })
    }

    fn commit(
        &mut self,
        notes: &[(&str, Vec<u8>)],
        work: impl FnOnce(&mut Work<'_>) -> Result<(), TableError>,
    ) -> Result<Applied, TableError> {
        let known = self.parts.count();
        let done = self.try_commit(notes, work);
        if done.is_err() {
            self.parts.forget_after(known);
        }
        done
    }

    fn try_commit(
        &mut self,
        notes: &[(&str, Vec<u8>)],
        work: impl FnOnce(&mut Work<'_>) -> Result<(), TableError>,
    ) -> Result<Applied, TableError> {
        let transaction = self.connection.transaction()?;
        let signers = Arc::clone(&self.signers);
        let mut begun = Work::begin(&transaction, self.options, signers, &mut self.parts, self.head);
        work(&mut begun)?;
        let (head, applied, signers) = begun.finish()?;
        put_head(&transaction, head)?;
        for (name, value) in notes {
            put_note(&transaction, name, value)?;
        }
        transaction.commit()?;
        (self.head, self.signers) = (head, signers);
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
        if self.head != Head::default() || self.parts.count() > 0 {
            return refused("the fold is not empty");
        }
        let transaction = self.connection.transaction()?;
        let (mut parts, mut digest) = (Parts::default(), [0; 32]);
        rows(&mut |subject, loaded| {
            combine(&mut digest, &rows::put(&transaction, &mut parts, subject, loaded, None)?);
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
        (self.head, self.parts) = (head, parts);
        self.signers = known_signers(&self.connection, &self.parts, &self.signers)?;
        Ok(())
    }

    /// An address, with `command` in its `done` when that had an effect there.
    ///
    /// # Errors
    /// When SQLite fails or the row is damaged.
    pub fn load(&self, address: &Address, command: Option<CommandId>) -> Result<Loaded, TableError> {
        let subject = subject::event(address);
        let Held { mut loaded, before: _ } = rows::load(&self.connection, &self.parts, &subject)?;
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
        each_state(&self.connection, &self.parts, self.head.digest, &mut take)
    }

    /// The addresses in which something is pending ([`State::is_open`]).
    ///
    /// # Errors
    /// When SQLite fails or a row is damaged.
    pub fn open_addresses(&self) -> Result<Vec<(Address, State)>, TableError> {
        let mut select = self.connection.prepare_cached("SELECT place FROM open ORDER BY place")?;
        let places = select.query_map([], |row| row.get::<_, String>(0))?;
        let mut found = Vec::new();
        for place in places {
            if let Ok(address) = subject::parse_place(&place?) {
                let subject = subject::event(&address);
                let state = rows::load(&self.connection, &self.parts, &subject)?.loaded.state;
                found.push((address, state));
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

/// Whom a reader believes by its signers file and what is stored.
fn known_signers(
    connection: &Connection,
    parts: &Parts,
    listed: &Signers,
) -> Result<Arc<Signers>, TableError> {
    let subject = subject::event(&Address::Installation);
    let held = rows::load(connection, parts, &subject)?;
    Ok(Arc::new(listed.knowing(&held.loaded.state.signers)))
}

/// Looks over a database that another connection of this process writes: every row as it stands at one
/// moment on the disk, passed to `take` with the position of that moment. Delays no writer.
///
/// # Errors
/// As [`Fold::each`]; also when the file is not there.
pub fn look_over(path: &Path, mut take: impl FnMut(Head, Address, State)) -> Result<Head, TableError> {
    let mut connection = schema::open_to_look(path)?;
    let moment = connection.transaction()?;
    let (head, parts) = (head::read(&moment)?, Parts::load(&moment)?);
    each_state(&moment, &parts, head.digest, &mut |address, state| take(head, address, state))?;
    Ok(head)
}

fn each_state(
    connection: &Connection,
    parts: &Parts,
    counted: [u8; 32],
    take: &mut impl FnMut(Address, State),
) -> Result<(), TableError> {
    let digest = rows::each(connection, parts, &Stretch::default(), &mut |place, opened| {
        if let Ok(address) = subject::parse_place(place) {
            take(address, opened.row.into_loaded(None).state);
        }
        Ok(())
    })?;
    expect_digest(digest, counted)
}

/// Whether all rows together are those that are counted: none is missing, none too many.
pub(crate) fn expect_digest(found: [u8; 32], counted: [u8; 32]) -> Result<(), TableError> {
    if found == counted {
        return Ok(());
    }
    Err(damaged("of the whole table", &"its rows are not those that its digest counts"))
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
