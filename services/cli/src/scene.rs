//! What the tests share: services with keys of their own, and the file that names them.

use crate::waiting_words::tests::NOW;
use keywheel_domain::event::{
    Activated, Barrier, CommandId, EventId, Fact, IssueReason, Issued, RotationId, Use, Used,
};
use keywheel_domain::key::Origin;
use keywheel_domain::{
    Actor, Address, At, Digest, Event, KeySpec, KeyringId, Kid, Policy, Span, Tenant, Version,
};
use keywheel_table::Message;
use keywheel_token::Credential;
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{Link, write};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use std::sync::{Arc, LazyLock};

static SIGNERS: LazyLock<Vec<(Service, Signer)>> = LazyLock::new(|| {
    let fresh = |service| (service, Signer::from_seed(Credential::fresh().seed().expose()).unwrap());
    Service::ALL.map(fresh).into()
});

pub(crate) fn signers() -> Arc<Signers> {
    let keys = SIGNERS.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
    Arc::new(Signers::of(Installation(7), keys).unwrap())
}

/// A message of the log as a service wrote it.
pub(crate) fn signed(by: Service, seq: u64, subject: &str, payload: Vec<u8>) -> Message {
    let (_, signer) = SIGNERS.iter().find(|(service, _)| *service == by).unwrap();
    let signed = Some(signer.sign(subject, &payload).unwrap());
    Message { seq, subject: subject.to_owned(), payload, signed }
}

pub(crate) fn keyring() -> Address {
    Address::Keyring(KeyringId::parse("acme/app").unwrap())
}

pub(crate) fn tenant() -> Address {
    Address::Tenant(Tenant::parse("acme").unwrap())
}

/// A keyring's messages as they stand in the log, one hour apart, the last one an hour before `end`.
pub(crate) fn messages(facts: Vec<Fact>, end: At) -> Vec<Message> {
    messages_of(&keyring(), facts, end)
}

/// The same of any address.
pub(crate) fn messages_of(address: &Address, facts: Vec<Fact>, end: At) -> Vec<Message> {
    let hours = facts.len() as u64;
    let mut prev = None;
    let message = |(n, fact): (u64, Fact)| {
        let event = Event {
            id: EventId(u128::from(n)),
            address: address.clone(),
            at: end.before(Span::hours(hours - n)),
            actor: Actor::parse("alice").unwrap(),
            command: CommandId(u128::from(n)),
            rotation: Some(RotationId(7)),
            fact,
        };
        let author = Service::ALL.into_iter().find(|service| is_entitled(*service, &event.fact)).unwrap();
        let payload = write(&event, Link { revision: n + 1, prev }, signers().installation()).unwrap();
        prev = Some(payload_hash(&payload));
        signed(author, n + 1, &subject::event(address), payload)
    };
    (0..).zip(facts).map(message).collect()
}

pub(crate) fn issued(version: u32, reason: IssueReason) -> Fact {
    let expires_at = (version == 2).then(|| NOW.after(Span::days(90)));
    Fact::KeyIssued(Issued {
        version: Version(version),
        kid: Kid::parse(&format!("kid000000{version}")).unwrap(),
        digest: Digest([u8::try_from(version).unwrap(); 32]),
        spec: KeySpec { expires_at, ..KeySpec::default() },
        origin: Origin::Minted,
        reason,
        policy: Policy { overlap_min: Span::hours(1), ..Policy::default() },
        cancels: Vec::new(),
    })
}

pub(crate) fn activated(version: u32, supersedes: Vec<Version>) -> Fact {
    let barrier = Barrier { position: 1, edges: Vec::new(), passed_over: Vec::new(), by_hand: None };
    Fact::KeyActivated(Activated { version: Version(version), supersedes, barrier })
}

pub(crate) fn seen(version: u32, at: At) -> Fact {
    let seen = Use { first_use: Some(at), last_use: Some(at), uses: 3, quiet: None };
    Fact::KeySeen(Used { version: Version(version), seen })
}
