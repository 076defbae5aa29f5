//! First uses, and uses that void a proof: the only single uses of which the log is told.

use super::{Failure, Tracker};
use keywheel_bus::{BusError, Executed};
use keywheel_domain::event::{CommandId, Use};
use keywheel_domain::key::Seen;
use keywheel_domain::{Act, Actor, Address, Key, KeyringId, State, Version};
use keywheel_token::id::derived;
use keywheel_wire::{subject, text};
use std::collections::BTreeMap;

/// Most keyrings whose first uses are recorded in one round.
const FIRST_USES_MAX: u32 = 2000;

impl Tracker<'_> {
    /// Records for each keyring in doubt whether a version was used after its proof.
    pub(super) async fn void(&mut self) -> Result<(), Failure> {
        while let Some(keyring) = self.doubtful.first().cloned() {
            let used_since = |key: &Key, seen: &Seen| key.quiet.is_some_and(|quiet| seen.last > quiet.from);
            self.record(&keyring, used_since, |seen| format!("void {}", text::moment(seen.last))).await?;
            self.doubtful.remove(&keyring);
        }
        Ok(())
    }

    /// Records the first use of each version of which the log does not know any.
    pub(super) async fn record_first_uses(&mut self) -> Result<(), Failure> {
        let fresh = self.ledger.lock().fresh(FIRST_USES_MAX)?;
        if fresh.is_empty() {
            return Ok(());
        }
        self.catch_up().await?;
        for keyring in fresh {
            if self.record(&keyring, |key, _| key.seen.is_none(), |_| "first".to_owned()).await? {
                self.ledger.lock().settle(&keyring)?;
            }
        }
        Ok(())
    }

    /// Records the use of those versions of a keyring of which `tells`. False when the keyring is frozen:
    /// nothing can be said of it until a newer program understands it.
    async fn record(
        &self,
        keyring: &KeyringId,
        tells: impl Fn(&Key, &Seen) -> bool,
        what: impl Fn(&Seen) -> String,
    ) -> Result<bool, Failure> {
        let address = Address::Keyring(keyring.clone());
        let loaded = self.gate.fold().lock().load(&address, None)?;
        if loaded.frozen.is_some() {
            return Ok(false);
        }
        let uses = self.ledger.lock().uses(keyring)?;
        for (version, seen) in told(&loaded.state, crate::ledger::summed(&uses), tells) {
            self.say(&address, version, &what(&seen), as_use(Some(seen))).await?;
        }
        Ok(true)
    }

    /// Tells the log of a version's use. `what` makes a repetition the same command.
    pub(super) async fn say(
        &self,
        address: &Address,
        version: Version,
        what: &str,
        seen: Use,
    ) -> Result<(), BusError> {
        let id = CommandId(derived(&["seen", &subject::event(address), &version.to_string(), what]));
        let act = Act::RecordUse { version, seen };
        match self.gate.execute(address, id, &Actor::service("usage-tracker"), act).await? {
            Executed::Done(done) => tracing::info!(%address, %version, what, seq = done.seq, "recorded"),
            Executed::Unchanged => {}
            Executed::Rejected(rejection) => {
                tracing::warn!(%address, %version, what, %rejection, "use was not recorded");
            }
        }
        Ok(())
    }
}

/// The versions of a keyring of which `tells`, of those that the log knows.
fn told(
    state: &State,
    uses: BTreeMap<Version, Seen>,
    tells: impl Fn(&Key, &Seen) -> bool,
) -> Vec<(Version, Seen)> {
    let is_told =
        |(version, seen): &(Version, Seen)| state.keys.get(version).is_some_and(|key| tells(key, seen));
    uses.into_iter().filter(is_told).collect()
}

/// What the ledger counted, as the log is told it.
pub(super) fn as_use(seen: Option<Seen>) -> Use {
    Use {
        first_use: seen.map(|seen| seen.first),
        last_use: seen.map(|seen| seen.last),
        uses: seen.map_or(0, |seen| seen.uses),
        quiet: None,
    }
}
