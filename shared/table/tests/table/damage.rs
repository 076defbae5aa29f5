//! A database that was altered under us: noticed before anything is built on it.

use crate::log::{Log, OPTIONS, keyring, open, signers};
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

#[test]
fn one_altered_byte_of_a_row_is_found() {
    let middle = "(length(state) / 2)";
    let flip =
        format!("state = CAST(substr(state, 1, {middle}) || x'2a' || substr(state, {middle} + 2) AS BLOB)");
    for change in [
        flip.as_str(),
        "state = substr(state, 1, length(state) - 1)",
        "hash = zeroblob(32)",
        "hash = zeroblob(31)",
        "seq = seq + 1",
        "prev = zeroblob(32)",
        "prev = NULL",
        "frozen = 'by whom?'",
    ] {
        let (folder, log) = closed();
        sql(folder.path(), &format!("UPDATE address SET {change} WHERE subject = 'kw.evt.acme.client-1'"));
        let mut fold = open(folder.path());
        let head = fold.head();
        assert!(is_damaged(fold.load(&keyring(1), None)), "{change}: load");
        assert!(is_damaged(fold.each(|_, _| ())), "{change}: each");
        assert!(is_damaged(fold.apply(&log.messages, &[])), "{change}: nothing is built on it");
        assert_eq!(fold.head(), head, "{change}");
        assert!(fold.load(&keyring(0), None).is_ok(), "{change}: the others can be read");
    }
}

#[test]
fn a_missing_row_or_one_too_many_is_found() {
    for change in [
        "DELETE FROM address WHERE subject = 'kw.evt.acme.client-1'",
        "INSERT INTO address SELECT 'kw.evt.acme.other', seq, revision, prev, open, frozen, state, hash FROM address WHERE subject = 'kw.evt.acme.client-1'",
        "UPDATE address SET subject = 'kw.evt.acme.other' WHERE subject = 'kw.evt.acme.client-1'",
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
    let copy = "INSERT INTO note SELECT 'old', state FROM address WHERE subject = 'kw.evt.acme.client-1'";
    let mut fold = open(folder.path());
    fold.apply(&log.messages[..4], &[]).unwrap();
    sql(folder.path(), copy);
    sql(
        folder.path(),
        "INSERT INTO note SELECT 'hash', hash FROM address WHERE subject = 'kw.evt.acme.client-1'",
    );
    sql(
        folder.path(),
        "INSERT INTO note SELECT 'seq', seq FROM address WHERE subject = 'kw.evt.acme.client-1'",
    );
    sql(
        folder.path(),
        "INSERT INTO note SELECT 'prev', prev FROM address WHERE subject = 'kw.evt.acme.client-1'",
    );
    fold.apply(&log.messages, &[]).unwrap();
    drop(fold);
    let old = |name: &str| format!("(SELECT value FROM note WHERE name = '{name}')");
    let (state, hash, seq, prev) = (old("old"), old("hash"), old("seq"), old("prev"));
    sql(
        folder.path(),
        &format!(
            "UPDATE address SET state = {state}, hash = {hash}, seq = {seq}, prev = {prev} WHERE subject = 'kw.evt.acme.client-1'"
        ),
    );
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
    assert!(matches!(refused, Err(TableError::Schema { found: 99, known: 2, .. })));
    assert!(is_damaged(refused));
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
