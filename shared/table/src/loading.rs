//! The table in memory filled from the database: each row is checked, and a large database is read by two
//! threads, each a half of it.

use crate::answers::Loaded;
use crate::fold::{Fold, damaged, expect_digest};
use crate::parts::Parts;
use crate::rows::{self, Stretch, combine};
use crate::schema;
use crate::stored::StoredRow;
use crate::{Answers, TableError, head};
use keywheel_domain::key::Origin;
use keywheel_domain::{Address, PolicyPatch};
use keywheel_wire::subject;
use rusqlite::Connection;
use std::sync::{Mutex, PoisonError};

/// From so many rows on a second thread gains more than it costs to begin.
const HALVED_FROM: u64 = 4096;
/// Rows that one thread reads before it has the table for itself.
const AT_ONCE: usize = 256;

impl Fold {
    /// Every row, ready to answer.
    ///
    /// # Errors
    /// When SQLite fails, a row is damaged, or the rows are not those that the table digest counts.
    pub fn answers(&self) -> Result<Answers, TableError> {
        let ((connection, parts), known) = (self.to_read(), self.head());
        let moment = connection.unchecked_transaction()?;
        let answers = Mutex::new(Answers::default());
        let halves = match self.path() {
            Some(path) => rows::halves(&moment, HALVED_FROM)?.map(|halves| (path, halves)),
            None => None,
        };
        let digest = match halves {
            None => load(&moment, parts, &Stretch::default(), &answers)?,
            Some((path, [first, second])) => std::thread::scope(|scope| {
                let second = scope.spawn(|| {
                    let mut connection = schema::open_to_look(path)?;
                    let same = connection.transaction()?;
                    if head::read(&same)? != known {
                        return Err(damaged("of the position", &"somebody else writes it"));
                    }
                    load(&same, parts, &second, &answers)
                });
                let first = load(&moment, parts, &first, &answers);
                let second =
                    second.join().unwrap_or_else(|_| Err(damaged("of a half", &"reading it failed")));
                let mut digest = first?;
                combine(&mut digest, &second?);
                Ok::<_, TableError>(digest)
            })?,
        };
        expect_digest(digest, known.digest)?;
        Ok(answers.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

fn load(
    connection: &Connection,
    parts: &Parts,
    stretch: &Stretch,
    answers: &Mutex<Answers>,
) -> Result<[u8; 32], TableError> {
    let lock = || answers.lock().unwrap_or_else(PoisonError::into_inner);
    let mut waiting: Vec<(String, StoredRow<'_>)> = Vec::with_capacity(AT_ONCE);
    let digest = rows::each_shared(
        connection,
        parts,
        stretch,
        |place, row| {
            waiting.push((place.to_owned(), row));
            if waiting.len() == AT_ONCE {
                let mut answers = lock();
                waiting.drain(..).for_each(|(place, row)| put(&mut answers, &place, row));
            }
        },
        |place, row| put(&mut lock(), place, row),
    )?;
    let mut answers = lock();
    waiting.into_iter().for_each(|(place, row)| put(&mut answers, &place, row));
    Ok(digest)
}

/// What has keys is a keyring; of the rest it is told by its place.
fn put(answers: &mut Answers, place: &str, row: StoredRow<'_>) {
    if let (false, Some((tenant, client))) = (row.keys.is_empty(), place.split_once('.')) {
        let policy = row.policies.last().map_or(&PolicyPatch::NONE, |(_, patch)| patch);
        let keys = row.keys.iter().map(|key| Loaded {
            version: key.version,
            kid: key.kid,
            digest: key.digest,
            state: &key.state,
            scopes: &key.grant.scopes,
            cidrs: &key.grant.cidrs,
            expires_at: key.expires_at,
            imported_at: (key.origin == Origin::Imported).then_some(key.issued_at),
        });
        answers.load(tenant, client, policy, keys);
    } else if let Ok(address @ (Address::Tenant(_) | Address::Installation)) = subject::parse_place(place) {
        answers.update(&address, &row.into_loaded(None).state);
    }
}
