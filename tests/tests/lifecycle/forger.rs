//! Somebody with one service's stolen credential: publishes whatever it likes wherever the bus lets it, signed with
//! whatever it has.

use crate::scene::Scene;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context};
use keywheel_bus::connect::inbox_prefix;
use keywheel_domain::event::{CommandId, EventId};
use keywheel_domain::{Actor, Address, At, Event, Fact};
use keywheel_table::Message;
use keywheel_token::id;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link};
use keywheel_wire::signature::{Signed, Signer};
use keywheel_wire::signers::Installation;
use keywheel_wire::subject::{self, Service};

/// The thief.
pub struct Forger {
    bus: Context,
    /// With what it signs.
    pub signer: Signer,
    /// As every event tells it.
    pub installation: Installation,
}

/// The seed of a service of the scene's stack.
pub fn seed(scene: &Scene, service: Service) -> String {
    let file = scene.stack.home().join("credentials").join(format!("{}.nk", service.name()));
    std::fs::read_to_string(file).unwrap()
}

impl Forger {
    /// Connects with the credential of `service`.
    pub async fn with(scene: &Scene, service: Service) -> Forger {
        let seed = seed(scene, service);
        let options = async_nats::ConnectOptions::with_nkey(seed.clone())
            .custom_inbox_prefix(inbox_prefix(service.name()));
        let client = options.connect(&scene.stack.context.nats_url).await.unwrap();
        let installation = scene.operator.bus.signers().installation();
        Forger { bus: jetstream::new(client), signer: Signer::from_seed(&seed).unwrap(), installation }
    }

    /// Stores a message; gives its position.
    pub async fn put(&self, subject: &str, payload: &[u8], signed: Option<Signed>) -> u64 {
        let mut headers = HeaderMap::new();
        if let Some(Signed { by, signature }) = signed {
            headers.insert(subject::HEADER_SIGNER, by);
            headers.insert(subject::HEADER_SIGNATURE, signature);
        }
        let sent = self.bus.publish_with_headers(subject.to_owned(), headers, payload.to_vec().into()).await;
        sent.unwrap().await.unwrap().sequence
    }

    /// The next event of an address in every respect but who signs it: `of` says whose installation.
    pub async fn next(&self, scene: &Scene, address: &Address, fact: Fact, of: Installation) -> Vec<u8> {
        self.at(scene, address, fact, of, 1).await
    }

    /// The same, `ahead` revisions later than now.
    pub async fn at(
        &self,
        scene: &Scene,
        address: &Address,
        fact: Fact,
        of: Installation,
        ahead: u64,
    ) -> Vec<u8> {
        let (state, events) = scene.operator.history(address).await.unwrap();
        let seq = events.last().map_or(0, |last| last.seq);
        let prev = (seq > 0).then_some(stored(scene, address, seq).await.payload).map(|p| payload_hash(&p));
        let event = Event {
            id: EventId(id::fresh()),
            address: address.clone(),
            at: events.last().map_or(At(1), |last| last.event.at),
            actor: Actor::parse("mallory").unwrap(),
            command: CommandId(id::fresh()),
            rotation: events.last().and_then(|last| last.event.rotation),
            fact,
        };
        event::write(&event, Link { revision: state.revision + ahead, prev }, of).unwrap()
    }

    /// Stores the address's next event, signed with the stolen key.
    pub async fn forge(&self, scene: &Scene, address: &Address, fact: Fact) -> u64 {
        let payload = self.next(scene, address, fact, self.installation).await;
        let subject = subject::event(address);
        let signed = self.signer.sign(&subject, &payload).unwrap();
        self.put(&subject, &payload, Some(signed)).await
    }
}

/// The message that stands at a position.
pub async fn stored(scene: &Scene, address: &Address, seq: u64) -> Message {
    let page = scene.operator.bus.page(seq, Some(address)).await.unwrap();
    page.into_iter().find(|message| message.seq == seq).unwrap()
}
