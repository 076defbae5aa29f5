//! A small log as services write it.

use keywheel_audit::examine::examine;
use keywheel_audit::inspect::{Inspection, Inspector, Scope, Witness};
use keywheel_domain::command::{Minted, Retirement, SpecAsked, Which};
use keywheel_domain::event::{Barrier, CommandId, CoverBasis, Covered, EventId, QuietProof, RotationId, Use};
use keywheel_domain::{
    Act, Actor, Address, At, Command, Digest, EdgeId, KeyringId, Kid, Policy, Recorded, Span, State, Version,
    decide, evolve,
};
use keywheel_table::Message;
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::{Chain, payload_hash};
use keywheel_wire::event::{self, Link};
use keywheel_wire::notice::{Notice, Receipt, Unreached};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use keywheel_wire::text::{Id, Moment};
use nkeys::KeyPair;
use std::collections::BTreeMap;
use std::sync::LazyLock;

pub const OURS: Installation = Installation(7);

static SIGNERS: LazyLock<Vec<(Service, Signer)>> = LazyLock::new(|| {
    let fresh = |service| (service, Signer::from_seed(&KeyPair::new_user().seed().unwrap()).unwrap());
    Service::ALL.map(fresh).into()
});

pub fn signers() -> Signers {
    let keys = SIGNERS.iter().map(|(service, signer)| (signer.public().to_owned(), *service));
    Signers::of(OURS, keys).unwrap()
}

pub fn signed(by: Service, seq: u64, subject: &str, payload: Vec<u8>) -> Message {
    let (_, signer) = SIGNERS.iter().find(|(service, _)| *service == by).unwrap();
    let signed = Some(signer.sign(subject, &payload).unwrap());
    Message { seq, subject: subject.to_owned(), payload, signed }
}

/// A log being written.
#[derive(Default)]
pub struct Log {
    pub messages: Vec<Message>,
    states: BTreeMap<Address, (State, Option<[u8; 32]>)>,
}

impl Log {
    /// Three keyrings, each with a rotation: 17 messages.
    pub fn plain() -> Log {
        let mut log = Log::default();
        log.ask(&Address::Installation, Act::AddEdge { edge: EdgeId::parse("e1").unwrap() });
        for name in ["acme/a", "acme/b", "other/c"] {
            let keyring = keyring(name);
            let minted = log.mint();
            log.ask(&keyring, Act::Issue { minted, spec: SpecAsked::default(), policy: Policy::default() });
            log.activate(&keyring, 1);
            let minted = log.mint();
            let (spec, policy) = (SpecAsked::default(), Policy::default());
            log.ask(&keyring, Act::Rotate { minted, spec, supersedes: vec![], policy });
            log.activate(&keyring, 2);
            log.ask(&keyring, Act::Retire { version: Version(1), why: Retirement::Requested });
        }
        log.ask(&keyring("acme/b"), Act::Revoke { which: Which::One(Version(2)), reason: "leaked".into() });
        log
    }

    /// One keyring from its first key to the revocation of its second; v1 retires quietly in between. With a receipt.
    pub fn proven() -> (Log, Message) {
        let mut log = Log::default();
        for edge in ["e1", "e2"] {
            log.ask(&Address::Installation, Act::AddEdge { edge: EdgeId::parse(edge).unwrap() });
        }
        let a = keyring("acme/a");
        let policy = Policy { overlap_min: Span(1000), quiet: Span(1000), ..Policy::default() };
        let minted = log.mint();
        log.ask(&a, Act::Issue { minted, spec: SpecAsked::default(), policy: policy.clone() });
        log.activate(&a, 1);
        let minted = log.mint();
        log.ask(&a, Act::Rotate { minted, spec: SpecAsked::default(), supersedes: vec![], policy });
        log.activate(&a, 2);
        let now = log.now();
        let used = Use { first_use: Some(now), last_use: Some(now), uses: 3, quiet: None };
        log.ask(&a, Act::RecordUse { version: Version(2), seen: used });
        let (from, through) = (log.now().before(Span(1000)), log.now());
        let covered =
            |edge| Covered { edge: EdgeId::parse(edge).unwrap(), from, through, basis: CoverBasis::Reported };
        let quiet = QuietProof { from, complete_through: through, edges: vec![covered("e1"), covered("e2")] };
        log.ask(
            &a,
            Act::RecordUse { version: Version(1), seen: Use { quiet: Some(quiet), ..Use::default() } },
        );
        log.ask(&a, Act::Retire { version: Version(1), why: Retirement::Due });
        log.ask(&a, Act::Revoke { which: Which::One(Version(2)), reason: "leaked".into() });
        let last = log.messages.last().unwrap();
        let read = event::read(&last.subject, &last.payload).unwrap();
        let receipt = Receipt {
            event_id: Id(read.event.id.0),
            event_type: "KeyRetired".into(),
            seq: last.seq,
            command_id: Id(read.event.command.0),
            version: Some(2),
            at: Moment(read.event.at.after(Span(40))),
            after_ms: 40,
            edges: 2,
            applied_on: vec!["e1".into()],
            unreached: vec![Unreached {
                edge: "e2".into(),
                refuses_by: Moment(read.event.at.after(Span(15_000))),
            }],
            final_at: Moment(read.event.at.after(Span(15_000))),
        };
        let payload = serde_json::to_vec(&Notice::Receipt(receipt)).unwrap();
        (log, signed(Service::Propagator, 1, "kw.notice.acme.a.receipt", payload))
    }

