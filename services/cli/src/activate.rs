//! `keywheel activate`: pass a version's barrier by hand.

use crate::arguments;
use crate::failure::Failure;
use crate::receipt_words::{addressed, show_unchanged};
use crate::session::{Session, event_of};
use clap::Args;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_runtime::exit;
use keywheel_wire::subject::Verb;
use serde_json::json;

/// The options of `activate`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  keywheel activate acme/checkout --version 2 --reason 'edge-c is being replaced'

An edge that has not applied the key may refuse it until it has.")]
pub struct Activate {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    /// Which version
    #[arg(long, value_name = "N", value_parser = arguments::version)]
    version: Version,
    /// Why, for the audit
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

impl Activate {
    /// Passes the barrier; its secret is released at once.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let address = Address::Keyring(self.keyring.clone());
        let document =
            session.document().with("version", Some(self.version.0)).with("reason", Some(&self.reason));
        let outcome = session.decide(&address, Verb::Activate, document, session.deadline()).await?;
        let Some(event) = event_of(&outcome)? else {
            return show_unchanged(session, &address, &format!("{} was active before", self.version));
        };
        let mut document = addressed(&address);
        document["version"] = json!(self.version.0);
        document["kid"] = json!(outcome.kid);
        document["command_id"] = json!(outcome.command_id);
        document["event"] = json!(event);
        let (keyring, version) = (&self.keyring, self.version);
        let text = format!(
            "{keyring}: {version} is active, by hand, at position {}; \
             `keywheel fetch {keyring} --version {}` prints its key",
            event.seq, version.0
        );
        session.screen.show(&document, &text)?;
        Ok(exit::DONE)
    }
}
