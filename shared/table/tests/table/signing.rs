//! Signers change in the middle of a log: whoever folds it comes to the same, however far ahead messages were weighed,
//! wherever it was cut, reopened or joined by a snapshot.

use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::{Actor, Address, At, EdgeId, Event, Fact, Service, SignerKey, Tenant};
use keywheel_table::{Fold, Message, Options, Weighed, snapshot};
use keywheel_wire::event::{self, Link};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers, When};
use keywheel_wire::{subject, warrant};
use nkeys::{KeyPair, KeyPairType};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use std::path::Path;
use std::sync::Arc;

const OURS: Installation = Installation(7);
const ROOT: u8 = 99;
const READER: Options = Options { commands: false, pending: |_| false, doubts: false };

fn key(n: u8) -> Signer {
    let pair = KeyPair::new_from_raw(KeyPairType::User, [n; 32]).unwrap();
    Signer::from_seed(&pair.seed().unwrap()).unwrap()
}

fn public(n: u8) -> SignerKey {
    SignerKey::parse(key(n).public()).unwrap()
}

/// Key 0 issues, key 1 propagates.
fn file() -> Arc<Signers> {
    let keys =
        [(0, Service::Issuer), (1, Service::Propagator)].map(|(n, role)| (public(n).to_string(), role));
    Arc::new(Signers::rooted(OURS, [public(ROOT).to_string()], keys).unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Add { key: u8, role: Service, word: u8 },
    Withdraw(u8),
    Edge,
    Policy,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u8)>> {
    let role = prop_oneof![Just(Service::Issuer), Just(Service::Propagator)];
    let word = prop_oneof![Just(ROOT), 0..5_u8];
    let step = prop_oneof![
        3 => (0..5_u8, role, word).prop_map(|(key, role, word)| Step::Add { key, role, word }),
        1 => (0..5_u8).prop_map(Step::Withdraw),
        1 => Just(Step::Edge),
        4 => Just(Step::Policy),
    ];
    proptest::collection::vec((step, 0..5_u8), 1..20)
}

fn fold(folder: &Path) -> Fold {
    Fold::open(&folder.join("fold.db"), READER, file()).unwrap()
}

/// Writes each step by its key as one who has read what stands before it, and folds it message by message.
fn written(steps: &[(Step, u8)], reference: &mut Fold) -> (Vec<Message>, Vec<u64>) {
    let (mut log, mut skipped) = (Vec::new(), Vec::new());
    for ((step, by), seq) in steps.iter().zip(1..) {
        let tenant = || Address::Tenant(Tenant::parse("acme").unwrap());
        let (address, fact) = match step {
            Step::Add { key: n, role, word } => {
                let asked = warrant::add(&key(*word), OURS, &public(*n), *role).unwrap();
                (Address::Installation, Fact::SignerAdded(asked))
            }
            Step::Withdraw(n) => {
                let asked = warrant::withdraw(&key(ROOT), OURS, &public(*n), "leaked").unwrap();
                (Address::Installation, Fact::SignerWithdrawn(asked))
            }
            Step::Edge => (Address::Installation, Fact::EdgeAdded(EdgeId::parse("e1").unwrap())),
            Step::Policy => (tenant(), Fact::PolicySet(Default::default())),
        };
        let loaded = reference.load(&address, None).unwrap();
        let link = Link { revision: loaded.state.revision + 1, prev: loaded.prev };
        let (id, command) = (EventId(u128::from(seq)), CommandId(u128::from(seq)));
        let actor = Actor::service("dana");
        let event = Event { id, address: address.clone(), at: At(seq), actor, command, rotation: None, fact };
        let payload = event::write(&event, link, OURS).unwrap();
        let subject = subject::event(&address);
        let signed = Some(key(*by).sign(&subject, &payload).unwrap());
        let message = Message { seq, subject, payload, signed };
        let applied = reference.apply(std::slice::from_ref(&message), &[]).unwrap();
        skipped.extend(applied.alarms.iter().map(|(seq, _)| *seq));
        log.push(message);
    }
    (log, skipped)
}

fn weighed(log: &[Message], by: &Signers) -> Vec<Weighed> {
    log.iter().map(|message| Weighed::new(message.clone(), by)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_reader_comes_to_the_same(steps in steps(), cut in any::<proptest::sample::Index>()) {
        let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let mut reference = fold(folders[0].path());
        let (log, skipped) = written(&steps, &mut reference);
        let cut = cut.index(log.len() + 1);

        // All of it weighed before anything was applied, and applied at once.
        let mut ahead = fold(folders[1].path());
        let applied = ahead.apply_weighed(weighed(&log, &file()), &[]).unwrap();
        prop_assert_eq!(applied.alarms.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), skipped);
        prop_assert_eq!(ahead.head(), reference.head());
        prop_assert_eq!(ahead.signers().learned(), reference.signers().learned());

        // Cut, closed and opened again: the rest was weighed by who stood at the cut.
        let mut again = fold(folders[2].path());
        again.apply(&log[..cut], &[]).unwrap();
        drop(again);
        let mut again = fold(folders[2].path());
        let stood = Arc::clone(again.signers());
        again.apply_weighed(weighed(&log[cut..], &stood), &[]).unwrap();
        prop_assert_eq!(again.head(), reference.head());

        // Joined by a snapshot of the cut.
        let mut bytes = Vec::new();
        let mut before = fold(folders[3].path());
        before.apply(&log[..cut], &[]).unwrap();
        let head = snapshot::export(&folders[3].path().join("fold.db"), &mut bytes).unwrap();
        let mut joined = Fold::open(&folders[3].path().join("joined.db"), READER, file()).unwrap();
        joined.import(&mut bytes.as_slice(), &head, &[]).unwrap();
        prop_assert_eq!(joined.signers().learned(), stood.learned());
        joined.apply(&log, &[]).unwrap();
        prop_assert_eq!(joined.head(), reference.head());
    }
}

#[test]
fn what_was_weighed_before_a_withdrawal_does_not_slip_through() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let add = Step::Add { key: 4, role: Service::Issuer, word: 0 };
    let steps = [
        (Step::Policy, 4),
        (add, 1),
        (Step::Policy, 4),
        (Step::Withdraw(0), 1),
        (Step::Policy, 0),
        (Step::Policy, 4),
    ];
    let (log, skipped) = written(&steps, &mut fold(folders[0].path()));
    assert_eq!(skipped, [1, 5]);
    let mut ahead = fold(folders[1].path());
    let applied = ahead.apply_weighed(weighed(&log, &file()), &[]).unwrap();
    let reasons: Vec<_> = applied.alarms.iter().map(|(_, reason)| reason.as_str()).collect();
    assert!(reasons[0].contains("neither in the signers file nor introduced"), "{reasons:?}");
    assert!(reasons[1].contains("was withdrawn at 4"), "{reasons:?}");
    assert!(ahead.signers().role(public(4).as_str(), When::Now).is_ok());
    // A batch that is not applied changes nobody.
    let gap = Message { seq: 9, ..log[0].clone() };
    let withdraw = Step::Withdraw(4);
    let (mut more, _) =
        written(&[&steps[..], &[(withdraw, 1)]].concat(), &mut fold(tempfile::tempdir().unwrap().path()));
    more.push(gap);
    assert!(ahead.apply(&more, &[]).is_err());
    assert!(ahead.signers().role(public(4).as_str(), When::Now).is_ok());
    is_of_one_piece(&ahead);
}

/// The set and the row are of the same transaction.
fn is_of_one_piece(fold: &Fold) {
    let stored = fold.load(&Address::Installation, None).unwrap().state.signers;
    assert_eq!(&stored, fold.signers().learned());
}
