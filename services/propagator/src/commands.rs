//! What the propagator adds to its commands: the roster's, and passing a barrier by hand.

use crate::SharedDesk;
use keywheel_bus::Gate;
use keywheel_bus::intake::{Handler, Prepared, Refusal};
use keywheel_domain::event::Barrier;
use keywheel_domain::signer::Listed;
use keywheel_domain::{Act, Address, Fact, State};
use keywheel_runtime::clock;
use keywheel_wire::command::{Ask, Request};

/// The propagator's part in handling commands.
pub struct Propagator {
    /// What it knows of the fleet.
    pub desk: SharedDesk,
    /// Its gate to the log.
    pub gate: Gate,
}

impl Propagator {
    /// What the signers file says, where the warrant of a change of the signers is right.
    fn vouched(&self, asked: &Fact) -> Result<Listed, Refusal> {
        let signers = self.gate.bus().signers();
        let rejected = |detail| Refusal::Rejected { code: "not_entitled", detail };
        signers.admits(u64::MAX, asked).map_err(rejected)?;
        Ok(signers.listed().clone())
    }
}

impl Handler for Propagator {
    async fn prepare(&self, _: &Address, request: &Request, _: &State) -> Result<Prepared, Refusal> {
        let act = match &request.ask {
            Ask::Activate { version, reason } => {
                let position = self.gate.fold().head().watermark;
                let (edges, _) = self.desk.lock().standing(position, clock::boot_ms());
                let by_hand = Some(reason.clone());
                let barrier = Barrier { position, edges, passed_over: Vec::new(), by_hand };
                Act::Activate { version: *version, barrier }
            }
            Ask::EdgeAdd(edge) => Act::AddEdge { edge: edge.clone() },
            Ask::EdgeRemove(edge) => Act::RemoveEdge { edge: edge.clone() },
            Ask::SignerAdd(asked) => {
                let asked = asked.clone();
                let listed = self.vouched(&Fact::SignerAdded(asked.clone()))?;
                Act::AddSigner { asked, listed }
            }
            Ask::SignerWithdraw(asked) => {
                let asked = asked.clone();
                let listed = self.vouched(&Fact::SignerWithdrawn(asked.clone()))?;
                Act::WithdrawSigner { asked, listed }
            }
            Ask::Issue { .. }
            | Ask::Rotate { .. }
            | Ask::Retire { .. }
            | Ask::Revoke { .. }
            | Ask::Rollback { .. }
            | Ask::Policy(_)
            | Ask::Import { .. } => {
                let detail = "not the propagator's to decide".to_owned();
                return Err(Refusal::Rejected { code: "malformed", detail });
            }
        };
        Ok(Prepared { act, sealed: None })
    }
}
