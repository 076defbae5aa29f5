//! A reader that begins with a snapshot goes on as one that read the whole log.

use crate::log::{Log, OPTIONS, keyring, open, signers, states, steps};
use keywheel_table::fold::Head;
use keywheel_table::{Fold, Options, TableError, snapshot};
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};
use std::path::Path;

const READER: Options = Options { commands: false, pending: |_| false, doubts: false };

fn reader(folder: &Path) -> Fold {
    Fold::open(&folder.join("edge.db"), READER, signers()).unwrap()
}

/// The snapshot of what a service has folded.
fn taken(log: &Log, count: usize) -> (Head, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    fold.apply(&log.messages[..count], &[("own", vec![1])]).unwrap();
    let mut bytes = Vec::new();
    let head = snapshot::export(&folder.path().join("fold.db"), &mut bytes).unwrap();
    assert_eq!(head, fold.head());
    (head, bytes)
}

fn refused(fold: &mut Fold, bytes: &[u8], promised: &Head) -> String {
    let before = fold.head();
    let refused = fold.import(&mut &*bytes, promised, &[("from", vec![1])]);
    let Err(TableError::Snapshot(why)) = refused else { panic!("{refused:?}") };
    assert_eq!(fold.head(), before);
    assert_eq!(fold.note("from").unwrap(), None);
    why
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_the_rest_is_the_whole(steps in steps(), cut in 0..40_usize) {
        let log = Log::of(&steps);
        let (head, bytes) = taken(&log, cut.min(log.messages.len()));
        let folder = tempfile::tempdir().unwrap();
        let mut fold = reader(folder.path());
        fold.import(&mut bytes.as_slice(), &head, &[("from", vec![7])]).unwrap();
        prop_assert_eq!(fold.head(), head);
        drop(fold);
        let mut fold = reader(folder.path());
        prop_assert_eq!(fold.note("from").unwrap(), Some(vec![7]));
        prop_assert_eq!(fold.note("own").unwrap(), None, "what is the writer's own is not in it");
        fold.apply(&log.messages, &[]).unwrap();
        let whole = tempfile::tempdir().unwrap();
        let mut other = open(whole.path());
        other.apply(&log.messages, &[]).unwrap();
        prop_assert_eq!(fold.head(), other.head());
        prop_assert_eq!(states(&fold), states(&other));
        for address in log.states.keys() {
            let (own, others) = (fold.load(address, None).unwrap(), other.load(address, None).unwrap());
            prop_assert_eq!((own.seq, own.prev, own.frozen), (others.seq, others.prev, others.frozen));
        }
    }
}

/// Whoever wrote it: a reader writes the same bytes as a service, and as one that began with a snapshot.
#[test]
fn every_reader_writes_the_same() {
    let log = Log::plain();
    let (head, bytes) = taken(&log, log.messages.len());
    let folder = tempfile::tempdir().unwrap();
    let (path, mut again) = (folder.path().join("edge.db"), Vec::new());
    let mut fold = reader(folder.path());
    fold.import(&mut bytes.as_slice(), &head, &[]).unwrap();
    assert_eq!(snapshot::export(&path, &mut again).unwrap(), head);
    assert_eq!(again, bytes);
}

#[test]
fn one_altered_byte_is_refused_and_nothing_taken() {
    let log = Log::plain();
    let (head, bytes) = taken(&log, log.messages.len());
    let folder = tempfile::tempdir().unwrap();
    let mut fold = reader(folder.path());
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        refused(&mut fold, &altered, &head);
    }
    for cut in (0..bytes.len()).step_by(7) {
        assert!(refused(&mut fold, &bytes[..cut], &head).contains("early"), "{cut}");
    }
    assert!(refused(&mut fold, &[bytes.as_slice(), &[0]].concat(), &head).contains("more after its end"));
    fold.import(&mut bytes.as_slice(), &head, &[]).unwrap();
}

#[test]
fn what_was_not_promised_is_refused() {
    let log = Log::plain();
    let (head, bytes) = taken(&log, 6);
    let (later, newer) = taken(&log, 7);
    let folder = tempfile::tempdir().unwrap();
    let mut fold = reader(folder.path());
    assert!(refused(&mut fold, &bytes, &later).contains("another position"));
    assert!(refused(&mut fold, &newer, &head).contains("another position"));
    fold.import(&mut bytes.as_slice(), &head, &[]).unwrap();
    assert!(refused(&mut fold, &newer, &later).contains("not empty"));
    let (other, service) = (tempfile::tempdir().unwrap(), open);
    assert!(refused(&mut service(other.path()), &bytes, &head).contains("the whole log"));
    const { assert!(OPTIONS.commands) };
    assert!(fold.load(&keyring(0), None).unwrap().state.revision > 0);
}

/// Rows that contradict the log stand at its position all the same: the message there must be the one
/// that was applied.
#[test]
fn the_log_must_go_on_from_it() {
    let log = Log::plain();
    let (head, bytes) = taken(&log, 6);
    let folder = tempfile::tempdir().unwrap();
    let mut fold = reader(folder.path());
    fold.import(&mut bytes.as_slice(), &head, &[]).unwrap();
    let mut other = log.messages[5].clone();
    other.payload[10] ^= 1;
    assert!(matches!(fold.apply(&[other], &[]), Err(TableError::Diverged { seq: 6, .. })));
    fold.apply(&log.messages[5..], &[]).unwrap();
}

#[test]
fn a_damaged_table_is_not_written_out() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    open(folder.path()).apply(&log.messages, &[]).unwrap();
    let path = folder.path().join("fold.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DELETE FROM address WHERE place = 'acme.client-1'", []).unwrap();
    let refused = snapshot::export(&path, &mut Vec::new());
    assert!(refused.err().is_some_and(|error| error.is_damage()));
}
