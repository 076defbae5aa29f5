//! `keywheel fetch`: open a sealed delivery again, as long as it is kept.

use crate::arguments::{self, Output};
use crate::await_activation::activation;
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::handover::{Owner, own_opener, with_key};
use crate::replay::Followed;
use crate::session::Session;
use clap::Args;
use keywheel_domain::key::Origin;
use keywheel_domain::{Address, Key, KeyState, KeyringId, Span, Version};
use keywheel_runtime::exit;
use serde_json::json;
use std::path::PathBuf;

/// How long a delivery may take that follows an activation.
const RELEASE_PATIENCE: Span = Span::secs(5);

/// The options of `fetch`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  KEY=$(keywheel fetch acme/checkout --version 2)")]
pub struct Fetch {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    /// Which version
    #[arg(long, value_name = "N", value_parser = arguments::version)]
    version: Version,
    /// File with the seed that opens it [default: from the context]
    #[arg(long, value_name = "FILE")]
    recipient_file: Option<PathBuf>,
}

impl Fetch {
    /// Prints the key; one that is not active yet is waited for.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let opener = own_opener(session, self.recipient_file.as_ref())?.ok_or_else(|| {
            Failure::usage(
                "no recipient seed; pass --recipient-file, or make one with `keywheel recipient new`",
            )
        })?;
        let key = self.activated(session).await?;
        let deadline = Deadline::within(session.options.timeout.unwrap_or(RELEASE_PATIENCE));
        let taken = Owner::with(opener).take(session, &self.keyring, self.version, &key, deadline).await?;
        let text =
            taken.ok_or_else(|| Failure::refused("not_your_delivery", "it is sealed to somebody else"))?;
        match session.screen.output {
            Output::Text => session.screen.line(text.expose())?,
            Output::Json => {
                let document = json!({
                    "tenant": self.keyring.tenant.as_str(),
                    "client": self.keyring.client.as_str(),
                    "version": self.version.0,
                    "kid": key.kid.as_str(),
                    "state": key.state.word(),
                });
                session.screen.line(&with_key(&document, Some(&text)))?;
            }
        }
        Ok(exit::DONE)
    }

    /// The key as the log has it, once it is activated.
    async fn activated(&self, session: &Session<'_>) -> Result<Key, Failure> {
        let (keyring, version) = (&self.keyring, self.version);
        let log = Followed::read(&session.bus, Address::Keyring(keyring.clone())).await?;
        let key = log.state().keys.get(&version);
        let key =
            key.ok_or_else(|| Failure::refused("unknown_version", format!("{keyring} has no {version}")))?;
        if key.origin == Origin::Imported {
            let detail = format!("{keyring} {version} was imported: nobody here ever had its text");
            return Err(Failure::refused("no_delivery", detail));
        }
        match &key.state {
            KeyState::Issued => {
                let position = log.issued_at(version).unwrap_or_default();
                let active = activation(session, keyring, version, position, session.deadline()).await?;
                Ok(active.key)
            }
            KeyState::Revoked { .. } => {
                Err(Failure::refused("already_revoked", format!("{keyring} {version} is revoked")))
            }
            KeyState::Active | KeyState::Retiring(_) | KeyState::Retired { .. } => Ok(key.clone()),
        }
    }
}
