//! What the retirer adds to retire and revoke commands: nothing but the domain's own words.

use keywheel_bus::intake::{Handler, Prepared, Refusal};
use keywheel_domain::command::Retirement;
use keywheel_domain::{Act, Address, State};
use keywheel_wire::command::{Ask, Request};

/// The retirer's part in handling commands.
pub struct Retirer;

impl Handler for Retirer {
    async fn prepare(&self, _: &Address, request: &Request, _: &State) -> Result<Prepared, Refusal> {
        let act = match &request.ask {
            Ask::Retire { version } => Act::Retire { version: *version, why: Retirement::Requested },
            Ask::Revoke { which, reason } => Act::Revoke { which: *which, reason: reason.clone() },
            Ask::Issue { .. }
            | Ask::Rotate { .. }
            | Ask::Activate { .. }
            | Ask::Rollback { .. }
            | Ask::Policy(_)
            | Ask::Import { .. }
            | Ask::EdgeAdd(_)
            | Ask::EdgeRemove(_)
            | Ask::SignerAdd(_)
            | Ask::SignerWithdraw(_) => {
                let detail = "not the retirer's to decide".to_owned();
                return Err(Refusal::Rejected { code: "malformed", detail });
            }
        };
        Ok(Prepared { act, sealed: None })
    }
}
