//! `keywheel rollback`: restore what held at an earlier position.

use crate::arguments;
use crate::await_receipt::ReceiptWatch;
use crate::failure::Failure;
use crate::log_words;
use crate::receipt_words::{show, show_unchanged};
use crate::replay::Followed;
use crate::rollback_all;
use crate::rollback_plan::{Planned, plan};
use crate::selection::Selection;
use crate::session::{Session, event_of};
use clap::{ArgGroup, Args};
use keywheel_domain::event::{CommandId, RotationId};
use keywheel_domain::{Address, At, KeyringId, Recorded, State};
use keywheel_runtime::{exit, plain};
use keywheel_wire::command::RollbackTo;
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Map, Value, json};
use std::io::{BufRead, Read as _, Write};

/// The options of `rollback`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").args(["rotation", "to_seq", "to_time"]))]
#[command(after_help = "Examples:
  keywheel rollback acme/checkout --dry-run
  keywheel rollback acme/checkout
  keywheel rollback acme/checkout --to-time 2026-01-31T12:00:00Z --yes
  keywheel rollback acme --all --to-time 2026-01-31T12:00:00Z --scope orders:read --dry-run

The plan says what comes back, what goes, and what cannot come back and why. A newer key that was handed out stays
accepted for an overlap, unless --revoke-new is given. A revoked key never comes back. With --all what has not changed
since is left out; killed or cut off, the same command with the --command-id that it printed goes on.")]
pub struct Rollback {
    /// Whose keys: tenant/client, or a tenant with --all
    #[arg(value_name = "T/C", value_parser = arguments::tenant_or_keyring)]
    address: Address,
    /// Every keyring of the tenant
    #[arg(long, requires = "to_time", conflicts_with_all = ["rotation", "to_seq"])]
    all: bool,
    /// With --all: only keyrings whose newest version carries this scope; may be given several times
    #[arg(long = "scope", value_name = "S", requires = "all")]
    pub(crate) scopes: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Before this rotation [default: the newest one]
    #[arg(long, value_name = "ID", value_parser = arguments::uuid)]
    rotation: Option<u128>,
    /// What held at this position of the log
    #[arg(long, value_name = "N")]
    to_seq: Option<u64>,
    /// What held at this time
    #[arg(long, value_name = "TS", value_parser = arguments::moment)]
    pub(crate) to_time: Option<At>,
    /// Revoke what is newer instead of letting it run out
    #[arg(long)]
    pub(crate) revoke_new: bool,
    /// Show the plan, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
}

impl Rollback {
    /// Shows the plan, asks, restores, and waits until every edge has applied it.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match (&self.address, self.all) {
            (Address::Keyring(keyring), false) => self.one(session, keyring).await,
            (Address::Tenant(tenant), true) => rollback_all::roll_back(session, tenant, &self).await,
            (Address::Tenant(_), false) => Err(Failure::usage("write TENANT/CLIENT, or pass --all")),
            (Address::Keyring(_) | Address::Installation, _) => Err(Failure::usage("--all takes a tenant")),
        }
    }

    async fn one(&self, session: &Session<'_>, keyring: &KeyringId) -> Result<u8, Failure> {
        let address = Address::Keyring(keyring.clone());
        let mut log = Followed::read(&session.bus, address.clone()).await?;
        let to = self.mark(log.state())?;
        let tenant = Followed::read(&session.bus, Address::Tenant(keyring.tenant.clone())).await?;
        let again =
            session.options.command_id.is_some_and(|id| log.state().done.contains_key(&CommandId(id)));
        if !again {
            let planned = plan(&session.bus, keyring, tenant.state(), to, self.revoke_new).await?;
            if self.dry_run {
                return show_plan(session, &planned);
            }
            if let Some(why) = planned.plan.refusal() {
                return Err(Failure::refused(why.code(), planned.text()));
            }
            confirm(session, &planned.text(), self.yes)?;
        }
        let document = session.document().with_all(fields(to, self.revoke_new));
        let deadline = session.deadline();
        let watch = ReceiptWatch::listen(session).await?;
        let outcome = session.decide(&address, Verb::Rollback, document, deadline).await?;
        let Some(event) = event_of(&outcome)? else {
            return show_unchanged(session, &address, "nothing was to be restored");
        };
        let receipt = watch.receipt(session, &address, (outcome.command_id, event), deadline).await?;
        let events = log.advance(&session.bus).await?;
        let done = events.iter().find(|recorded| recorded.seq == event.seq).map(done_words);
        let done = done.unwrap_or_else(|| "rolled back".to_owned());
        show(session, &address, &outcome, &receipt, &done, "in effect")
    }

    /// Where to, as it was said; else before the keyring's newest rotation.
    fn mark(&self, state: &State) -> Result<RollbackTo, Failure> {
        Ok(match (self.rotation, self.to_seq, self.to_time) {
            (Some(rotation), _, _) => RollbackTo::Rotation(RotationId(rotation)),
            (None, Some(seq), _) => RollbackTo::Seq(seq),
            (None, None, Some(at)) => RollbackTo::Time(at),
            (None, None, None) => RollbackTo::Rotation(newest_rotation(state)?),
        })
    }
}

