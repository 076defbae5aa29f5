//! Rows, position and notes change together or not at all.

use crate::log::{Log, contents, open};
use keywheel_table::TableError;
use rusqlite::Connection;

#[test]
fn notes_are_kept_with_the_rows() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    let mut fold = open(folder.path());
    assert_eq!(fold.note("freshness").unwrap(), None);
    fold.apply(&log.messages[..3], &[("freshness", vec![1, 2]), ("boot", vec![])]).unwrap();
    fold.apply(&[], &[("freshness", vec![3])]).unwrap();
    drop(fold);
    let fold = open(folder.path());
    assert_eq!(fold.head().watermark, 3);
    assert_eq!(fold.note("freshness").unwrap(), Some(vec![3]));
    assert_eq!(fold.note("boot").unwrap(), Some(vec![]));
}

/// Fails at each of the writes that a batch makes, one after the other.
#[test]
fn a_failure_in_the_middle_leaves_nothing_behind() {
    for (what, table) in [
        ("BEFORE INSERT ON address WHEN NEW.place = 'acme.client-1'", "address"),
        ("BEFORE INSERT ON command WHEN NEW.seq = 9", "command"),
        ("BEFORE UPDATE ON head", "head"),
        ("BEFORE INSERT ON note WHEN NEW.name = 'last'", "note"),
    ] {
        let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
        let mut fold = open(folder.path());
        fold.apply(&log.messages[..2], &[("first", vec![1])]).unwrap();
        let before = contents(&fold, &log);
        let other = Connection::open(folder.path().join("fold.db")).unwrap();
        other
            .execute_batch(&format!("CREATE TRIGGER fail {what} BEGIN SELECT RAISE(ABORT, 'no'); END"))
            .unwrap();

        let notes = [("first", vec![2]), ("last", vec![2])];
        let failed = fold.apply(&log.messages[2..], &notes);
        assert!(matches!(failed, Err(TableError::Sqlite(_))), "{table}: {failed:?}");
        for fold in [&fold, &open(folder.path())] {
            assert_eq!(contents(fold, &log), before, "{table}");
            assert_eq!(fold.note("first").unwrap(), Some(vec![1]), "{table}");
            assert_eq!(fold.note("last").unwrap(), None, "{table}");
        }

        other.execute_batch("DROP TRIGGER fail").unwrap();
        fold.apply(&log.messages[2..], &notes).unwrap();
        assert_eq!(fold.note("last").unwrap(), Some(vec![2]), "{table}: it can be tried again");
        assert_eq!(fold.head().watermark, log.messages.len() as u64);
        // What rows share is there for the next process too.
        let (whole, anew) = (tempfile::tempdir().unwrap(), open(folder.path()));
        let mut at_once = open(whole.path());
        at_once.apply(&log.messages, &[]).unwrap();
        assert_eq!(contents(&anew, &log), contents(&at_once, &log), "{table}");
    }
}
