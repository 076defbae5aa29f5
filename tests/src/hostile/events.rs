//! Events: MessagePack in the log, read alone and folded one after another.

use super::assert_told;
use keywheel_domain::event::{Event, EventId, Fact};
use keywheel_domain::{Address, At, KeyState, State, Version, due};
use keywheel_table::part::Part;
use keywheel_table::{Answers, Loaded, Message, Replay, stored};
use keywheel_token::Credential;
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, EVENT_BYTES_MAX, Link};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

const SUBJECTS: [&str; 4] = ["kw.evt.acme.billing", "kw.evt.acme._", "kw.evt._._", "kw.evt.acme.app"];

const OURS: Installation = Installation(7);

static SIGNERS: LazyLock<Vec<(Service, Signer)>> = LazyLock::new(|| {
    let fresh = |service| (service, Signer::from_seed(Credential::fresh().seed().expose()).unwrap());
    Service::ALL.map(fresh).into()
});

fn signers() -> Arc<Signers> {
    let keys = SIGNERS.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
    Arc::new(Signers::of(OURS, keys).unwrap())
}

fn author(fact: &Fact) -> Option<&'static Signer> {
    SIGNERS.iter().find(|(service, _)| is_entitled(*service, fact)).map(|(_, signer)| signer)
}

/// The first byte says where it lay.
pub fn event(data: &[u8]) {
    let Some((first, payload)) = data.split_first() else { return };
    let at = SUBJECTS[usize::from(*first) % SUBJECTS.len()];
    if let Err(error) = event::to_json(payload) {
        assert_told(&error.to_string());
    }
    match event::read(at, payload) {
        Err(error) => assert_told(&error.to_string()),
        Ok(read) => {
            assert!(payload.len() <= EVENT_BYTES_MAX);
            assert_eq!(subject::event(&read.event.address), at);
            // What has no short form may grow over the bound; nothing else may change.
            if let Ok(written) = event::write(&read.event, read.link, OURS) {
                assert_eq!(event::read(at, &written).unwrap(), read);
            }
        }
    }
}

/// Events one after another, each as a byte for its subject, two for its length, then so many: put into
/// their places, as their writer would have, and folded.
pub fn fold(data: &[u8]) {
    let (mut rest, mut replays, mut answers) = (data, BTreeMap::new(), Answers::default());
    let signers = signers();
    let mut seq = 0;
    while let [first, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(more.len());
        let (payload, left) = more.split_at(length);
        rest = left;
        seq += 1;
        let at = SUBJECTS[usize::from(*first) % SUBJECTS.len()];
        let (replay, prev): &mut (Replay, Option<[u8; 32]>) =
            replays.entry(at).or_insert_with(|| (Replay::new(Arc::clone(&signers)), None));
        let Some((read, payload)) = continued(at, payload, replay.state.revision, *prev, seq) else {
            continue;
        };
        let before = replay.state.clone();
        // What is nobody's to say is not folded, whoever signs it.
        let Some(signer) = author(&read.fact) else { continue };
        let signed = Some(signer.sign(at, &payload).unwrap());
        let message = Message { seq, subject: at.to_owned(), payload, signed };
        let taken = replay.take(&message).map(|recorded| recorded.event);
        assert_eq!(taken.as_ref(), Ok(&read));
        *prev = Some(payload_hash(&message.payload));
        assert_sound(&before, &replay.state, read.at);
        answers.update(&read.address, &replay.state);
        assert_answers(&answers, &read.address, &replay.state);
    }
}

/// The event as it would follow what was folded so far.
fn continued(
    at: &str,
    payload: &[u8],
    revision: u64,
    prev: Option<[u8; 32]>,
    seq: u64,
) -> Option<(Event, Vec<u8>)> {
    let read = event::read(at, payload).ok()?;
    let event = Event { id: EventId(seq.into()), ..read.event };
    let payload = event::write(&event, Link { revision: revision + 1, prev }, OURS).ok()?;
    Some((event, payload))
}

fn assert_sound(before: &State, after: &State, now: At) {
    for (version, key) in &before.keys {
        let stays = !matches!(key.state, KeyState::Revoked { .. })
            || after.keys.get(version).is_some_and(|key| matches!(key.state, KeyState::Revoked { .. }));
        assert!(stays, "{version} came back from being revoked");
        let ends = |state: &State| state.keys.get(version).and_then(|key| key.spec.expires_at);
        assert_eq!(ends(before), ends(after), "{version} has another end");
    }
    for now in [At(0), now, At(u64::MAX)] {
        let _ = due::next(after, now);
        let _ = due::wants_quiet_proof(after, now);
        for version in [Version(0), Version(1), Version(u32::MAX)] {
            let _ = due::retirement(after, version, now);
        }
    }
    let loaded = Loaded { state: after.clone(), ..Loaded::default() };
    let row = stored::write(&loaded);
    let parts: Vec<Part> = row.parts.iter().map(|bytes| Part::read(bytes).unwrap()).collect();
    let kept = stored::read(&row.body, &parts.iter().collect::<Vec<_>>()).unwrap().into_loaded(None);
    assert_eq!(stored::write(&kept), row, "a row says what it was written from");
}

fn assert_answers(answers: &Answers, address: &Address, state: &State) {
    assert!(answers.agrees(address, state), "{address} answers as its state says");
}
