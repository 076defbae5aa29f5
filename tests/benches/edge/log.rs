//! A signed log as services write it: keyrings in no order, each with one key that is issued and, some
//! messages later, activated.

use crate::keys::{self, Drawn};
use keywheel_domain::event::{Activated, Barrier, CommandId, EventId, IssueReason, Issued};
use keywheel_domain::key::Origin;
use keywheel_domain::{
    Actor, Address, At, Digest, EdgeId, Event, Fact, KeySpec, KeyringId, Kid, Policy, Version,
};
use keywheel_table::Message;
use keywheel_token::Credential;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link};
use keywheel_wire::signature::Signer;
use keywheel_wire::signers::{Installation, Signers};
use keywheel_wire::subject::{self, Service};
use std::collections::VecDeque;
use std::sync::Arc;

const OURS: Installation = Installation(7);
/// How many keys are on their way from issue to activation.
const BETWEEN: usize = 100;
const CLIENTS: u32 = 1000;
const BEGAN_MS: u64 = 1_790_000_000_000;

/// The log of so many keyrings, written from its beginning on.
pub struct Log {
    drawn: Drawn,
    left: Vec<u32>,
    issued: VecDeque<(u32, [u8; 32])>,
    written: u64,
    issuer: Signer,
    propagator: Signer,
}

/// What is not signed yet.
struct Unsigned {
    seq: u64,
    subject: String,
    payload: Vec<u8>,
    by: Service,
}

impl Log {
    pub fn of(keyrings: usize, seed: u64) -> anyhow::Result<Self> {
        let mut drawn = Drawn::new(seed);
        let mut left: Vec<u32> = (0..u32::try_from(keyrings)?).collect();
        for at in (1..left.len()).rev() {
            left.swap(at, drawn.below(at + 1));
        }
        let signer = || Signer::from_seed(Credential::fresh().seed().expose());
        let (issuer, propagator) = (signer()?, signer()?);
        Ok(Self { drawn, left, issued: VecDeque::new(), written: 0, issuer, propagator })
    }

    /// What its readers believe.
    pub fn signers(&self) -> anyhow::Result<Arc<Signers>> {
        let keys = [(&self.issuer, Service::Issuer), (&self.propagator, Service::Propagator)];
        let keys = keys.map(|(signer, service)| (signer.public().to_owned(), service));
        Ok(Arc::new(Signers::of(OURS, keys)?))
    }

    /// Up to `most` further messages; none at its end. Signed on all cores.
    pub fn write(&mut self, most: usize) -> anyhow::Result<Vec<Message>> {
        let mut unsigned = Vec::with_capacity(most);
        while unsigned.len() < most {
            let Some(next) = self.next()? else { break };
            unsigned.push(next);
        }
        let (issuer, propagator) = (&self.issuer, &self.propagator);
        let sign = |Unsigned { seq, subject, payload, by }| {
            let signer = if by == Service::Issuer { issuer } else { propagator };
            let signed = Some(signer.sign(&subject, &payload)?);
            anyhow::Ok(Message { seq, subject, payload, signed })
        };
        on_all_cores(unsigned, sign).into_iter().collect()
    }

    fn next(&mut self) -> anyhow::Result<Option<Unsigned>> {
        if self.issued.len() < BETWEEN
            && let Some(n) = self.left.pop()
        {
            let (unsigned, hash) = self.issue(n)?;
            self.issued.push_back((n, hash));
            return Ok(Some(unsigned));
        }
        // Among those that wait, the oldest; a new one is begun first where there is one.
        let Some((n, prev)) = self.issued.pop_front() else { return Ok(None) };
        self.activate(n, prev).map(Some)
    }

    fn issue(&mut self, n: u32) -> anyhow::Result<(Unsigned, [u8; 32])> {
        let digest = [self.drawn.next(), self.drawn.next(), self.drawn.next(), self.drawn.next()];
        let mut bytes = [0; 32];
        bytes.as_chunks_mut().0.iter_mut().zip(digest).for_each(|(to, part)| *to = part.to_le_bytes());
        let fact = Fact::KeyIssued(Issued {
            version: Version(1),
            kid: Kid::of_number(self.drawn.next() % 839_299_365_868_340_224),
            digest: Digest(bytes),
            spec: KeySpec { scopes: keys::common(0), ..KeySpec::default() },
            origin: Origin::Minted,
            reason: IssueReason::Issue,
            policy: Policy::default(),
            cancels: vec![],
        });
        let unsigned = self.event(n, Link { revision: 1, prev: None }, fact, Service::Issuer)?;
        let hash = payload_hash(&unsigned.payload);
        Ok((unsigned, hash))
    }

    fn activate(&mut self, n: u32, prev: [u8; 32]) -> anyhow::Result<Unsigned> {
        let edges = ["e1", "e2", "e3"].map(EdgeId::parse).into_iter().collect::<Result<_, _>>()?;
        let barrier = Barrier { position: self.written, edges, passed_over: vec![], by_hand: None };
        let fact = Fact::KeyActivated(Activated { version: Version(1), supersedes: vec![], barrier });
        self.event(n, Link { revision: 2, prev: Some(prev) }, fact, Service::Propagator)
    }

    fn event(&mut self, n: u32, link: Link, fact: Fact, by: Service) -> anyhow::Result<Unsigned> {
        self.written += 1;
        let keyring = KeyringId::parse(&format!("tenant-{}/client-{}", n / CLIENTS, n % CLIENTS))?;
        let mut id = || u128::from(self.drawn.next()) << 64 | u128::from(self.drawn.next());
        let event = Event {
            id: EventId(id()),
            address: Address::Keyring(keyring),
            at: At(BEGAN_MS + self.written * 7),
            actor: Actor::service("bench"),
            command: CommandId(id()),
            rotation: None,
            fact,
        };
        let payload = event::write(&event, link, OURS)?;
        Ok(Unsigned { seq: self.written, subject: subject::event(&event.address), payload, by })
    }
}

/// How many threads work beside one another.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does something with each, in order, on all cores.
pub fn on_all_cores<T: Send, U: Send>(all: Vec<T>, each: impl Fn(T) -> U + Sync) -> Vec<U> {
    let share = all.len().div_ceil(cores()).max(1);
    let mut all = all.into_iter();
    let shares: Vec<Vec<T>> = std::iter::from_fn(|| {
        let share: Vec<T> = all.by_ref().take(share).collect();
        (!share.is_empty()).then_some(share)
    })
    .collect();
    std::thread::scope(|scope| {
        let each = &each;
        let work = |share: Vec<T>| scope.spawn(move || share.into_iter().map(each).collect::<Vec<U>>());
        let working: Vec<_> = shares.into_iter().map(work).collect();
        working
            .into_iter()
            .flat_map(|share| share.join().expect("a thread that only computes ends well"))
            .collect()
    })
}
