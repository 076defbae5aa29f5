//! `keywheel retire`: end a version now, without calling it compromised.

use crate::arguments;
use crate::await_receipt::ReceiptWatch;
use crate::failure::Failure;
use crate::receipt_words::{show, show_unchanged};
use crate::session::{Session, event_of};
use clap::Args;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_wire::subject::Verb;

/// The options of `retire`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  keywheel retire acme/checkout --version 1")]
pub struct Retire {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    /// Which version
    #[arg(long, value_name = "N", value_parser = arguments::version)]
    version: Version,
}

impl Retire {
    /// Retires the version and waits for the receipt.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let deadline = session.deadline();
        let watch = ReceiptWatch::listen(session).await?;
        let address = Address::Keyring(self.keyring);
        let document = session.document().with("version", Some(self.version.0));
        let outcome = session.decide(&address, Verb::Retire, document, deadline).await?;
        let Some(event) = event_of(&outcome)? else {
            return show_unchanged(session, &address, &format!("{} was retired before", self.version));
        };
        let receipt = watch.receipt(session, &address, (outcome.command_id, event), deadline).await?;
        let done = format!("{} is retired", self.version);
        show(session, &address, &outcome, &receipt, &done, "refused")
    }
}
