//! `keywheel revoke`: a compromised key is refused everywhere, and the receipt proves it.

use crate::arguments;
use crate::await_receipt::ReceiptWatch;
use crate::failure::Failure;
use crate::key_input::{from_stdin, reading_of};
use crate::probe;
use crate::receipt_words::{show, show_unchanged};
use crate::replay::World;
use crate::session::{Session, event_of};
use clap::{ArgGroup, Args};
use keywheel_domain::{Address, Digest, KeyringId, Version};
use keywheel_token::{KeyText, Presented};
use keywheel_wire::subject::Verb;

/// The options of `revoke`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("which").args(["version", "all", "key_stdin"]).required(true))]
#[command(after_help = "Examples:
  keywheel revoke acme/checkout --version 2 --reason 'leaked in a log'
  keywheel revoke --key-stdin --reason 'found in a repository' < leaked-key")]
pub struct Revoke {
    /// Whose key: tenant/client; not with --key-stdin, which finds out
    #[arg(value_name = "T/C", value_parser = arguments::keyring, required_unless_present = "key_stdin")]
    #[arg(conflicts_with = "key_stdin")]
    keyring: Option<KeyringId>,
    /// Which version
    #[arg(long, value_name = "N", value_parser = arguments::version)]
    version: Option<Version>,
    /// Every version of the keyring
    #[arg(long)]
    all: bool,
    /// The key itself, as one line of standard input
    #[arg(long)]
    key_stdin: bool,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Revoke {
    /// Revokes and waits for the receipt.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let (keyring, version) = self.which(session).await?;
        let deadline = session.deadline();
        let watch = ReceiptWatch::listen(session).await?;
        let address = Address::Keyring(keyring);
        let document = session
            .document()
            .with("version", version.map(|version| version.0))
            .with("all", version.is_none().then_some(true))
            .with("reason", Some(&self.reason));
        let outcome = session.decide(&address, Verb::Revoke, document, deadline).await?;
        let what = version.map_or("every version".to_owned(), |version| version.to_string());
        let Some(event) = event_of(&outcome)? else {
            return show_unchanged(session, &address, &format!("{what} was revoked before"));
        };
        let receipt = watch.receipt(session, &address, (outcome.command_id, event), deadline).await?;
        show(session, &address, &outcome, &receipt, &format!("{what} is revoked"), "refused")
    }

    /// The keyring and version meant; no version means all.
    async fn which(&self, session: &Session<'_>) -> Result<(KeyringId, Option<Version>), Failure> {
        match &self.keyring {
            Some(keyring) => Ok((keyring.clone(), self.version)),
            None => {
                let key = from_stdin(session.screen)?;
                let (keyring, version) = find(session, &key).await?;
                session.screen.note(&format!("the key is {keyring} {version}"));
                Ok((keyring, Some(version)))
            }
        }
    }
}

/// Whose key it is: an edge knows at once while it accepts the key; else the log is searched by digest.
async fn find(session: &Session<'_>, key: &KeyText) -> Result<(KeyringId, Version), Failure> {
    if let Some(owner) = probe::owner_of(&session.context, key).await {
        return Ok(owner);
    }
    let digest = match reading_of(key) {
        Some(Presented::Ours { digest, .. } | Presented::Foreign { digest }) => digest,
        None => return Err(Failure::refused("malformed", "the text on standard input is no key")),
    };
    let world = World::read(&session.bus).await?;
    holder(&world, digest)
        .ok_or_else(|| Failure::refused("unknown", "no keyring has this key; nothing was revoked"))
}

fn holder(world: &World, digest: Digest) -> Option<(KeyringId, Version)> {
    world.iter().find_map(|(address, told)| {
        let keyring = address.keyring()?;
        let (version, _) = told.state().keys.iter().find(|(_, key)| key.digest == digest)?;
        Some((keyring.clone(), *version))
    })
}
