//! `keywheel rollback`: restore what held at an earlier position.

use crate::arguments;
use crate::await_receipt::ReceiptWatch;
use crate::failure::Failure;
use crate::log_words;
use crate::receipt_words::{show, show_unchanged};
use crate::replay::Followed;
use crate::session::{Session, event_of};
use clap::{ArgGroup, Args};
use keywheel_domain::{Address, At, KeyringId, Recorded, State};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use std::io::{BufRead, Read as _, Write};

/// The options of `rollback`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("where").args(["rotation", "to_seq", "to_time"]))]
#[command(after_help = "Examples:
  keywheel rollback acme/checkout
  keywheel rollback acme/checkout --to-time 2026-01-31T12:00:00Z --yes

A newer key that was handed out stays accepted for an overlap, unless --revoke-new is given. A revoked key never comes back.")]
pub struct Rollback {
    /// Whose keys: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    /// Before this rotation [default: the newest one]
    #[arg(long, value_name = "ID", value_parser = arguments::uuid)]
    rotation: Option<u128>,
    /// What held at this position of the log
    #[arg(long, value_name = "N")]
    to_seq: Option<u64>,
    /// What held at this time
    #[arg(long, value_name = "TS", value_parser = arguments::moment)]
    to_time: Option<At>,
    /// Revoke what is newer instead of letting it run out
    #[arg(long)]
    revoke_new: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Rollback {
    /// Asks, restores, and waits until every edge has applied it.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let address = Address::Keyring(self.keyring.clone());
        let mut log = Followed::read(&session.bus, address.clone()).await?;
        let rotation = match (self.rotation, self.to_seq, self.to_time) {
            (None, None, None) => Some(newest_rotation(log.state())?),
            (rotation, _, _) => rotation,
        };
        self.confirm(session, rotation)?;
        let document = session
            .document()
            .with("rotation_id", rotation.map(text::id))
            .with("to_seq", self.to_seq)
            .with("to_time", self.to_time.map(text::moment))
            .with("revoke_new", self.revoke_new.then_some(true));
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

    fn confirm(&self, session: &Session<'_>, rotation: Option<u128>) -> Result<(), Failure> {
        let plan = self.plan(rotation);
        if self.yes {
            session.screen.note(&plan);
            return Ok(());
        }
        if !session.screen.can_ask() {
            return Err(Failure::usage(format!("{plan} Pass --yes to do it: there is nobody to ask")));
        }
        if agrees(&plan) { Ok(()) } else { Err(Failure::refused("declined", "nothing was changed")) }
    }

    /// What is about to happen, in words.
    fn plan(&self, rotation: Option<u128>) -> String {
        let target = match (rotation, self.to_seq, self.to_time) {
            (Some(rotation), _, _) => format!("before rotation {}", text::id(rotation)),
            (None, Some(seq), _) => format!("at position {seq}"),
            (None, None, Some(at)) => format!("at {}", text::moment(at)),
            (None, None, None) => "before".to_owned(),
        };
        let newer = if self.revoke_new {
            "what is newer is revoked at once"
        } else {
            "what is newer stays accepted for an overlap"
        };
        format!("{} goes back to what held {target}; {newer}.", self.keyring)
    }
}

/// The newest version that a rotation made: what most people mean by going back.
fn newest_rotation(state: &State) -> Result<u128, Failure> {
    let rotated = state.keys.values().rev().find(|key| key.replaces.is_some() && key.state.is_accepted());
    let none = || {
        let detail = "no rotation to go back from; name one with --rotation, --to-seq or --to-time";
        Failure::refused("nothing_to_restore", detail)
    };
    rotated.map(|key| key.rotation.0).ok_or_else(none)
}

fn agrees(plan: &str) -> bool {
    let mut answer = String::new();
    // Without an answer nothing is done.
    let asked = write!(std::io::stderr(), "{} Do it? [y/N] ", keywheel_runtime::plain::line(plan));
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
    use expect_test::expect;
    use keywheel_domain::event::RotationId;
    use keywheel_domain::key::Replaces;
    use keywheel_domain::{KeyState, Policy, Version};

    fn asked(to_seq: Option<u64>, revoke_new: bool) -> Rollback {
        let keyring = KeyringId::parse("acme/app").unwrap();
        Rollback { keyring, rotation: None, to_seq, to_time: None, revoke_new, yes: false }
    }

    #[test]
    fn the_plan_says_where_to_and_what_becomes_of_the_newer_key() {
        expect!["acme/app goes back to what held before rotation 00000000-0000-0000-0000-000000000007; what is newer stays accepted for an overlap."]
            .assert_eq(&asked(None, false).plan(Some(7)));
        expect!["acme/app goes back to what held at position 12; what is newer is revoked at once."]
            .assert_eq(&asked(Some(12), true).plan(None));
    }

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
        assert_eq!(newest_rotation(&state), Ok(7));
    }
}
