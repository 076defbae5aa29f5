//! The operator's commands, and what the services add to each before it is decided. A command may be
//! given to a second replica as well, under the same id.

use crate::gate::Task;
use crate::world::{Happening, Who, World};
use keywheel_domain::command::{Minted, Retirement, SpecAsked, Which};
use keywheel_domain::event::{CommandId, RotationId};
use keywheel_domain::policy::{Change, Class, Policy, PolicyChange};
use keywheel_domain::{Act, Address, Digest, EdgeId, KeyState, KeyringId, Kid, Span, Version, next};
use keywheel_token::id::derived;
use keywheel_wire::subject;

const RETIRE_EVERY: u64 = 800;
pub const QUIET: Span = Span::secs(12);
pub const STALE_MAX: Span = Span::secs(60);

/// A command on its way.
#[derive(Clone, Debug)]
pub struct Order {
    pub id: CommandId,
    pub address: Address,
    pub ask: Ask,
}

#[derive(Clone, Debug)]
pub enum Ask {
    /// A key for this client.
    Issue {
        client: usize,
        expires_in: Option<Span>,
    },
    /// The next key for this client.
    Rotate {
        client: usize,
        supersedes: Vec<Version>,
        change: PolicyChange,
    },
    Retire(Version),
    Revoke(Which),
    Rollback {
        to_seq: u64,
        revoke_new: bool,
    },
    Policy(PolicyChange),
    AddEdge(EdgeId),
    RemoveEdge(EdgeId),
}

/// What the tenant sets of the policy: short spans, so that a few minutes hold whole lives.
pub fn short() -> PolicyChange {
    PolicyChange {
        overlap_min: Change::Set(Span::secs(10)),
        overlap_max: Change::Set(Span::secs(90)),
        quiet: Change::Set(QUIET),
        stale_max: Change::Set(STALE_MAX),
        ..PolicyChange::default()
    }
}

pub fn class(class: Class) -> PolicyChange {
    PolicyChange { class: Change::Set(class), ..PolicyChange::default() }
}

impl World {
    /// Publishes a command; says under which id.
    pub fn order(&mut self, address: Address, ask: Ask) -> CommandId {
        let id = CommandId(self.fresh_id());
        self.tell(|| format!("asked of {address}: {ask:?}"));
        let order = Order { id, address, ask };
        let who = self.handler(&order.ask);
        let delay = self.delay();
        self.after(delay, Happening::Handle { order: order.clone(), who });
        if self.faults.strikes && self.rng.chance(self.faults.doubled) {
            let (who, delay) = (self.handler(&order.ask), self.delay());
            self.after(delay, Happening::Handle { order, who });
        }
        id
    }

    pub fn order_key(&mut self, keyring: &KeyringId, ask: Ask) -> CommandId {
        self.order(Address::Keyring(keyring.clone()), ask)
    }

    /// Whichever replica takes it.
    fn handler(&mut self, ask: &Ask) -> Who {
        let mut replica = |length| if self.faults.strikes { self.rng.index(length) } else { 0 };
        match ask {
            Ask::Issue { .. } | Ask::Rotate { .. } | Ask::Rollback { .. } | Ask::Policy(_) => {
                Who::Issuer(replica(self.issuers.len()))
            }
            Ask::Retire(_) | Ask::Revoke(_) => Who::Retirer(replica(self.retirers.len())),
            Ask::AddEdge(_) | Ask::RemoveEdge(_) => Who::Propagator(replica(self.propagators.len())),
        }
    }

    pub fn handle(&mut self, order: Order, who: Who) {
        if self.service(who).is_cut {
            let (wait, who) = (self.delay() + 1000, self.handler(&order.ask));
            return self.after(wait, Happening::Handle { order, who });
        }
        let state = self.known(who, &order.address);
        if state.done.contains_key(&order.id) {
            return;
        }
        let act = self.prepare(who, &order);
        let life = self.life(who);
        self.decide(Task { who, life, address: order.address, id: order.id, act, settles: None });
    }

    fn prepare(&mut self, who: Who, order: &Order) -> Act {
        let spec = SpecAsked::default();
        match &order.ask {
            Ask::Issue { client, expires_in } => {
                let (minted, policy) =
                    (self.mint(*client), self.policy_for(who, &order.address, &PolicyChange::default()));
                Act::Issue { minted, spec: SpecAsked { expires_in: *expires_in, ..spec }, policy }
            }
            Ask::Rotate { client, supersedes, change } => {
                let (minted, supersedes) = (self.mint(*client), supersedes.clone());
                let policy = self.policy_for(who, &order.address, change);
                Act::Rotate { minted, spec, supersedes, policy }
            }
            Ask::Retire(version) => Act::Retire { version: *version, why: Retirement::Requested },
            Ask::Revoke(which) => Act::Revoke { which: *which, reason: "leaked".to_owned() },
            Ask::Rollback { to_seq, revoke_new } => {
                let target = Box::new((*self.log.state(&order.address, *to_seq)).clone());
                let policy = self.policy_for(who, &order.address, &PolicyChange::default());
                Act::Rollback { to_seq: *to_seq, target, revoke_new: *revoke_new, policy }
            }
            Ask::Policy(change) => Act::SetPolicy { change: change.clone(), beneath: Policy::default() },
            Ask::AddEdge(edge) => Act::AddEdge { edge: edge.clone() },
            Ask::RemoveEdge(edge) => Act::RemoveEdge { edge: edge.clone() },
        }
    }

    /// A fresh key, whose sealed secret is staged before anything else happens.
    fn mint(&mut self, client: usize) -> Minted {
        self.minted += 1;
        let kid = Kid::parse(&format!("{:010}", self.minted)).unwrap();
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&self.minted.to_le_bytes());
        self.bus.staged.insert(kid);
        self.clients[client].made_for.insert(kid);
        Minted { kid, digest: Digest(digest), rotation: RotationId(self.fresh_id()) }
    }

    /// What holds for a keyring, with the change that one rotation asks for.
    fn policy_for(&self, who: Who, address: &Address, change: &PolicyChange) -> Policy {
        let Some(tenant) = address.tenant().cloned() else { return Policy::default() };
        let tenant = self.known(who, &Address::Tenant(tenant));
        let own = self.known(who, address).policy.clone().changed(change);
        Policy::default().overlaid(&tenant.policy).overlaid(&own)
    }

    /// Retires what the log says is due, as `keywheel_retirer::due` does it.
    pub fn retire_due(&mut self, n: usize) -> u64 {
        let who = Who::Retirer(n);
        let service = self.service(who);
        let (wall, life) = (service.wall(self.now), service.life);
        let keyrings: Vec<Address> =
            self.log.addresses().filter(|address| address.keyring().is_some()).cloned().collect();
        for address in keyrings {
            let state = self.known(who, &address);
            let Some(Act::Retire { version, why }) = next(&state, wall) else { continue };
            let since = match state.keys.get(&version).map(|key| &key.state) {
                Some(KeyState::Retiring(overlap)) => overlap.since.0,
                Some(
                    KeyState::Issued | KeyState::Active | KeyState::Retired { .. } | KeyState::Revoked { .. },
                )
                | None => 0,
            };
            let parts = ["retire", &subject::event(&address), &version.0.to_string(), &since.to_string()];
            let id = CommandId(derived(&parts));
            self.decide(Task { who, life, address, id, act: Act::Retire { version, why }, settles: None });
        }
        RETIRE_EVERY
    }
}
