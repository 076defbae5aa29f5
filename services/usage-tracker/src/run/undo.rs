//! Rotations that are undone by themselves: clients are refused with the version that one retired, beyond what the
//! keyring's policy bears. The rollback is asked for as anybody asks for one, and an alarm says so.

use super::{Failure, Tracker};
use keywheel_bus::BusError;
use keywheel_domain::policy::Policy;
use keywheel_domain::undo::{Refusals, Undo, undo};
use keywheel_domain::{Address, At, KeyState, KeyringId, State, Version};
use keywheel_token::id::derived;
use keywheel_wire::belief::AUTO_ROLLBACK;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::subject::{self, Verb};
use keywheel_wire::text::{self, Moment};
use serde_json::json;

const ACTOR: &str = "usage-tracker";

impl Tracker<'_> {
    /// Looks at each keyring of which retired keys were refused. One that could not be looked at now is looked at
    /// again in the next round.
    pub(super) async fn undo(&mut self) -> Result<(), Failure> {
        if self.refused.is_empty() {
            return Ok(());
        }
        // Whoever refused a key has applied its retirement; here it is to be known too.
        self.catch_up().await?;
        while let Some(keyring) = self.refused.first().cloned() {
            self.look_at_refusals(&keyring).await?;
            self.refused.remove(&keyring);
        }
        Ok(())
    }

    async fn look_at_refusals(&self, keyring: &KeyringId) -> Result<(), Failure> {
        let Some((state, policy)) = self.standing(keyring)? else { return Ok(()) };
        let refusals = self.ledger.lock().refusals(keyring)?;
        for (version, refusals) in refusals {
            if !belongs(&state, version, refusals.since) {
                self.ledger.lock().forget_refusals(keyring, version)?;
            } else if let Some(found) = undo(&state, version, &refusals, &policy, self.gate.now()) {
                self.ask(keyring, version, &refusals, &found).await?;
            }
        }
        Ok(())
    }

    /// The keyring with what holds for it; none while it cannot be understood.
    fn standing(&self, keyring: &KeyringId) -> Result<Option<(State, Policy)>, Failure> {
        let fold = self.gate.fold().lock();
        let own = fold.load(&Address::Keyring(keyring.clone()), None)?;
        let tenant = fold.load(&Address::Tenant(keyring.tenant.clone()), None)?;
        let policy = own.state.policy_within(&tenant.state);
        let is_certain = own.frozen.is_none() && tenant.frozen.is_none();
        Ok(is_certain.then_some((own.state, policy)))
    }

    /// Each retirement is answered under one id, however often and by however many this is asked.
    async fn ask(
        &self,
        keyring: &KeyringId,
        version: Version,
        refusals: &Refusals,
        found: &Undo,
    ) -> Result<(), BusError> {
        let address = Address::Keyring(keyring.clone());
        let at = found.retired_at.0.to_string();
        let id = derived(&["auto-rollback", &subject::event(&address), &version.0.to_string(), &at]);
        let rotation = text::id(found.rotation.0);
        let document = json!({ "id": text::id(id), "actor": ACTOR, "rotation_id": rotation });
        let Refusals { refused, accepted, .. } = refusals;
        let detail = format!(
            "{keyring}: {version} retired and its key was refused {refused} times since, others accepted {accepted} \
             times; a rollback to before rotation {rotation} is asked for by command {}",
            text::id(id)
        );
        tracing::warn!(%keyring, %version, refused, accepted, "a rotation is undone by itself");
        let alarm = Alarm { code: AUTO_ROLLBACK.to_owned(), detail, at: Moment(self.gate.now()), seq: None };
        // Said first: once it is undone there is nothing left to say it by.
        self.bus.notify(&address, &format!("auto-rollback-{}", text::id(id)), &Notice::Alarm(alarm)).await?;
        self.bus.send_command(&address, Verb::Rollback, &document).await
    }
}

/// Whether refusals since then are of the version's present retirement.
fn belongs(state: &State, version: Version, since: At) -> bool {
    match state.keys.get(&version).map(|key| &key.state) {
        Some(KeyState::Retired { at, .. }) => since >= *at,
        Some(KeyState::Issued | KeyState::Active | KeyState::Retiring(_) | KeyState::Revoked { .. })
        | None => false,
    }
}
