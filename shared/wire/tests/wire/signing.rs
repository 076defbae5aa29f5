//! Signers that come and go by events: whoever reads the same log believes the same, wherever it began to read and
//! however much it knew, and no stolen key does what only the root may.

use crate::samples::{OURS, ROOT, key, public};
use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::signer::{INTRODUCED_MAX, Introduced, Warrant};
use keywheel_domain::{Actor, Address, At, EdgeId, Event, Fact, Service, SignerKey};
use keywheel_wire::belief::{self, Doubt, Heard};
use keywheel_wire::event::{self, Link};
use keywheel_wire::notice::{Alarm, Notice, SignedHead};
use keywheel_wire::signature::Signed;
use keywheel_wire::signers::{Installation, Signers, When};
use keywheel_wire::text::{Hex32, Id, Moment};
use keywheel_wire::{subject, warrant};
use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// Keys 0 to 3 are listed, one for each role; 4 to 9 are not.
fn listed() -> Signers {
    let keys = Service::ALL.into_iter().zip(0..).map(|(role, n)| (public(n).to_string(), role));
    Signers::rooted(OURS, [public(ROOT).to_string()], keys).unwrap()
}

const PROPAGATOR: u8 = 1;

/// What somebody tries to write.
#[derive(Clone, Debug)]
enum Try {
    Add { key: u8, role: Service, word: u8 },
    Withdraw { key: u8, word: u8 },
    Edge,
}

/// A try, by whom it is written.
fn tries() -> impl Strategy<Value = Vec<(Try, u8)>> {
    let who = || prop_oneof![4 => 0..10_u8, 2 => proptest::strategy::Just(ROOT)];
    let role = || (0..4_usize).prop_map(|n| Service::ALL[n]);
    let one = prop_oneof![
        4 => (0..10_u8, role(), who()).prop_map(|(key, role, word)| Try::Add { key, role, word }),
        2 => (0..10_u8, who()).prop_map(|(key, word)| Try::Withdraw { key, word }),
        1 => proptest::strategy::Just(Try::Edge),
    ];
    let by = prop_oneof![3 => proptest::strategy::Just(PROPAGATOR), 2 => 0..10_u8];
    proptest::collection::vec((one, by), 1..24)
}

struct Written {
    seq: u64,
    payload: Vec<u8>,
    signed: Signed,
}

fn fact(asked: &Try) -> Fact {
    match asked {
        Try::Add { key: n, role, word } => {
            Fact::SignerAdded(warrant::add(&key(*word), OURS, &public(*n), *role).unwrap())
        }
        Try::Withdraw { key: n, word } => {
            Fact::SignerWithdrawn(warrant::withdraw(&key(*word), OURS, &public(*n), "leaked").unwrap())
        }
        Try::Edge => Fact::EdgeAdded(EdgeId::parse("e1").unwrap()),
    }
}

fn write(seq: u64, fact: Fact, by: u8) -> Written {
    let event = Event {
        id: EventId(u128::from(seq)),
        address: Address::Installation,
        at: At(seq),
        actor: Actor::parse("dana").unwrap(),
        command: CommandId(u128::from(seq)),
        rotation: None,
        fact,
    };
    let payload = event::write(&event, Link { revision: seq, prev: None }, OURS).unwrap();
    let signed = key(by).sign("kw.evt._._", &payload).unwrap();
    Written { seq, payload, signed }
}

fn judge(signers: &Signers, it: &Written) -> Result<Fact, Doubt> {
    let read = belief::event(signers, it.seq, "kw.evt._._", &it.payload, Some(&it.signed));
    read.map(|read| read.event.fact)
}