    /// Goes on from messages that services wrote.
    pub fn continuing(messages: &[Message]) -> Log {
        let mut log = Log { messages: messages.to_vec(), ..Log::default() };
        for message in messages {
            let read = event::read(&message.subject, &message.payload).unwrap();
            let address = read.event.address.clone();
            let (state, _) = log.states.remove(&address).unwrap_or_default();
            let recorded = Recorded { seq: message.seq, event: read.event };
            log.states.insert(address, (evolve(state, &recorded), Some(payload_hash(&message.payload))));
        }
        log
    }

    /// One more edge on the roster.
    pub fn add_edge(&mut self) {
        let edge = EdgeId::parse(&format!("later-{}", self.messages.len())).unwrap();
        self.ask(&Address::Installation, Act::AddEdge { edge });
    }

    fn now(&self) -> At {
        At(1_800_000_000_000 + (self.messages.len() as u64 + 1) * 1000)
    }

    fn mint(&self) -> Minted {
        let n = u8::try_from(self.messages.len()).unwrap();
        let kid = Kid::parse(&format!("kid{n:07}")).unwrap();
        Minted { kid, digest: Digest([n; 32]), rotation: RotationId(u128::from(n)) }
    }

    fn activate(&mut self, keyring: &Address, version: u32) {
        let roster =
            self.states.get(&Address::Installation).map(|(state, _)| state.edges.keys().cloned().collect());
        let edges = roster.unwrap_or_default();
        let barrier =
            Barrier { position: self.messages.len() as u64, edges, passed_over: vec![], by_hand: None };
        self.ask(keyring, Act::Activate { version: Version(version), barrier });
    }

    pub fn ask(&mut self, address: &Address, act: Act) {
        let seq = self.messages.len() as u64 + 1;
        let (state, prev) = self.states.remove(address).unwrap_or_default();
        let command = Command {
            id: CommandId(u128::from(seq)),
            address: address.clone(),
            actor: Actor::service("alice"),
            at: self.now(),
            event_id: EventId(u128::from(seq) << 64),
            act,
        };
        let event = decide(&state, &command).unwrap().unwrap();
        let payload = event::write(&event, Link { revision: state.revision + 1, prev }, OURS).unwrap();
        let by = Service::ALL.into_iter().rev().find(|service| is_entitled(*service, &event.fact)).unwrap();
        let prev = Some(payload_hash(&payload));
        self.messages.push(signed(by, seq, &subject::event(address), payload));
        self.states.insert(address.clone(), (evolve(state, &Recorded { seq, event }), prev));
    }
}

pub fn keyring(name: &str) -> Address {
    Address::Keyring(KeyringId::parse(name).unwrap())
}

/// The running hash of messages as they stand.
pub fn chain(messages: &[Message]) -> Chain {
    messages.iter().fold(Chain::default(), |chain, it| chain.next(it.seq, &it.subject, &it.payload))
}

/// Somebody who saw all of these.
pub fn witness(who: &str, messages: &[Message]) -> Witness {
    Witness { who: who.to_owned(), seq: messages.last().unwrap().seq, chain: chain(messages) }
}

pub fn inspect_as(scope: Scope, messages: &[Message], witnesses: &[Witness]) -> Inspection {
    let signers = signers();
    let mut inspector = Inspector::new(scope);
    witnesses.iter().for_each(|witness| inspector.expect(witness.clone()));
    for message in messages {
        inspector.take(message, &examine(&signers, message));
    }
    inspector.finish()
}

pub fn inspect(messages: &[Message]) -> Inspection {
    inspect_as(Scope::WHOLE, messages, &[])
}

/// The findings as places and codes.
pub fn codes(inspection: &Inspection) -> Vec<(u64, &'static str)> {
    inspection.findings.listed().iter().map(|finding| (finding.seq, finding.wrong.code())).collect()
}
