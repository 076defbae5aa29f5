//! What the issuer adds to a command before it is decided: a fresh key, sealed to its recipient, the
//! policy that holds, the past state that a rollback goes back to.

use crate::target;
use keywheel_bus::intake::{Handler, Prepared, Refusal};
use keywheel_bus::{BusError, Gate};
use keywheel_domain::command::{Minted, SpecAsked};
use keywheel_domain::event::{CommandId, RotationId};
use keywheel_domain::policy::{Policy, PolicyChange};
use keywheel_domain::{Act, Address, At, Digest, KeySpec, State, Version};
use keywheel_token::{Brand, Recipient, id, mint, seal};
use keywheel_wire::command::{Ask, Request, RollbackTo};
use keywheel_wire::delivery::Sealed;

/// The issuer's part in handling commands.
#[derive(Clone)]
pub struct Issuer {
    /// Its gate to the log.
    pub gate: Gate,
    /// How keys begin.
    pub brand: Brand,
}

impl Handler for Issuer {
    async fn prepare(
        &self,
        address: &Address,
        request: &Request,
        state: &State,
    ) -> Result<Prepared, Refusal> {
        let policy = self.policy(address, state)?;
        match &request.ask {
            Ask::Issue { recipient, spec } => {
                let (minted, sealed) = self.mint(recipient.as_deref(), &policy)?;
                let act = Act::Issue { minted, spec: spec.clone(), policy };
                Ok(Prepared { act, sealed: Some(sealed) })
            }
            Ask::Rotate { recipient, spec, supersedes, policy: change } => {
                let policy = self.policy_for_rotation(address, state, change)?;
                self.rotation(recipient.as_deref(), spec, supersedes, policy)
            }
            Ask::Import { digest, spec, expires_at, label } => {
                Ok(self.import(*digest, spec, *expires_at, label.as_deref(), policy))
            }
            Ask::Rollback { to, revoke_new } => self.rollback(address, *to, *revoke_new, policy).await,
            Ask::Policy(change) => {
                let beneath = self.beneath(address)?;
                Ok(Prepared { act: Act::SetPolicy { change: change.clone(), beneath }, sealed: None })
            }
            Ask::Activate { .. }
            | Ask::Retire { .. }
            | Ask::Revoke { .. }
            | Ask::EdgeAdd(_)
            | Ask::EdgeRemove(_)
            | Ask::SignerAdd(_)
            | Ask::SignerWithdraw(_) => {
                Err(Refusal::Rejected { code: "malformed", detail: "not the issuer's to decide".to_owned() })
            }
        }
    }
}

impl Issuer {
    fn tenant(&self, address: &Address) -> Result<State, BusError> {
        let Some(tenant) = address.tenant() else { return Ok(State::default()) };
        Ok(self.gate.load(&Address::Tenant(tenant.clone()), CommandId(0))?.state)
    }

    /// What holds for the keyring now.
    pub(crate) fn policy(&self, address: &Address, state: &State) -> Result<Policy, BusError> {
        Ok(state.policy_within(&self.tenant(address)?))
    }

    /// What holds where the address itself sets nothing.
    fn beneath(&self, address: &Address) -> Result<Policy, BusError> {
        match address {
            Address::Keyring(_) => self.policy(address, &State::default()),
            Address::Tenant(_) | Address::Installation => Ok(Policy::default()),
        }
    }

    /// What holds with the change that this one rotation asks for.
    fn policy_for_rotation(
        &self,
        address: &Address,
        state: &State,
        change: &PolicyChange,
    ) -> Result<Policy, Refusal> {
        let patch = state.policy.clone().changed(change);
        Ok(Policy::default().overlaid(&self.tenant(address)?.policy).overlaid(&patch))
    }

    fn rotation(
        &self,
        recipient: Option<&str>,
        spec: &SpecAsked,
        supersedes: &[Version],
        policy: Policy,
    ) -> Result<Prepared, Refusal> {
        let (minted, sealed) = self.mint(recipient, &policy)?;
        let act = Act::Rotate { minted, spec: spec.clone(), supersedes: supersedes.to_vec(), policy };
        Ok(Prepared { act, sealed: Some(sealed) })
    }

    /// Mints a key and seals it at once: the text does not outlive this function.
    fn mint(&self, recipient: Option<&str>, policy: &Policy) -> Result<(Minted, Sealed), Refusal> {
        let recipient = recipient.or(policy.recipient.as_deref()).ok_or_else(|| Refusal::Rejected {
            code: "no_recipient",
            detail: "recipient: name the public xkey that the secret is sealed to, or set a standing one \
                     with the policy verb"
                .to_owned(),
        })?;
        let recipient = Recipient::parse(recipient)
            .map_err(|error| Refusal::Rejected { code: "malformed", detail: error.to_string() })?;
        let fresh = mint(&self.brand);
        let boxed = seal(&recipient, &fresh.text);
        let sealed = Sealed::new(fresh.kid.as_str(), 0, &boxed.bytes, &boxed.sender);
        let minted = Minted { kid: fresh.kid, digest: fresh.digest, rotation: RotationId(id::fresh()) };
        Ok((minted, sealed))
    }

    fn import(
        &self,
        digest: Digest,
        spec: &SpecAsked,
        expires_at: Option<At>,
        label: Option<&str>,
        policy: Policy,
    ) -> Prepared {
        // Only the kid of a fresh key is used: an imported key keeps its own text.
        let minted = Minted { kid: mint(&self.brand).kid, digest, rotation: RotationId(id::fresh()) };
        let mut meta = spec.meta.clone().unwrap_or_default();
        if let Some(label) = label {
            meta.insert("label".to_owned(), label.to_owned());
        }
        let spec = KeySpec {
            scopes: spec.scopes.clone().unwrap_or_default(),
            cidrs: spec.cidrs.clone().unwrap_or_default(),
            expires_at: expires_at.or(spec.expires_in.map(|span| self.gate.now().after(span))),
            meta,
        };
        Prepared { act: Act::Import { minted, spec, policy }, sealed: None }
    }

    async fn rollback(
        &self,
        address: &Address,
        to: RollbackTo,
        revoke_new: bool,
        policy: Policy,
    ) -> Result<Prepared, Refusal> {
        let target = target::find(self.gate.bus(), address, to).await?;
        let (to_seq, target) = (target.to_seq, Box::new(target.state));
        let act = Act::Rollback { to_seq, target, revoke_new, policy };
        Ok(Prepared { act, sealed: None })
    }
}
