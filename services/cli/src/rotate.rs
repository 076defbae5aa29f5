//! `keywheel rotate`: the next version of one keyring.

use crate::arguments;
use crate::await_activation::{Activation, activation};
use crate::await_retirement::{End, retirement};
use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::handover::{Owner, RecipientOptions};
use crate::issue::Made;
use crate::policy_fields::OverlapOptions;
use crate::rotate_all;
use crate::selection::Selection;
use crate::session::Session;
use crate::spec::SpecOptions;
use clap::{Args, ValueEnum};
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_runtime::exit;
use keywheel_wire::subject::Verb;
use serde_json::{Map, Value, json};

/// The options of `rotate`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  keywheel rotate acme/checkout
  keywheel rotate acme/checkout --until retired --overlap-min 1h --quiet 10m
  keywheel rotate acme --all --standing-recipient
  keywheel rotate acme --all --standing-recipient --scope orders:read --older-than 90d

With --all, --scope does not change what the keys permit: it says which keyrings are meant. Killed or cut off, the same
command with the --command-id that it printed goes on.")]
pub struct Rotate {
    /// Whose keys: tenant/client, or a tenant with --all
    #[arg(value_name = "T/C", value_parser = arguments::tenant_or_keyring)]
    address: Address,
    /// Every keyring of the tenant, one command each; prints no keys
    #[arg(long, conflicts_with = "supersedes")]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    /// How far to wait: decided, handed out, or all superseded versions retired
    #[arg(long, value_enum, default_value = "active")]
    until: Until,
    /// The version that it takes the place of; may be given several times [default: all lower active ones]
    #[arg(long, value_name = "N", value_parser = arguments::version)]
    supersedes: Vec<Version>,
    #[command(flatten)]
    options: RotationOptions,
}

/// What a rotation may be told beside whose it is.
#[derive(Args, Debug)]
pub struct RotationOptions {
    #[command(flatten)]
    spec: SpecOptions,
    #[command(flatten)]
    pub(crate) recipient: RecipientOptions,
    #[command(flatten)]
    overlap: OverlapOptions,
}

impl RotationOptions {
    /// The scopes that were named.
    pub(crate) fn scopes(&self) -> &[String] {
        self.spec.scopes()
    }

    /// The fields of the command, but for whom it is about.
    pub(crate) fn fields(&self, owner: &Owner) -> Map<String, Value> {
        let mut fields = self.spec.fields();
        fields.extend(owner.public.as_ref().map(|public| ("recipient".to_owned(), json!(public))));
        let policy = self.overlap.fields();
        if !policy.is_empty() {
            fields.insert("policy".to_owned(), Value::Object(policy));
        }
        fields
    }
}

/// How far to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Until {
    Accepted,
    Active,
    Retired,
}

impl Rotate {
    /// Begins the rotation and waits as far as asked.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match (&self.address, self.all) {
            (Address::Keyring(keyring), false) => self.one(session, keyring).await,
            (Address::Tenant(tenant), true) if self.until != Until::Retired => {
                let until_active = self.until == Until::Active;
                rotate_all::rotate(session, tenant, &self.options, &self.selection, until_active).await
            }
            (Address::Tenant(_), true) => Err(Failure::usage("--all waits until active at most")),
            (Address::Tenant(_), false) => Err(Failure::usage("write TENANT/CLIENT, or pass --all")),
            (Address::Keyring(_) | Address::Installation, _) => Err(Failure::usage("--all takes a tenant")),
        }
    }

    async fn one(&self, session: &Session<'_>, keyring: &KeyringId) -> Result<u8, Failure> {
        let deadline = session.deadline();
        let owner = self.options.recipient.owner(session)?;
        let supersedes: Vec<u32> = self.supersedes.iter().map(|version| version.0).collect();
        let document = session
            .document()
            .with("supersedes", (!supersedes.is_empty()).then_some(supersedes))
            .with_all(self.options.fields(&owner));
        let outcome = session.decide(&self.address, Verb::Rotate, document, deadline).await?;
        let made = Made::of(keyring, &outcome)?;
        if self.until == Until::Accepted {
            return accepted(session, &made);
        }
        let active = activation(session, keyring, made.version, made.event.seq, deadline).await?;
        // Printed now, not at the end: the old versions retire only after the new key was used.
        made.hand_over(session, &owner, &active, deadline).await?;
        if self.until == Until::Retired {
            until_retired(session, keyring, &active).await?;
        }
        Ok(exit::DONE)
    }
}

fn accepted(session: &Session<'_>, made: &Made<'_>) -> Result<u8, Failure> {
    let (keyring, version) = (made.keyring, made.version);
    let text = format!(
        "{keyring} {version} is issued at position {}; `keywheel fetch {keyring} --version {}` prints its key",
        made.event.seq, version.0
    );
    session.screen.show(&made.to_json("issued"), &text)?;
    Ok(exit::DONE)
}

async fn until_retired(
    session: &Session<'_>,
    keyring: &KeyringId,
    active: &Activation,
) -> Result<(), Failure> {
    let superseded = &active.activated.supersedes;
    let deadline = Deadline::within_or_never(session.options.timeout);
    let ends = retirement(session, keyring, superseded, deadline).await?;
    let words: Vec<String> = ends.iter().map(|end| format!("{keyring} {}", end.words())).collect();
    let text = if words.is_empty() { "nothing was superseded".to_owned() } else { words.join("\n") };
    let document = json!({ "retired": ends.iter().map(End::to_json).collect::<Vec<_>>() });
    // Standard output had its one document already: the key, which had to come first.
    session.screen.aside(&document, &text);
    Ok(())
}
