//! The promises that are held against an edge's answers.

use crate::edge::Edge;
use crate::promises::Receipt;
use crate::world::{DRIFT_PPM, LEASE, SKEW, World};
use keywheel_domain::policy::Class;
use keywheel_domain::verdict::Refusal;
use keywheel_domain::{Address, KeyringId, Version};

/// An answer that an edge gave.
pub struct Served<'a> {
    pub edge: usize,
    pub keyring: &'a KeyringId,
    pub version: Version,
    pub answer: &'a Result<(), Refusal>,
}

impl World {
    pub fn check_answer(&mut self, served: &Served<'_>) {
        let Served { edge, keyring, version, answer } = *served;
        match answer {
            Ok(()) => {
                self.check_lease(served);
                self.check_receipts(served);
            }
            Err(refusal) if refusal.is_definite() => {
                let named = (keyring.clone(), version);
                let expires = self.log.now(&Address::Keyring(keyring.clone())).keys[&version].spec.expires_at;
                let may_be_over = expires.is_some_and(|end| end.0 <= self.now + SKEW);
                if self.promises.promised.contains(&named) && !may_be_over {
                    let id = &self.edges[edge].id;
                    self.breaks(format!("{id} says {} to {keyring} {version}", refusal.code()));
                }
            }
            Err(_) => {}
        }
    }

    /// Served only for as long as the policy that the edge has applied allows, counted in true time from
    /// when its rows were last known to be fresh.
    fn check_lease(&mut self, served: &Served<'_>) {
        let Served { edge, keyring, version, .. } = *served;
        let now = self.now;
        let Some(process) = self.edges[edge].running(now) else { return };
        let (own, fresh_at) = (process.reference.own(), process.reference.fresh_at());
        let visible = process.table.status().head.watermark;
        let tenant = self.log.state(&Address::Tenant(keyring.tenant.clone()), visible);
        let state = self.log.state(&Address::Keyring(keyring.clone()), visible);
        let policy = state.policy_within(&tenant);
        let drift = |span: u64| span * DRIFT_PPM / 900_000 + 2;
        let is_fresh = own.is_some_and(|began| now < began + LEASE.0 + drift(LEASE.0));
        let stale_max = policy.stale_max.0 + drift(policy.stale_max.0);
        let is_within = fresh_at.is_some_and(|began| now <= began + stale_max);
        let may_serve = is_fresh || (policy.class == Class::Available && is_within);
        let expires_at = state.keys.get(&version).and_then(|key| key.spec.expires_at);
        let id = self.edges[edge].id.clone();
        if !may_serve {
            self.breaks(format!("{id} serves {keyring} {version} past its time, as {:?}", policy.class));
        }
        if expires_at.is_some_and(|end| end.0 + SKEW < now) {
            self.breaks(format!("{id} accepts {keyring} {version}, which has expired"));
        }
        if !is_fresh {
            self.count("served while stale");
        }
    }

    /// Receipt: no request that arrives after it is accepted, nor after the moment that it names.
    fn check_receipts(&mut self, served: &Served<'_>) {
        let Served { edge, keyring, version, .. } = *served;
        let Some(seq) = self.promises.ended.get(&(keyring.clone(), version)) else { return };
        let edge = &self.edges[edge];
        let receipts = self.promises.receipts.iter().filter(|receipt| receipt.seq == *seq);
        let broken =
            receipts.filter(|receipt| self.is_over(edge, receipt)).map(|receipt| format!("{receipt:?}"));
        if let Some(receipt) = broken.last() {
            let text = format!("{} accepts {keyring} {version} after {receipt}", edge.id);
            self.breaks(text);
        }
    }

    /// Whether by this receipt the edge accepts nothing any more of what has ended.
    fn is_over(&self, edge: &Edge, receipt: &Receipt) -> bool {
        if edge.is_rolled_back {
            self.now > receipt.final_at.0 + SKEW
        } else if receipt.applied_on.contains(&edge.id) {
            true
        } else {
            receipt.unreached.get(&edge.id).is_some_and(|refuses_by| self.now > refuses_by.0)
        }
    }
}
