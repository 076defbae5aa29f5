//! Laws of folding: how the log is cut, interrupted or repeated makes no difference.

use crate::log::{Log, Step, command_id, contents, keyring, open, signers, states, steps};
use keywheel_domain::Fact;
use keywheel_table::{Fold, Message, Replay};
use keywheel_wire::chain::Chain;
use keywheel_wire::subject;
use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

fn few() -> ProptestConfig {
    ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }
}

/// The fold of a whole log at once.
fn at_once(log: &Log) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    fold.apply(&log.messages, &[]).unwrap();
    contents(&fold, log)
}

/// The log in pieces of these sizes, the last size repeated.
fn pieces<'a>(mut messages: &'a [Message], sizes: &[usize]) -> Vec<&'a [Message]> {
    let mut pieces = Vec::new();
    for size in sizes.iter().chain(std::iter::repeat(sizes.last().unwrap())) {
        if messages.is_empty() {
            break;
        }
        let (piece, rest) = messages.split_at((*size).min(messages.len()));
        (messages, pieces) = (rest, [pieces, vec![piece]].concat());
    }
    pieces
}

proptest! {
    #![proptest_config(few())]

    #[test]
    fn batches_do_not_matter(steps in steps(), sizes in vec(1..9_usize, 1..6)) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        for piece in pieces(&log.messages, &sizes) {
            fold.apply(piece, &[]).unwrap();
        }
        prop_assert_eq!(contents(&fold, &log), at_once(&log));
    }

    #[test]
    fn one_by_one_is_the_plain_fold(steps in steps()) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        let (mut fold, mut chain) = (open(folder.path()), Chain::default());
        for message in &log.messages {
            let before = fold.head();
            let applied = fold.apply(std::slice::from_ref(message), &[]).unwrap();
            chain = chain.next(message.seq, &message.subject, &message.payload);
            let head = fold.head();
            prop_assert_eq!((head.watermark, head.chain, head.chain_before), (message.seq, chain, before.chain));
            prop_assert_eq!(applied.events.len() + applied.alarms.len(), 1);
            for (address, state) in applied.changed {
                prop_assert_eq!(&state, &fold.load(&address, None).unwrap().state);
            }
        }
        prop_assert_eq!(states(&fold), log.kept());
        prop_assert_eq!(contents(&fold, &log), at_once(&log));
    }

    #[test]
    fn restarts_do_not_matter(steps in steps(), sizes in vec(1..9_usize, 1..6)) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        for piece in pieces(&log.messages, &sizes) {
            open(folder.path()).apply(piece, &[]).unwrap();
        }
        prop_assert_eq!(contents(&open(folder.path()), &log), at_once(&log));
    }

    /// After a reconnect anything that was applied may come again, even all of it.
    #[test]
    fn repetition_does_not_matter(steps in steps(), cuts in vec((0..40_usize, 0..40_usize), 1..6)) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        let mut fold = open(folder.path());
        for (from, to) in cuts {
            let known = usize::try_from(fold.head().watermark).unwrap();
            let to = to.clamp(known, known.max(log.messages.len()));
            fold.apply(&log.messages[from.min(known)..to.min(log.messages.len())], &[]).unwrap();
        }
        fold.apply(&log.messages, &[]).unwrap();
        let once = contents(&fold, &log);
        let again = fold.apply(&log.messages, &[]).unwrap();
        prop_assert!(again.events.is_empty() && again.alarms.is_empty() && again.changed.is_empty());
        prop_assert_eq!(&contents(&fold, &log), &once);
        prop_assert_eq!(once, at_once(&log));
    }

    /// An edge keeps no commands, and has the same digest as who does.
    #[test]
    fn commands_are_beside_the_digest(steps in steps()) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        let options = keywheel_table::Options { commands: false, pending: |_| false, doubts: false };
        let mut edge = Fold::open(&folder.path().join("edge.db"), options, signers()).unwrap();
        let applied = edge.apply(&log.messages, &[]).unwrap();
        prop_assert!(applied.changed.values().all(|state| state.done.is_empty()), "nor in memory");
        let mut service = open(folder.path());
        service.apply(&log.messages, &[]).unwrap();
        prop_assert_eq!(edge.head(), service.head());
        prop_assert_eq!(states(&edge), states(&service));
        prop_assert!(edge.pending().unwrap().is_empty());
    }

    #[test]
    fn a_replay_in_memory_believes_the_same(steps in steps()) {
        let log = Log::of(&steps);
        for (address, state) in &log.states {
            let mut replay = Replay::new(signers());
            let own = log.messages.iter().filter(|message| message.subject == subject::event(address));
            let believed: Vec<_> = own.filter_map(|message| replay.take(message).ok()).collect();
            prop_assert_eq!(&replay.state, state);
            prop_assert_eq!(believed.len() as u64, state.revision);
        }
    }

    #[test]
    fn what_a_command_did_is_known_for_ever(steps in steps()) {
        let log = Log::of(&steps);
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).apply(&log.messages, &[]).unwrap();
        let fold = open(folder.path());
        for (address, state) in &log.states {
            for (command, done) in &state.done {
                let loaded = fold.load(address, Some(*command)).unwrap();
                prop_assert_eq!(loaded.state.done.get(command), Some(done));
                prop_assert_eq!(loaded.state.done.len(), 1);
            }
            prop_assert!(fold.load(address, None).unwrap().state.done.is_empty());
            prop_assert!(fold.load(address, Some(command_id(0))).unwrap().state.done.is_empty());
        }
    }
}

#[test]
fn a_command_counts_at_its_own_address() {
    let log = Log::of(&[Step::Issue(0), Step::Issue(1)]);
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    fold.apply(&log.messages, &[]).unwrap();
    assert_eq!(fold.load(&keyring(0), Some(command_id(1))).unwrap().state.done.len(), 1);
    assert_eq!(fold.load(&keyring(1), Some(command_id(1))).unwrap().state.done.len(), 0);
}

#[test]
fn unsettled_work_survives_until_it_is_settled() {
    let log = Log::of(&[Step::Issue(0), Step::Revoke(0, 1), Step::Issue(1), Step::Revoke(1, 1)]);
    let ends: Vec<u64> = vec![2, 4];
    let folder = tempfile::tempdir().unwrap();
    let applied = open(folder.path()).apply(&log.messages, &[]).unwrap();
    let ended = applied.events.iter().filter(|recorded| matches!(recorded.event.fact, Fact::KeyRetired(_)));
    assert_eq!(ended.map(|recorded| recorded.seq).collect::<Vec<_>>(), ends);

    let mut fold = open(folder.path());
    assert_eq!(fold.pending().unwrap(), [(2, keyring(0)), (4, keyring(1))]);
    fold.settle(2).unwrap();
    fold.settle(2).unwrap();
    fold.apply(&log.messages, &[]).unwrap();
    assert_eq!(fold.pending().unwrap(), [(4, keyring(1))], "what comes again is not pending again");
    drop(fold);
    let fold = open(folder.path());
    assert_eq!(fold.pending().unwrap(), [(4, keyring(1))]);
    fold.settle_all(&[2, 4, 9]).unwrap();
    fold.settle_all(&[]).unwrap();
    drop(fold);
    assert_eq!(open(folder.path()).pending().unwrap(), []);
}
