//! What is not the log, no part of history, or not understood: refused, skipped, frozen.

use crate::log::{Log, OURS, Step, contents, foreign_event, keyring, open, signed, signer, signers, states};
use keywheel_table::replay::believe;
use keywheel_table::{Fold, Message, TableError};
use keywheel_wire::belief::Doubt;
use keywheel_wire::event::{self, Link};
use keywheel_wire::subject::{self, Service};
use tempfile::TempDir;

/// A fold of the first `count` messages of a plain log.
fn folded(count: usize) -> (TempDir, Fold, Log) {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    assert!(log.messages.len() >= 9, "{}", log.messages.len());
    let mut fold = open(folder.path());
    fold.apply(&log.messages[..count], &[]).unwrap();
    (folder, fold, log)
}

#[test]
fn a_gap_is_refused_and_nothing_of_its_batch_applied() {
    let (folder, mut fold, log) = folded(3);
    let before = contents(&fold, &log);
    for batch in [
        vec![log.messages[4].clone()],
        vec![log.messages[3].clone(), log.messages[4].clone(), log.messages[6].clone()],
        vec![log.messages[3].clone(), log.messages[3].clone(), log.messages[5].clone()],
    ] {
        let expected = if batch.len() == 1 {
            4
        } else if batch[1].seq == 5 {
            6
        } else {
            5
        };
        let got = batch.last().unwrap().seq;
        match fold.apply(&batch, &[("freshness", vec![1])]) {
            Err(TableError::Gap { expected: e, got: g }) => assert_eq!((e, g), (expected, got)),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(&fold, &log), before);
        assert_eq!(fold.note("freshness").unwrap(), None);
        assert_eq!(contents(&open(folder.path()), &log), before, "nor on disk");
    }
    fold.apply(&log.messages[3..], &[]).unwrap();
    assert_eq!(states(&fold), log.kept());
}

#[test]
fn a_message_at_the_watermark_is_checked_again() {
    let (folder, mut fold, log) = folded(5);
    let before = contents(&fold, &log);
    let there = log.messages[4].clone();
    let altered = |change: fn(&mut Message)| {
        let mut message = there.clone();
        change(&mut message);
        message
    };
    let others = [
        altered(|message| message.payload[10] ^= 1),
        altered(|message| message.payload.push(0)),
        altered(|message| message.subject.push('x')),
        Message { seq: 5, ..log.messages[3].clone() },
        Message { seq: 5, ..log.messages[5].clone() },
        Message { seq: 5, subject: String::new(), payload: vec![], signed: None },
    ];
    for other in others {
        for batch in [vec![other.clone()], vec![other.clone(), log.messages[5].clone()]] {
            for fold in [&mut fold, &mut open(folder.path())] {
                let refused = fold.apply(&batch, &[]);
                assert!(matches!(refused, Err(TableError::Diverged { seq: 5, .. })), "{refused:?}");
                assert_eq!(contents(fold, &log), before);
            }
        }
    }
    fold.apply(&log.messages[4..], &[]).unwrap();
    assert_eq!(states(&fold), log.kept());
}

/// A log that was made anew has the same sequences and other contents.
#[test]
fn a_recreated_log_is_another_log() {
    let (_folder, mut fold, _) = folded(5);
    let anew = Log::of(&[Step::Issue(2); 8]);
    let refused = fold.apply(&anew.messages[4..], &[]);
    assert!(matches!(refused, Err(TableError::Diverged { seq: 5, .. })), "{refused:?}");
}

/// The hash at the watermark is over everything before: the same last message after another past differs.
#[test]
fn another_past_shows_at_the_watermark() {
    let (folder, log) = (tempfile::tempdir().unwrap(), Log::plain());
    let mut fold = open(folder.path());
    let mut past = log.messages[..5].to_vec();
    past[2].payload[10] ^= 1;
    fold.apply(&past, &[]).unwrap();
    let (_other_folder, other, _) = folded(5);
    assert_ne!(fold.head().chain, other.head().chain);
    assert_ne!(fold.head().chain_before, other.head().chain_before);
}

#[test]
fn what_continues_nothing_is_skipped() {
    let wrong = [
        Link { revision: 1, prev: None },
        Link { revision: 3, prev: None },
        Link { revision: 2, prev: None },
        Link { revision: 2, prev: Some([0; 32]) },
        Link { revision: u64::MAX, prev: None },
        Link { revision: 0, prev: None },
    ];
    for link in wrong {
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        let log = Log::of(&[Step::Issue(0)]);
        fold.apply(&log.messages, &[]).unwrap();
        let before = fold.load(&keyring(0), None).unwrap();
        let payload = event::write(&foreign_event(&keyring(0)), link, OURS).unwrap();
        let stray = signed(Service::Issuer, 2, &subject::event(&keyring(0)), payload);
        let doubt = believe(&stray, &signers(), before.state.revision, before.prev);
        assert!(matches!(doubt, Err(Doubt::Skip(_))), "{link:?}: {doubt:?}");

        let applied = fold.apply(&[stray], &[]).unwrap();
        let after = fold.load(&keyring(0), None).unwrap();
        assert_eq!((applied.events.len(), applied.changed.len()), (0, 0), "{link:?}");
        assert_eq!(applied.alarms[0].0, 2);
        assert!(applied.alarms[0].1.starts_with("kw.evt.acme.client-0: revision "), "{:?}", applied.alarms);
        assert_eq!((&after.state, after.prev, &after.frozen), (&before.state, before.prev, &None));
        assert_eq!(after.seq, 2, "the next append must expect it all the same");
    }
}

