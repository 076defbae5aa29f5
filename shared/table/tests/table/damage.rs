//! A database that was altered under us: noticed before anything is built on it.

use crate::log::{Log, OPTIONS, Step, keyring, open, signers};
use keywheel_table::{Fold, TableError, look_over};
use rusqlite::Connection;
use std::path::Path;
use tempfile::TempDir;

/// A fold of a plain log but for its last two messages, closed.
fn closed() -> (TempDir, Log) {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    open(folder.path()).apply(&log.messages[..log.messages.len() - 2], &[]).unwrap();
    (folder, log)
}

fn sql(folder: &Path, statement: &str) {
    let connection = Connection::open(folder.join("fold.db")).unwrap();
    let changed = connection.execute(statement, []).unwrap();
    assert_eq!(changed, 1, "{statement}");
}

fn is_damaged<T>(result: Result<T, TableError>) -> bool {
    result.err().is_some_and(|error| error.is_damage())
}

/// One row, as it lies in the database.
fn row(folder: &Path) -> Vec<u8> {
    let connection = Connection::open(folder.join("fold.db")).unwrap();
    let select = "SELECT row FROM address WHERE place = 'acme.client-1'";
    connection.query_row(select, [], |row| row.get(0)).unwrap()
}

fn put(folder: &Path, column: &str, value: &[u8]) {
    let connection = Connection::open(folder.join("fold.db")).unwrap();
    let update = format!("UPDATE {column} WHERE place = 'acme.client-1'");
    assert_eq!(connection.execute(&update, [value]).unwrap(), 1);
}

#[test]
fn one_altered_byte_of_a_row_is_found() {
    let (folder, log) = closed();
    let sound = row(folder.path());
    let mut others: Vec<Vec<u8>> = (0..sound.len())
        .map(|at| {
            let mut other = sound.clone();
            other[at] ^= 1 << (at % 8);
            other
        })
        .collect();
    others.extend([
        sound[..sound.len() - 1].to_vec(),
        [&sound[..], &[0]].concat(),
        sound[..8].to_vec(),
        vec![],
    ]);
    let mut fold = open(folder.path());
    let head = fold.head();
    for other in others {
        put(folder.path(), "address SET row = ?1", &other);
        assert!(is_damaged(fold.load(&keyring(1), None)), "{other:?}: load");
        assert!(is_damaged(fold.each(|_, _| ())), "{other:?}: each");
        assert!(is_damaged(fold.apply(&log.messages, &[])), "{other:?}: nothing is built on it");
        assert_eq!(fold.head(), head, "{other:?}");
        assert!(fold.load(&keyring(0), None).is_ok(), "{other:?}: the others can be read");
    }
    put(folder.path(), "address SET row = ?1", &sound);
    fold.apply(&log.messages, &[]).unwrap();
}

/// What many rows share is damaged in all of them.
#[test]
fn one_altered_byte_of_a_shared_part_is_found() {
    for change in [
        "UPDATE part SET bytes = CAST(replace(bytes, 'read', 'reed') AS BLOB) WHERE id = 1",
        "UPDATE part SET bytes = substr(bytes, 1, length(bytes) - 1) WHERE id = 1",
        "UPDATE part SET bytes = x'09' WHERE id = 1",
        "UPDATE part SET id = 9 WHERE id = 1",
        "DELETE FROM part WHERE id = 1",
    ] {
        let (folder, _) = closed();
        sql(folder.path(), change);
        let path = folder.path().join("fold.db");
        let read = || Fold::open(&path, OPTIONS, signers()).and_then(|fold| fold.load(&keyring(1), None));
        assert!(is_damaged(read()), "{change}");
        assert!(is_damaged(look_over(&path, |_, _, _| ())), "{change}: looked over");
    }
}

/// Frozen in other words is frozen all the same; frozen for no reason, or not frozen any more, is damage.
#[test]
fn what_freezes_a_row_is_kept() {
    let log = Log::of(&[Step::Issue(1), Step::Garbled(1)]);
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).apply(&log.messages, &[]).unwrap();
    sql(folder.path(), "UPDATE frozen SET reason = 'by whom?'");
    assert_eq!(open(folder.path()).load(&keyring(1), None).unwrap().frozen.as_deref(), Some("by whom?"));
    sql(folder.path(), "DELETE FROM frozen");
    assert!(is_damaged(open(folder.path()).load(&keyring(1), None)));
}

#[test]
fn a_missing_row_or_one_too_many_is_found() {
    for change in [
        "DELETE FROM address WHERE place = 'acme.client-1'",
        "INSERT INTO address SELECT 'acme.other', row FROM address WHERE place = 'acme.client-1'",
        "UPDATE address SET place = 'acme.other' WHERE place = 'acme.client-1'",
        "UPDATE head SET digest = zeroblob(32)",
        "UPDATE head SET chain = zeroblob(32)",
        "UPDATE head SET watermark = watermark - 1",
        "DELETE FROM note WHERE name = 'head'",
    ] {
        let (folder, _) = closed();
        sql(folder.path(), change);
        let path = folder.path().join("fold.db");
        assert!(
            is_damaged(Fold::open(&path, OPTIONS, signers()).and_then(|fold| fold.each(|_, _| ()))),
            "{change}"
        );
        assert!(is_damaged(look_over(&path, |_, _, _| ())), "{change}: looked over");
    }
}

#[test]
fn an_older_row_in_place_of_a_newer_is_found() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    let mut fold = open(folder.path());
    fold.apply(&log.messages[..4], &[]).unwrap();
    let older = row(folder.path());
    fold.apply(&log.messages, &[]).unwrap();
    drop(fold);
    assert_ne!(row(folder.path()), older);
    put(folder.path(), "address SET row = ?1", &older);
    let fold = open(folder.path());
    assert!(fold.load(&keyring(1), None).is_ok(), "the row itself is sound");
    assert!(is_damaged(fold.each(|_, _| ())), "the whole is not");
}

#[test]
fn another_schema_is_not_touched() {
    let (folder, _) = closed();
    let connection = Connection::open(folder.path().join("fold.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    let refused = Fold::open(&folder.path().join("fold.db"), OPTIONS, signers());
    assert!(matches!(refused, Err(TableError::Schema { found: 99, known: 3, .. })));
    assert!(is_damaged(refused));
    assert!(Fold::open_or_begin(&folder.path().join("fold.db"), OPTIONS, &signers()).is_err());
}

#[test]
fn one_of_an_older_schema_is_set_aside_and_begun_anew() {
    let (folder, log) = closed();
    let path = folder.path().join("fold.db");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let (mut fold, aside) = Fold::open_or_begin(&path, OPTIONS, &signers()).unwrap();
    let aside = aside.unwrap();
    assert!(aside.ends_with("fold.db.schema-2") && aside.exists());
    fold.apply(&log.messages, &[]).unwrap();
    drop(fold);
    let (fold, aside) = Fold::open_or_begin(&path, OPTIONS, &signers()).unwrap();
    assert_eq!((fold.head().watermark, aside), (log.messages.len() as u64, None));
}

#[test]
fn what_is_no_database_is_damage_and_a_missing_folder_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fold.db");
    std::fs::write(&path, "anything but a database, and long enough to have a header of its own".repeat(20))
        .unwrap();
    assert!(is_damaged(Fold::open(&path, OPTIONS, signers())));
    let nowhere = Fold::open(&folder.path().join("no/such/folder/fold.db"), OPTIONS, signers());
    assert!(nowhere.err().is_some_and(|error| !error.is_damage()));
}