/// The verdict on each, by one who reads them in order, and whom it believes in the end.
fn read(mut signers: Signers, log: &[Written]) -> (Vec<bool>, Signers) {
    let verdicts = log.iter().map(|it| {
        let judged = judge(&signers, it);
        if let Some(next) = judged.as_ref().ok().and_then(|fact| signers.after(it.seq, fact)) {
            signers = next;
        }
        judged.is_ok()
    });
    let verdicts = verdicts.collect();
    (verdicts, signers)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// To read ahead, to join by a snapshot and to ask of the past rest on this.
    #[test]
    fn who_knows_more_judges_what_lies_before_as_who_read_it_then(tries in tries(), cut in any::<proptest::sample::Index>()) {
        let log: Vec<_> = tries.iter().zip(1..).map(|((asked, by), seq)| write(seq, fact(asked), *by)).collect();
        let (verdicts, end) = read(listed(), &log);
        for (it, then) in log.iter().zip(&verdicts) {
            prop_assert_eq!(judge(&end, it).is_ok(), *then, "{}", it.seq);
        }
        // In two pieces, with nothing but what a state keeps in between, it is the same.
        let (first, second) = log.split_at(cut.index(log.len()));
        let (_, middle) = read(listed(), first);
        let (later, again) = read(listed().knowing(middle.learned()), second);
        prop_assert_eq!(&later, &verdicts[first.len()..]);
        prop_assert_eq!(again.learned(), end.learned());
    }

    #[test]
    fn nothing_but_the_word_of_a_root_withdraws_and_what_is_withdrawn_stays_so(tries in tries()) {
        let log: Vec<_> = tries.iter().zip(1..).map(|((asked, by), seq)| write(seq, fact(asked), *by)).collect();
        let (verdicts, end) = read(listed(), &log);
        for (key, at) in &end.learned().withdrawn {
            let (Try::Withdraw { word, .. }, by) = &tries[*at as usize - 1] else { panic!("{at}") };
            prop_assert_eq!(*word, ROOT);
            prop_assert!(end.role(key.as_str(), When::At(at + 1)).is_err() && end.role(key.as_str(), When::Now).is_err());
            let was = *by == PROPAGATOR || end.role(public(*by).as_str(), When::At(*at)) == Ok(Service::Propagator);
            prop_assert!(was, "{key} at {at}");
        }
        for (((asked, by), it), believed) in tries.iter().zip(&log).zip(&verdicts) {
            let author = end.role(public(*by).as_str(), When::At(it.seq));
            let word = |word: &u8| end.role(public(*word).as_str(), When::At(it.seq)).ok();
            let may = match asked {
                Try::Edge => true,
                Try::Withdraw { word, .. } => *word == ROOT,
                Try::Add { role, word: by, .. } => *by == ROOT || word(by) == Some(*role),
            };
            prop_assert_eq!(*believed, may && author == Ok(Service::Propagator), "{:?} by {}", asked, by);
        }
    }
}

fn is_refused(signers: &Signers, fact: Fact, why: &str) {
    let said = judge(signers, &write(9, fact, PROPAGATOR)).unwrap_err();
    assert!(!said.freezes() && said.reason().contains(why), "{said}");
}

#[test]
fn a_warrant_is_over_exactly_what_is_asked() {
    let signers = listed();
    let sound = warrant::add(&key(ROOT), OURS, &public(5), Service::Issuer).unwrap();
    assert!(judge(&signers, &write(9, Fact::SignerAdded(sound.clone()), PROPAGATOR)).is_ok());
    let not_over = "it is not over what is asked";
    is_refused(&signers, Fact::SignerAdded(Introduced { key: public(6), ..sound.clone() }), not_over);
    is_refused(&signers, Fact::SignerAdded(Introduced { role: Service::Retirer, ..sound.clone() }), not_over);
    let posed = Warrant { by: public(0), ..sound.warrant.clone() };
    is_refused(&signers, Fact::SignerAdded(Introduced { warrant: posed, ..sound }), not_over);
    let other = Installation(OURS.0 + 1);
    let foreign = warrant::add(&key(ROOT), other, &public(5), Service::Issuer).unwrap();
    is_refused(&signers, Fact::SignerAdded(foreign), not_over);
    let mut withdrawn = warrant::withdraw(&key(ROOT), OURS, &public(0), "leaked").unwrap();
    assert!(judge(&signers, &write(9, Fact::SignerWithdrawn(withdrawn.clone()), PROPAGATOR)).is_ok());
    withdrawn.reason = "of age".to_owned();
    is_refused(&signers, Fact::SignerWithdrawn(withdrawn), not_over);
    let own = warrant::withdraw(&key(0), OURS, &public(2), "mine now").unwrap();
    is_refused(&signers, Fact::SignerWithdrawn(own), "only a root withdraws");
    let other = warrant::add(&key(0), OURS, &public(5), Service::Retirer).unwrap();
    is_refused(&signers, Fact::SignerAdded(other), "may not introduce a signer");
}

