//! `keywheel import`: adopt an existing key by its digest, so that its owner keeps it.

use crate::arguments;
use crate::await_activation::{activation, proof_words};
use crate::failure::Failure;
use crate::issue::Made;
use crate::session::Session;
use crate::spec::SpecOptions;
use clap::Args;
use keywheel_domain::{Address, KeyringId};
use keywheel_runtime::exit;
use keywheel_token::{digest_hex, parse_digest_hex};
use keywheel_wire::subject::Verb;
use serde_json::Value;

/// The options of `import`.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  keywheel import acme/checkout --digest \"$(printf %s \"$KEY\" | sha256sum | cut -d' ' -f1)\"")]
pub struct Import {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    /// SHA-256 of the whole key text, 64 hexadecimal digits
    #[arg(long, value_name = "HEX", value_parser = digest)]
    digest: String,
    /// Your own name for it
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    #[command(flatten)]
    spec: SpecOptions,
}

fn digest(text: &str) -> Result<String, String> {
    parse_digest_hex(text).map(|digest| digest_hex(&digest)).map_err(|error| error.to_string())
}

impl Import {
    /// Adopts the key and waits until every edge knows it.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let deadline = session.deadline();
        let document = session
            .document()
            .with("digest", Some(&self.digest))
            .with("label", self.label.as_deref())
            .with_all(self.spec.fields());
        let address = Address::Keyring(self.keyring.clone());
        let outcome = session.decide(&address, Verb::Import, document, deadline).await?;
        let made = Made::of(&self.keyring, &outcome)?;
        let active = activation(session, &self.keyring, made.version, made.event.seq, deadline).await?;
        let mut document = made.to_json("active");
        if let (Value::Object(fields), Value::Object(proof)) = (&mut document, active.to_json()) {
            fields.extend(proof);
        }
        let proof = proof_words(&active.activated);
        let text = format!("{} {} is adopted and active; {proof}", self.keyring, made.version);
        session.screen.show(&document, &text)?;
        Ok(exit::DONE)
    }
}
