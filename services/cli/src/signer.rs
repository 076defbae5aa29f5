//! `keywheel signer`: whose events are believed, and how that changes.

use crate::arguments::GlobalOptions;
use crate::context::{Context, own_file};
use crate::failure::Failure;
use crate::rollback::confirm;
use crate::screen::Screen;
use crate::seed_file;
use crate::session::{Session, event_of};
use crate::signer_list::Picture;
use crate::signer_role::{self, Role};
use clap::{Args, Subcommand};
use keywheel_domain::signer::{Introduced, Warrant, Withdrawn};
use keywheel_domain::{Address, Service, SignerKey};
use keywheel_runtime::exit;
use keywheel_wire::signature::Signer as Pair;
use keywheel_wire::subject::Verb;
use keywheel_wire::{Malformed, warrant};
use serde_json::json;
use std::path::PathBuf;

/// The commands of `signer`.
#[derive(Debug, Subcommand)]
pub enum Signer {
    /// Make a seed: into a file of mode 0600, its public key to standard output
    #[command(after_help = "Examples:
  keywheel signer new issuer --file issuer-2.nk
  keywheel signer new root --file root.nk    # for an installation without one; then list it in each signers.toml")]
    New(New),
    /// Introduce a signing key of a service, by the word of the root or of a standing key of that role
    #[command(after_help = "Examples:
  keywheel signer add issuer --key UKEY --sign-with credentials/issuer.nk
  keywheel signer add issuer --key UKEY --sign-with /media/offline/root.nk

Every reader believes the key from the position of the event on, without a restart or another signers.toml. Introduce a
key before its service starts with it: one whose key is not believed does not start.")]
    Add(Add),
    /// Withdraw a signing key for ever, by the word of the root
    #[command(after_help = "Examples:
  keywheel signer withdraw UKEY --reason \"its host was broken into\" --root /media/offline/root.nk
  keywheel signer withdraw UKEY --reason replaced --root root.nk --yes

What the key signed up to the position of the event stays believed. Stop the service that signs with it first.")]
    Withdraw(Withdraw),
    /// Show whose events are believed: by the signers file and by events
    #[command(after_help = "Example:\n  keywheel signer list")]
    List,
}

/// The options of `signer new`.
#[derive(Args, Debug)]
pub struct New {
    /// issuer, propagator, usage-tracker, retirer or root
    #[arg(value_parser = Role::parse)]
    role: Role,
    /// The file to be [default: ROLE.nk in the home]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// The options of `signer add`.
#[derive(Args, Debug)]
pub struct Add {
    /// As what it signs: issuer, propagator, usage-tracker or retirer
    #[arg(value_parser = service)]
    role: Service,
    /// The new public key; `keywheel signer new` makes one
    #[arg(long, value_name = "UKEY", value_parser = key)]
    key: SignerKey,
    /// Seed of the root or of a standing key of the role [default: root.nk in the home]
    #[arg(long, value_name = "FILE")]
    sign_with: Option<PathBuf>,
}

/// The options of `signer withdraw`.
#[derive(Args, Debug)]
pub struct Withdraw {
    /// The public key
    #[arg(value_name = "UKEY", value_parser = key)]
    key: SignerKey,
    /// Why, for the audit
    #[arg(long)]
    reason: String,
    /// Seed of the root [default: root.nk in the home]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Signer {
    /// Shows or changes whose events are believed.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        match self {
            Signer::New(new) => new.run(session.options, session.screen),
            Signer::Add(add) => add.run(session).await,
            Signer::Withdraw(withdraw) => withdraw.run(session).await,
            Signer::List => {
                let picture = Picture::of(&session.bus.signers());
                session.screen.show(&picture.to_json(), &picture.text(session.screen))?;
                Ok(exit::DONE)
            }
        }
    }
}

impl New {
    /// Makes a seed, which takes no bus.
    pub(crate) fn run(self, options: &GlobalOptions, screen: &Screen) -> Result<u8, Failure> {
        let name = self.role.file();
        let in_home = || own_file(options, &name, |context| context.in_home(&name));
        let file = self.file.map_or_else(in_home, Ok)?;
        let public = signer_role::make(&file)?;
        screen.note(&format!("seed: {}\n{}", file.display(), self.role.next_step(&public)));
        let document = json!({ "role": self.role.name(), "key": public, "file": file });
        screen.show(&document, &public)?;
        Ok(exit::DONE)
    }
}

impl Add {
    async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let pair = signer(&session.context, self.sign_with, "--sign-with")?;
        let installation = session.bus.signers().installation();
        let Introduced { key, role, warrant } = warrant::add(&pair, installation, &self.key, self.role)?;
        let role = role.name();
        let fields = json!({ "key": key.as_str(), "role": role });
        let since = format!("{key} signs as {role} from here on");
        ask(session, Verb::SignerAdd, fields, &warrant, (since, "it was introduced before")).await
    }
}

impl Withdraw {
    async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let pair = signer(&session.context, self.root, "--root")?;
        let signers = session.bus.signers();
        let Withdrawn { key, reason, warrant } =
            warrant::withdraw(&pair, signers.installation(), &self.key, &self.reason)?;
        confirm(session, &Picture::of(&signers).plan(&key), self.yes)?;
        let fields = json!({ "key": key.as_str(), "reason": reason });
        let over = format!("{key} is not believed from here on");
        ask(session, Verb::SignerWithdraw, fields, &warrant, (over, "it was withdrawn before")).await
    }
}

/// Sends what was signed, and says at which position it stands.
async fn ask(
    session: &Session<'_>,
    verb: Verb,
    mut document: serde_json::Value,
    Warrant { by, signature }: &Warrant,
    (done, so_already): (String, &str),
) -> Result<u8, Failure> {
    let mut fields = document.as_object().cloned().unwrap_or_default();
    fields.insert("by".to_owned(), json!(by.as_str()));
    fields.insert("signature".to_owned(), json!(signature));
    let command = session.document().with_all(fields);
    let outcome = session.decide(&Address::Installation, verb, command, session.deadline()).await?;
    let event = event_of(&outcome)?;
    document["by"] = json!(by.as_str());
    document["outcome"] = json!(if event.is_some() { "accepted" } else { "unchanged" });
    document["command_id"] = json!(outcome.command_id);
    document["event"] = json!(event);
    let text = event.map_or_else(
        || so_already.to_owned(),
        |event| {
            format!("position {}: {done}; `keywheel edges` shows which edges have read that far", event.seq)
        },
    );
    session.screen.show(&document, &text)?;
    Ok(exit::DONE)
}

/// The pair of a seed file; without one the root's, as long as it lies in the home.
fn signer(context: &Context, file: Option<PathBuf>, option: &str) -> Result<Pair, Failure> {
    let path = file.unwrap_or_else(|| context.in_home(&Role::Root.file()));
    let missing = || {
        let detail =
            format!("there is no {}; pass {option} FILE with the seed that is to sign", path.display());
        Failure::config("seed", detail)
    };
    let seed = seed_file::read(&path)?.ok_or_else(missing)?;
    Pair::from_seed(&seed)
        .map_err(|_| Failure::config("seed", format!("{} is no nkey seed (SU…)", path.display())))
}

fn service(name: &str) -> Result<Service, Malformed> {
    warrant::role("role", name)
}

fn key(text: &str) -> Result<SignerKey, Malformed> {
    warrant::public("key", text)
}