/// Else a stolen key could keep itself from being withdrawn.
#[test]
fn nothing_freezes_the_installations_own_address() {
    let (signers, subject) = (listed(), subject::event(&Address::Installation));
    let signed = key(PROPAGATOR).sign(&subject, b"\xc1").unwrap();
    let judged = belief::event(&signers, 3, &subject, b"\xc1", Some(&signed));
    assert!(matches!(&judged, Err(Doubt::Skip(why)) if why.contains("cannot be understood")), "{judged:?}");
}

#[test]
fn a_stolen_key_introduces_so_many_and_the_root_any_number() {
    let mut signers = listed();
    let fresh = || {
        let pair = nkeys::KeyPair::new_user();
        SignerKey::parse(&pair.public_key()).unwrap()
    };
    let mut seq = 0;
    let mut add = |signers: &mut Signers, by: u8| {
        seq += 1;
        let asked = warrant::add(&key(by), OURS, &fresh(), Service::Issuer).unwrap();
        let judged = judge(signers, &write(seq, Fact::SignerAdded(asked), PROPAGATOR));
        if let Some(next) = judged.as_ref().ok().and_then(|fact| signers.after(seq, fact)) {
            *signers = next;
        }
        judged
    };
    assert!((0..INTRODUCED_MAX).all(|_| add(&mut signers, 0).is_ok()));
    assert!(add(&mut signers, 0).unwrap_err().reason().contains("withdraw some"));
    assert!(add(&mut signers, ROOT).is_ok() && add(&mut signers, 0).is_err());
}

/// Of what stands beside the log.
#[test]
fn a_withdrawn_key_tells_nobody_anything_new() {
    let withdrawn = warrant::withdraw(&key(ROOT), OURS, &public(PROPAGATOR), "leaked").unwrap();
    let signers = listed().after(10, &Fact::SignerWithdrawn(withdrawn)).unwrap();
    let told = |notice: Notice, heard| {
        let at = subject::notice(&Address::Installation, notice.kind());
        let payload = serde_json::to_vec(&notice).unwrap();
        let signed = key(PROPAGATOR).sign(&at, &payload).unwrap();
        belief::notice(&signers, heard, &at, &payload, Some(&signed)).is_ok()
    };
    let head = |seq| {
        let (chain, at) = (Hex32([0; 32]), Moment(At(1)));
        Notice::Head(SignedHead { installation: Id(OURS.0), log_created: at, seq, chain, digest: chain, at })
    };
    let alarm =
        |seq| Notice::Alarm(Alarm { code: "stray".into(), detail: "x".into(), at: Moment(At(1)), seq });
    assert!(told(head(9), Heard::Stored) && !told(head(10), Heard::Stored) && !told(head(11), Heard::Stored));
    assert!(told(alarm(Some(9)), Heard::Stored) && !told(alarm(None), Heard::Stored));
    assert!(![head(9), alarm(Some(9))].into_iter().any(|notice| told(notice, Heard::Live)));
}

#[test]
fn a_root_is_no_service() {
    let keys = [(public(0).to_string(), Service::Issuer)];
    let said = Signers::rooted(OURS, [public(0).to_string()], keys).unwrap_err().to_string();
    assert!(said.contains("root: a root signs as no service"), "{said}");
    let text = listed().to_string();
    assert!(text.contains(&format!("root = [\"{}\"]", public(ROOT))), "{text}");
    assert_eq!(Signers::parse(&text).unwrap().listed(), listed().listed());
    let strange = text.replace(public(ROOT).as_str(), "UNOBODY");
    assert!(Signers::parse(&strange).unwrap_err().to_string().starts_with("root: "));
}
