//! Who wrote what, in which order: signatures and the running hash. The constants were computed by
//! another program.

use keywheel_wire::chain::{Chain, payload_hash};
use keywheel_wire::signature::{Signer, Verifier};
use keywheel_wire::text::hex;
use nkeys::KeyPair;
use proptest::prelude::{any, prop_assert_ne, proptest};

const SEED: &str = "SUAAOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBYHA4DQOBZ5FE";
const PUBLIC: &str = "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF";
const SUBJECT: &str = "kw.evt.acme.billing";
const SIGNATURE: &str =
    "uDPCGVI9xTHt/fkRb6oGtcTVQAmAwSXk08u4StHVRC9xRU+3IFhJpfoVCRcUIKVQ2Q9uSNeZPL5bD7zwdPnACg==";

fn verify(public: &str, signature: &str, subject: &str, payload: &[u8]) -> bool {
    Verifier::parse(public).is_ok_and(|verifier| verifier.verify(signature, subject, payload))
}

#[test]
fn a_signature_is_what_others_compute() {
    let signer = Signer::from_seed(&format!(" {SEED}\n")).unwrap();
    assert_eq!(signer.public(), PUBLIC);
    let signed = signer.sign(SUBJECT, b"payload").unwrap();
    assert_eq!((signed.by.as_str(), signed.signature.as_str()), (PUBLIC, SIGNATURE));
    assert!(verify(PUBLIC, SIGNATURE, SUBJECT, b"payload"));
}

#[test]
fn a_forged_signature_is_none() {
    let other = KeyPair::from_seed(&KeyPair::new_user().seed().unwrap()).unwrap().public_key();
    let forged = [
        (other.as_str(), SIGNATURE, SUBJECT, "payload"),
        (PUBLIC, SIGNATURE, "kw.evt.acme.billing2", "payload"),
        (PUBLIC, SIGNATURE, SUBJECT, "payloaD"),
        (PUBLIC, SIGNATURE, SUBJECT, ""),
        // The zero byte keeps subject and payload apart.
        (PUBLIC, SIGNATURE, "kw.evt.acme.billin", "g\0payload"),
        (PUBLIC, SIGNATURE, "kw.evt.acme.billing\0pay", "load"),
        (PUBLIC, "", SUBJECT, "payload"),
        (PUBLIC, "uDPC", SUBJECT, "payload"),
        (PUBLIC, "no base64!", SUBJECT, "payload"),
        (PUBLIC, SIGNATURE.trim_end_matches('='), SUBJECT, "payload"),
        ("", SIGNATURE, SUBJECT, "payload"),
        (SEED, SIGNATURE, SUBJECT, "payload"),
        ("UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJG", SIGNATURE, SUBJECT, "payload"),
    ];
    for (signer, signature, subject, payload) in forged {
        assert!(!verify(signer, signature, subject, payload.as_bytes()), "{subject} {payload}");
    }
}

#[test]
fn a_seed_that_is_none_is_not_repeated() {
    let Err(error) = Signer::from_seed("SUSECRET") else { panic!("that is no seed") };
    assert_eq!(error.to_string(), "credentials: expected an nkey seed (SU…)");
}

#[test]
fn the_chain_is_what_others_compute() {
    let one = Chain::default().next(1, SUBJECT, b"one");
    let two = one.next(2, "kw.evt.acme._", b"");
    let three = two.next(1 << 40, "", &[0, 255]);
    assert_eq!(hex(&one.0), "81445ed3f317c5fbb28da1d298fd6d859f54bf79a4d713bd76a6b5d6a47c6de4");
    assert_eq!(hex(&two.0), "1de795086c8ca1d62d5300085a8ffbb386b533c32be1fd371223498692f61315");
    assert_eq!(hex(&three.0), "52c40e3064b52671bdfa5d399cd865fbd96ad60b66b2bc4fa827bdf1401a81d7");
    assert_eq!(
        hex(&payload_hash(b"one")),
        "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    );
}

proptest! {
    #[test]
    fn every_part_of_a_message_is_in_the_chain(
        from in any::<[u8; 32]>(), seq in any::<u32>(), subject in "[a-z.]{2,20}", payload in any::<Vec<u8>>()
    ) {
        let chain = Chain(from);
        let next = chain.next(seq.into(), &subject, &payload);
        prop_assert_ne!(next, chain);
        prop_assert_ne!(next, chain.next(u64::from(seq) + 1, &subject, &payload));
        prop_assert_ne!(next, Chain(payload_hash(&from)).next(seq.into(), &subject, &payload));
        let (shorter, last) = subject.split_at(subject.len() - 1);
        prop_assert_ne!(next, chain.next(seq.into(), shorter, &[last.as_bytes(), &payload[..]].concat()));
        prop_assert_ne!(next, chain.next(seq.into(), &subject, &[&payload[..], &[0]].concat()));
    }
}