#[test]
fn what_follows_a_stray_is_believed() {
    let log = Log::of(&[Step::Issue(0), Step::Stray(0), Step::Activate(0, 1)]);
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    let applied = fold.apply(&log.messages, &[]).unwrap();
    assert_eq!((applied.events.len(), applied.alarms.len()), (2, 1));
    assert_eq!(fold.load(&keyring(0), None).unwrap().state.revision, 2);
}

#[test]
fn what_is_not_understood_freezes_its_keyring_alone() {
    let log = Log::of(&[
        Step::Issue(0),
        Step::Issue(1),
        Step::Garbled(0),
        Step::Activate(0, 1),
        Step::Activate(1, 1),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let applied = open(folder.path()).apply(&log.messages, &[]).unwrap();
    assert_eq!(applied.events.iter().map(|recorded| recorded.seq).collect::<Vec<_>>(), [1, 2, 5]);
    assert_eq!(applied.alarms.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [3, 4]);
    assert!(applied.alarms[0].1.contains("kw.evt.acme.client-0 cannot be understood: "));

    let fold = open(folder.path());
    let frozen = fold.load(&keyring(0), None).unwrap();
    assert_eq!((frozen.state.revision, frozen.seq), (1, 4), "its state stays, its sequence advances");
    assert!(frozen.frozen.unwrap().contains("cannot be understood"), "also after a restart");
    let other = fold.load(&keyring(1), None).unwrap();
    assert_eq!((other.state.revision, other.frozen), (2, None));
}

/// Copied as it is, its signature does not fit the subject; signed anew by whoever may, it says itself
/// where it belongs.
#[test]
fn an_event_of_another_keyring_is_no_part_of_history() {
    let log = Log::of(&[Step::Issue(0), Step::Issue(1)]);
    let copy = Message { subject: subject::event(&keyring(2)), ..log.messages[1].clone() };
    let resigned = signer(Service::Issuer).sign(&copy.subject, &copy.payload).unwrap();
    for (signed, expected) in
        [(copy.signed.clone(), "its signature is not"), (Some(resigned), "written for acme/client-1")]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        let applied =
            fold.apply(&[log.messages[0].clone(), Message { signed, ..copy.clone() }], &[]).unwrap();
        assert!(applied.alarms[0].1.contains(expected), "{:?}", applied.alarms);
        let there = fold.load(&keyring(2), None).unwrap();
        assert_eq!((there.state.revision, there.frozen, there.seq), (0, None, 2));
    }
}

/// Each forgery continues the keyring in every respect but who says so.
#[test]
fn what_is_forged_is_skipped_and_what_follows_is_believed() {
    for kind in 0..5 {
        let log = Log::of(&[Step::Issue(0), Step::Forged(0, kind), Step::Activate(0, 1), Step::Rotate(0)]);
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        let applied = fold.apply(&log.messages, &[]).unwrap();
        assert_eq!(
            applied.events.iter().map(|recorded| recorded.seq).collect::<Vec<_>>(),
            [1, 3, 4],
            "{kind}"
        );
        assert_eq!(applied.alarms.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2], "{kind}");
        assert_eq!(states(&fold), log.kept());
        // The last one of a keyring moves what the next append must expect.
        let last = Log::of(&[Step::Issue(0), Step::Forged(0, kind)]);
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        fold.apply(&last.messages, &[]).unwrap();
        assert_eq!(fold.load(&keyring(0), None).unwrap().seq, 2);
    }
}

/// Whoever tells of doubts has them after a restart, until it told.
#[test]
fn doubts_are_kept_until_somebody_has_told_of_them() {
    let log =
        Log::of(&[Step::Issue(0), Step::Stray(0), Step::Issue(1), Step::Garbled(1), Step::Activate(1, 1)]);
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).apply(&log.messages, &[]).unwrap();
    let fold = open(folder.path());
    let doubted = fold.doubted(10).unwrap();
    let seen: Vec<_> = doubted.iter().map(|doubted| (doubted.seq, doubted.doubt.freezes())).collect();
    assert_eq!(seen, [(2, false), (4, true), (5, true)]);
    assert_eq!(doubted[0].subject, subject::event(&keyring(0)));
    assert_eq!(fold.doubted(1).unwrap().len(), 1);
    fold.told(2).unwrap();
    assert_eq!(fold.doubted(10).unwrap().iter().map(|doubted| doubted.seq).collect::<Vec<_>>(), [4, 5]);
}