/// The fields of the command.
pub(crate) fn fields(to: RollbackTo, revoke_new: bool) -> Map<String, Value> {
    let (name, value) = match to {
        RollbackTo::Rotation(rotation) => ("rotation_id", json!(text::id(rotation.0))),
        RollbackTo::Seq(seq) => ("to_seq", json!(seq)),
        RollbackTo::Time(at) => ("to_time", json!(text::moment(at))),
    };
    let revoke_new = revoke_new.then(|| ("revoke_new".to_owned(), json!(true)));
    std::iter::once((name.to_owned(), value)).chain(revoke_new).collect()
}

fn show_plan(session: &Session<'_>, planned: &Planned) -> Result<u8, Failure> {
    let mut document = planned.to_json();
    document["dry_run"] = json!(true);
    session.screen.show(&document, &format!("{}\nNothing was sent (--dry-run).", planned.text()))?;
    Ok(if planned.plan.refusal().is_none() { exit::DONE } else { exit::REFUSED })
}

/// Shows what is about to happen and asks, unless the answer was given already.
pub(crate) fn confirm(session: &Session<'_>, plan: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        session.screen.note(plan);
        return Ok(());
    }
    if !session.screen.can_ask() {
        return Err(Failure::usage(format!("{plan} Pass --yes to do it: there is nobody to ask")));
    }
    if agrees(plan) { Ok(()) } else { Err(Failure::refused("declined", "nothing was changed")) }
}

/// The newest version that a rotation made: what most people mean by going back.
fn newest_rotation(state: &State) -> Result<RotationId, Failure> {
    let newest_first = || state.keys.values().rev().filter(|key| key.replaces.is_some());
    // Where none of them is accepted any more, the newest was revoked or retired: what was before it may come back.
    let rotated = newest_first().find(|key| key.state.is_accepted()).or_else(|| newest_first().next());
    let none = || {
        let detail = "no rotation to go back from; name one with --rotation, --to-seq or --to-time";
        Failure::refused("nothing_to_restore", detail)
    };
    rotated.map(|key| key.rotation).ok_or_else(none)
}

fn agrees(plan: &str) -> bool {
    let mut answer = String::new();
    // Without an answer nothing is done.
    let asked = write!(std::io::stderr(), "{}\nDo it? [y/N] ", plain::lines(plan));
    let read = std::io::stdin().lock().take(16).read_line(&mut answer);
    asked.is_ok() && read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
}

fn done_words(recorded: &Recorded) -> String {
    log_words::fact_words(&recorded.event.fact)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting_words::tests::retiring;
    use keywheel_domain::key::Replaces;
    use keywheel_domain::{KeyState, Policy, Version};

    #[test]
    fn the_newest_accepted_rotation_is_meant() {
        let mut state = State::default();
        assert_eq!(newest_rotation(&state).unwrap_err().code, "nothing_to_restore");
        state.keys.insert(Version(1), retiring());
        let mut newer = retiring();
        newer.state = KeyState::Active;
        newer.rotation = RotationId(7);
        newer.replaces = Some(Replaces { only: Vec::new(), policy: Policy::default() });
        state.keys.insert(Version(2), newer);
        assert_eq!(newest_rotation(&state), Ok(RotationId(7)));
        let revoked = KeyState::Revoked { at: crate::waiting_words::tests::NOW, reason: "leaked".to_owned() };
        state.keys.entry(Version(2)).and_modify(|key| key.state = revoked);
        assert_eq!(newest_rotation(&state), Ok(RotationId(7)), "none is accepted any more");
    }
}
