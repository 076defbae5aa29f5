//! Commands, states and proofs, by the operator's own credential and nothing more.

use crate::stack::Context;
use anyhow::{Context as _, bail};
use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusOptions};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, KeyringId, Recorded, State, Version};
use keywheel_table::Replay;
use keywheel_token::{KeyText, Opener, id};
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long anything that should happen is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An operator with a curve key of its own.
pub struct Operator {
    /// Its connection.
    pub bus: Bus,
    opener: Opener,
}

impl Operator {
    /// Connects.
    ///
    /// # Errors
    /// When the bus cannot be reached.
    pub async fn connect(context: &Context) -> anyhow::Result<Operator> {
        let bus = Bus::connect(&BusOptions {
            url: context.nats_url.clone(),
            credentials: context.credentials.clone(),
            tls: context.tls.clone(),
            signers: read_signers(&context.signers).map_err(anyhow::Error::msg)?,
            inbox_prefix: context.inbox_prefix.clone(),
            name: "rig".to_owned(),
            wait: false,
        })
        .await?;
        Ok(Operator { bus, opener: Opener::fresh() })
    }

    /// Publishes a command with a fresh id and waits for its outcome, whatever it is.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn command(&self, address: &Address, verb: Verb, fields: Value) -> anyhow::Result<Outcome> {
        self.command_as(id::fresh(), address, verb, fields).await
    }

    /// The same under a given id.
    ///
    /// # Errors
    /// When there is no outcome in time.
    pub async fn command_as(
        &self,
        command: u128,
        address: &Address,
        verb: Verb,
        mut fields: Value,
    ) -> anyhow::Result<Outcome> {
        let document = fields.as_object_mut().context("fields")?;
        document.insert("id".to_owned(), json!(text::id(command)));
        document.insert("actor".to_owned(), json!("rig"));
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = self.bus.send_command(address, verb, &fields).await {
            anyhow::ensure!(Instant::now() < deadline, "a command was not taken: {error}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        while Instant::now() < deadline {
            if let Ok(Some(outcome)) =
                self.bus.await_outcome(CommandId(command), Duration::from_secs(5)).await
            {
                return Ok(outcome);
            }
        }
        bail!("no outcome of {} at {address}", verb.word())
    }

    /// A command that must be accepted.
    ///
    /// # Errors
    /// When it is not.
    pub async fn accepted(&self, address: &Address, verb: Verb, fields: Value) -> anyhow::Result<Outcome> {
        let outcome = self.command(address, verb, fields).await?;
        anyhow::ensure!(outcome.outcome == Word::Accepted, "{} at {address}: {outcome:?}", verb.word());
        Ok(outcome)
    }

    /// Sets a policy.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn policy(&self, address: &Address, policy: Value) -> anyhow::Result<()> {
        self.accepted(address, Verb::Policy, json!({ "policy": policy })).await.map(|_| ())
    }

    /// Issues a key and waits for its delivery.
    ///
    /// # Errors
    /// When it is refused or not delivered in time.
    pub async fn issue(&self, keyring: &KeyringId) -> anyhow::Result<(Version, KeyText)> {
        let address = Address::Keyring(keyring.clone());
        let outcome =
            self.accepted(&address, Verb::Issue, json!({ "recipient": self.opener.public() })).await?;
        let version = Version(outcome.version.context("a version")?);
        Ok((version, self.delivered(keyring, version).await?))
    }

    /// Begins a rotation; gives its version.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rotate(&self, keyring: &KeyringId) -> anyhow::Result<Version> {
        let address = Address::Keyring(keyring.clone());
        let outcome =
            self.accepted(&address, Verb::Rotate, json!({ "recipient": self.opener.public() })).await?;
        Ok(Version(outcome.version.context("a version")?))
    }

    /// The public part of its curve key.
    pub fn recipient(&self) -> &str {
        self.opener.public()
    }

    /// Waits for a version's delivery and opens it.
    ///
    /// # Errors
    /// When it does not come in time or cannot be opened.
    pub async fn delivered(&self, keyring: &KeyringId, version: Version) -> anyhow::Result<KeyText> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(Some(sealed)) = self.bus.delivery(keyring, version).await {
                return Ok(self.opener.open(&sealed.bytes()?, &sealed.sender)?);
            }
            anyhow::ensure!(Instant::now() < deadline, "{keyring} {version} was not delivered");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A keyring's events and the state that they make.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn history(&self, address: &Address) -> anyhow::Result<(State, Vec<Recorded>)> {
        let (mut replay, mut events, mut from) = (Replay::new(self.bus.signers()), Vec::new(), 1);
        loop {
            let page = self.bus.page(from, Some(address)).await?;
            let Some(last) = page.last() else { return Ok((replay.state, events)) };
            from = last.seq + 1;
            replay.believe(&self.bus.meet().await?);
            events.extend(page.iter().filter_map(|message| replay.take(message).ok()));
        }
    }

    /// Waits until a keyring's state is as `wanted`.
    ///
    /// # Errors
    /// With the state that it had at last, when it is not in time.
    pub async fn until(
        &self,
        keyring: &KeyringId,
        what: &str,
        wanted: impl Fn(&State) -> bool,
    ) -> anyhow::Result<State> {
        let address = Address::Keyring(keyring.clone());
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.history(&address).await.map(|(state, _)| state);
            match state {
                Ok(state) if wanted(&state) => return Ok(state),
                Ok(state) if Instant::now() > deadline => bail!("{keyring}: not {what} in time: {state:#?}"),
                Err(error) if Instant::now() > deadline => return Err(error),
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// The word for a version's state, `none` where there is no such version.
pub fn word(state: &State, version: Version) -> &'static str {
    state.keys.get(&version).map_or("none", |key| key.state.word())
}
