//! `keywheel issue`: a first or an additional key.

use crate::arguments::{self, Output};
use crate::await_activation::{Activation, activation, proof_words};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::handover::{Owner, RecipientOptions, with_key};
use crate::session::{Session, event_of};
use crate::spec::SpecOptions;
use clap::Args;
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_runtime::exit;
use keywheel_token::KeyText;
use keywheel_wire::outcome::{EventRef, Outcome};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// The options of `issue`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel issue acme/checkout --scope orders:read --expires-in 90d
  KEY=$(keywheel issue acme/checkout)")]
pub struct Issue {
    /// Whose key: tenant/client
    #[arg(value_name = "T/C", value_parser = arguments::keyring)]
    keyring: KeyringId,
    #[command(flatten)]
    spec: SpecOptions,
    #[command(flatten)]
    recipient: RecipientOptions,
}

impl Issue {
    /// Issues the key, waits until every edge knows it, and prints it once.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let deadline = session.deadline();
        let owner = self.recipient.owner(session)?;
        let document =
            session.document().with("recipient", owner.public.as_deref()).with_all(self.spec.fields());
        let address = Address::Keyring(self.keyring.clone());
        let outcome = session.decide(&address, Verb::Issue, document, deadline).await?;
        let made = Made::of(&self.keyring, &outcome)?;
        let active = activation(session, &self.keyring, made.version, made.event.seq, deadline).await?;
        made.hand_over(session, &owner, &active, deadline).await?;
        Ok(exit::DONE)
    }
}

/// A version that a command made.
pub(crate) struct Made<'a> {
    pub keyring: &'a KeyringId,
    pub outcome: &'a Outcome,
    pub event: &'a EventRef,
    pub version: Version,
}

impl<'a> Made<'a> {
    /// Reads the outcome of a command that makes a version.
    pub fn of(keyring: &'a KeyringId, outcome: &'a Outcome) -> Result<Self, Failure> {
        let version = outcome.version.map(Version).zip(event_of(outcome)?);
        let (version, event) =
            version.ok_or_else(|| Failure::refused("malformed", "the outcome names no version"))?;
        Ok(Self { keyring, outcome, event, version })
    }

    /// Prints the activated key: its text alone to standard output, all else to standard error.
    pub async fn hand_over(
        &self,
        session: &Session<'_>,
        owner: &Owner,
        active: &Activation,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let key = owner.take(session, self.keyring, self.version, &active.key, deadline).await?;
        let (keyring, version) = (self.keyring, self.version);
        session.screen.note(&format!("{keyring} {version} is active; {}", proof_words(&active.activated)));
        match (session.screen.output, &key) {
            (Output::Text, Some(key)) => session.screen.line(key.expose()),
            (Output::Text, None) => {
                session.screen.note(&owner.whereabouts(keyring, version));
                Ok(())
            }
            (Output::Json, key) => {
                let document = self.with_key(active.to_json(), key.as_ref(), owner);
                session.screen.line(&document)
            }
        }
    }

    /// The document with the key in it, as text that is wiped.
    fn with_key(&self, activation: Value, key: Option<&KeyText>, owner: &Owner) -> Zeroizing<String> {
        let mut document = self.to_json("active");
        if let (Value::Object(fields), Value::Object(activation)) = (&mut document, activation) {
            fields.extend(activation);
            fields.insert("recipient".to_owned(), json!(owner.public));
        }
        with_key(&document, key)
    }

    /// What programs are told of the version itself.
    pub fn to_json(&self, state: &str) -> Value {
        json!({
            "tenant": self.keyring.tenant.as_str(),
            "client": self.keyring.client.as_str(),
            "version": self.version.0,
            "kid": self.outcome.kid,
            "state": state,
            "rotation_id": self.outcome.rotation_id,
            "command_id": self.outcome.command_id,
            "event_id": text::id(self.event.id.0),
            "issued_seq": self.event.seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_wire::outcome::Word;
    use keywheel_wire::text::Id;

    fn outcome() -> Outcome {
        Outcome {
            command_id: Id(1),
            outcome: Word::Accepted,
            event: Some(EventRef { id: Id(2), kind: "KeyIssued".to_owned(), seq: 41 }),
            rejection: None,
            version: Some(2),
            kid: Some("0123456789".to_owned()),
            rotation_id: Some(Id(3)),
        }
    }

    #[test]
    fn the_document_has_the_key_beside_what_is_known_of_it() {
        let (keyring, outcome) = (KeyringId::parse("acme/app").unwrap(), outcome());
        let made = Made::of(&keyring, &outcome).unwrap();
        let key = KeyText::new("kw_live_x".to_owned());
        let owner = Owner::with(keywheel_token::Opener::fresh());
        let text = made.with_key(json!({ "edges": 2 }), Some(&key), &owner);
        let mut document: Value = serde_json::from_str(&text).unwrap();
        assert!(document["recipient"].as_str().unwrap().starts_with('X'));
        document["recipient"] = json!("X…");
        expect![[r#"{"client":"app","command_id":"00000000-0000-0000-0000-000000000001","edges":2,"event_id":"00000000-0000-0000-0000-000000000002","issued_seq":41,"key":"kw_live_x","kid":"0123456789","recipient":"X…","rotation_id":"00000000-0000-0000-0000-000000000003","state":"active","tenant":"acme","version":2}"#]]
            .assert_eq(&document.to_string());
    }

    #[test]
    fn an_outcome_without_a_version_is_malformed() {
        let keyring = KeyringId::parse("acme/app").unwrap();
        let odd = Outcome { version: None, ..outcome() };
        assert_eq!(Made::of(&keyring, &odd).err().map(|failure| failure.code), Some("malformed".to_owned()));
    }
}
