//! Writes what the services would write: the log that an edge follows.

use crate::server::Server;
use keywheel_bus::Bus;
use keywheel_bus::log::Appended;
use keywheel_domain::event::{CommandId, Ended, EventId, IssueReason, Issued, RotationId};
use keywheel_domain::key::{Cause, Origin};
use keywheel_domain::policy::Class;
use keywheel_domain::{
    Actor, Address, At, EdgeId, Event, Fact, KeySpec, KeyringId, Policy, PolicyPatch, Version,
};
use keywheel_token::{Brand, Fresh, id, mint};
use keywheel_wire::belief::is_entitled;
use keywheel_wire::chain::payload_hash;
use keywheel_wire::event::{self, Link};
use keywheel_wire::subject::Service;
use std::collections::BTreeMap;

/// Appends events, each linked to the one before it.
pub struct History {
    services: Vec<(Service, Bus)>,
    last: BTreeMap<Address, (u64, Link)>,
}

impl History {
    /// Of an empty log.
    pub async fn new(server: &Server) -> Self {
        let mut services = Vec::new();
        for service in Service::ALL {
            services.push((service, server.connect(service.name()).await));
        }
        Self { services, last: BTreeMap::new() }
    }

    /// Puts the edge `e1` on the roster.
    pub async fn add_edge(&mut self) -> u64 {
        self.append(Address::Installation, Fact::EdgeAdded(EdgeId::parse("e1").unwrap())).await
    }

    /// Takes it off again.
    pub async fn remove_edge(&mut self) -> u64 {
        self.append(Address::Installation, Fact::EdgeRemoved(EdgeId::parse("e1").unwrap())).await
    }

    /// Issues a first key to `t/<client>`.
    pub async fn issue(&mut self, client: &str) -> String {
        self.issue_with(client, KeySpec::default()).await
    }

    /// The same with scopes or addresses.
    pub async fn issue_with(&mut self, client: &str, spec: KeySpec) -> String {
        let Fresh { text, kid, digest } = mint(&Brand::default());
        let issued = Issued {
            version: Version(1),
            kid,
            digest,
            spec,
            origin: Origin::Minted,
            reason: IssueReason::Issue,
            policy: Policy::default(),
            cancels: Vec::new(),
        };
        self.append(keyring(client), Fact::KeyIssued(issued)).await;
        text.expose().to_owned()
    }

    /// Makes a keyring strict.
    pub async fn make_strict(&mut self, client: &str) -> u64 {
        let patch = PolicyPatch { class: Some(Class::Strict), ..PolicyPatch::NONE };
        self.append(keyring(client), Fact::PolicySet(patch)).await
    }

    /// Revokes it.
    pub async fn revoke(&mut self, client: &str) -> u64 {
        self.end(client, Cause::Revoked).await
    }

    /// Retires it.
    pub async fn retire(&mut self, client: &str) -> u64 {
        self.end(client, Cause::Requested).await
    }

    async fn end(&mut self, client: &str, cause: Cause) -> u64 {
        let ended = Ended {
            version: Version(1),
            also: Vec::new(),
            cause,
            reason: Some("leaked".to_owned()),
            evidence: None,
        };
        self.append(keyring(client), Fact::KeyRetired(ended)).await
    }

    async fn append(&mut self, address: Address, fact: Fact) -> u64 {
        let fresh_link = (0, Link { revision: 1, prev: None });
        let (expects, link) = self.last.get(&address).copied().unwrap_or(fresh_link);
        let event = Event {
            id: EventId(id::fresh()),
            address: address.clone(),
            at: At(1_800_000_000_000),
            actor: Actor::service("test"),
            command: CommandId(id::fresh()),
            rotation: matches!(fact, Fact::KeyIssued(_)).then_some(RotationId(1)),
            fact,
        };
        let author = |(service, _): &&(Service, Bus)| is_entitled(*service, &event.fact);
        let (_, bus) = self.services.iter().rev().find(author).unwrap();
        let Appended::Stored(seq) = bus.append(&event, link, expects).await.unwrap() else {
            panic!("somebody else writes to this log")
        };
        let prev = payload_hash(&event::write(&event, link, bus.signers().installation()).unwrap());
        self.last.insert(address, (seq, Link { revision: link.revision + 1, prev: Some(prev) }));
        seq
    }
}

fn keyring(client: &str) -> Address {
    Address::Keyring(KeyringId::parse(&format!("t/{client}")).unwrap())
}
