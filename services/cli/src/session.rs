//! A connection as the operator, and the way of every command: publish it, wait for its outcome.

use crate::arguments::GlobalOptions;
use crate::context::Context;
use crate::deadline::Deadline;
use crate::document::Document;
use crate::failure::Failure;
use crate::outage::Outage;
use crate::screen::Screen;
use keywheel_bus::{Bus, BusError};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Actor, Address, At, Span};
use keywheel_runtime::clock;
use keywheel_runtime::config::variable;
use keywheel_runtime::exit;
use keywheel_token::id;
use keywheel_wire::outcome::{EventRef, Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use std::path::Path;
use std::time::Duration;

/// How long a command waits where `--timeout` says nothing.
pub(crate) const PATIENCE: Span = Span::secs(60);
/// How often a command is published again when it is not certain that it was stored.
const PUBLISHING_ATTEMPTS: u32 = 3;

/// What every command on the bus works with.
pub(crate) struct Session<'a> {
    pub bus: Bus,
    pub context: Context,
    pub options: &'a GlobalOptions,
    pub screen: &'a Screen,
}

impl<'a> Session<'a> {
    /// Connects.
    pub async fn open(
        context: Context,
        options: &'a GlobalOptions,
        screen: &'a Screen,
    ) -> Result<Self, Failure> {
        let bus = Bus::connect(&context.bus_options()?).await?;
        bus.meet().await?;
        Ok(Self { bus, context, options, screen })
    }

    /// The home that keeps what was read; none where nothing is to be kept.
    pub fn cache_folder(&self) -> Option<&Path> {
        self.context.home_folder().filter(|_| !self.options.no_cache)
    }

    /// Until when to wait, by `--timeout` or the default.
    pub fn deadline(&self) -> Deadline {
        Deadline::within(self.options.timeout.unwrap_or(PATIENCE))
    }

    /// A command's document, with the id that was asked for or a new one.
    pub fn document(&self) -> Document {
        Document::new(self.options.command_id.unwrap_or_else(id::fresh), &self.actor())
    }

    /// Who asks.
    pub fn actor(&self) -> String {
        let user = || variable("USER").filter(|user| Actor::parse(user).is_ok());
        self.options.actor.clone().or_else(user).unwrap_or_else(|| "operator".to_owned())
    }

    /// Publishes a command and waits for its outcome; a rejection is a failure.
    pub async fn decide(
        &self,
        address: &Address,
        verb: Verb,
        document: Document,
        deadline: Deadline,
    ) -> Result<Outcome, Failure> {
        let deciding = self.publish_and_wait(address, verb, document, deadline);
        tokio::select! {
            outcome = deciding => outcome,
            denied = self.bus.denied() => Err(Failure::config("denied", format!(
                "the bus denied something that an operator may do: {denied}; check the credential in the context"
            ))),
        }
    }

    async fn publish_and_wait(
        &self,
        address: &Address,
        verb: Verb,
        document: Document,
        deadline: Deadline,
    ) -> Result<Outcome, Failure> {
        let id = document.id;
        let lost = |failure: Failure| if_lost(failure, id.0);
        self.publish(address, verb, document).await.map_err(lost)?;
        let outcome = self.outcome(id, deadline).await.map_err(lost)?;
        let outcome = outcome.ok_or_else(|| undecided(verb, id.0, deadline))?;
        match (outcome.outcome, &outcome.rejection) {
            (Word::Rejected, Some(why)) => Err(Failure::refused(&why.code, &why.detail)),
            (Word::Rejected, None) => Err(Failure::refused("rejected", "no reason was given")),
            (Word::Accepted | Word::Unchanged, _) => Ok(outcome),
        }
    }

    async fn outcome(&self, id: CommandId, deadline: Deadline) -> Result<Option<Outcome>, Failure> {
        let (live, mut outage) = (self.screen.live(), Outage::default());
        loop {
            live.say("waiting for the decision");
            let asked = self.bus.await_outcome(id, deadline.left()).await.map_err(Failure::from);
            if let Some(outcome) = outage.bridge(asked, deadline, &live).await? {
                return Ok(outcome);
            }
        }
    }

    /// The same id has one effect, so what may not have been stored is sent again.
    async fn publish(&self, address: &Address, verb: Verb, document: Document) -> Result<(), Failure> {
        let document = document.into_value();
        let mut attempt = 1;
        loop {
            match self.bus.send_command(address, verb, &document).await {
                Ok(()) => return Ok(()),
                Err(BusError::Failed { .. }) if attempt < PUBLISHING_ATTEMPTS => attempt += 1,
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Whoever lost the bus in the middle needs the command's id to go on.
fn if_lost(failure: Failure, id: u128) -> Failure {
    if failure.exit != exit::UNREACHABLE {
        return failure;
    }
    let (detail, id) = (failure.detail, text::id(id));
    Failure::unreachable(format!(
        "{detail}; the command may be stored: repeat it with --command-id {id}, it has one effect"
    ))
}

fn undecided(verb: Verb, id: u128, deadline: Deadline) -> Failure {
    let service = verb.decided_by().name();
    let id = text::id(id);
    Failure::unfinished(format!(
        "the command is stored, but the {service} has not decided it after {}; check that it runs, then \
         repeat the command with --command-id {id}: it has one effect",
        deadline.given()
    ))
}

/// The event that an accepted command made. `None` where it was so already.
pub(crate) fn event_of(outcome: &Outcome) -> Result<Option<&EventRef>, Failure> {
    match (outcome.outcome, &outcome.event) {
        (Word::Unchanged, _) => Ok(None),
        (Word::Accepted | Word::Rejected, Some(event)) => Ok(Some(event)),
        (Word::Accepted | Word::Rejected, None) => {
            Err(Failure::refused("malformed", "the outcome names no event"))
        }
    }
}

/// The wall clock, for showing how long ago something was.
pub(crate) fn now() -> At {
    At(clock::wall_ms())
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_undecided_command_says_how_to_go_on() {
        let failure = undecided(Verb::Revoke, 7, Deadline::within(PATIENCE));
        assert_eq!(failure.exit, 4);
        expect!["the command is stored, but the retirer has not decided it after 1m; check that it runs, then repeat the command with --command-id 00000000-0000-0000-0000-000000000007: it has one effect"]
            .assert_eq(&failure.detail);
    }
}
