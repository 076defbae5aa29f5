//! `keywheel audit proof`: a rotation's proofs, each as one document.

use super::pages::Pages;
use crate::arguments;
use crate::failure::Failure;
use crate::replay::each_message;
use crate::session::Session;
use clap::{Args, ValueEnum};
use keywheel_audit::proof::{self, Document, Kind, Material};
use keywheel_bus::Bus;
use keywheel_domain::event::RotationId;
use keywheel_domain::{Address, KeyringId};
use keywheel_runtime::exit;
use keywheel_table::Message;
use std::path::{Path, PathBuf};

/// The options of `audit proof`.
#[derive(Args, Debug)]
#[command(
    after_help = "A document holds the signed messages word for word and what follows from them. `audit check` recomputes that with
the public keys alone. `keywheel status T/C --output json` and `log` name the rotation of each key.

Examples:
  keywheel audit proof --rotation 0190a0c2-7b7e-7d3e-8f00-000000000001 --dir proofs
  keywheel audit proof --rotation 0190a0c2-7b7e-7d3e-8f00-000000000001 --kind quiet > quiet.json"
)]
pub struct Proof {
    /// Which rotation: the id of the key that it brought
    #[arg(long, value_name = "ID", value_parser = arguments::uuid)]
    rotation: u128,
    /// Whose, where that is known: else the whole log is searched for it
    #[arg(long, value_name = "T/C", value_parser = arguments::keyring)]
    of: Option<KeyringId>,
    /// Which proof [default: every one that there is, one a line]
    #[arg(long, value_enum)]
    kind: Option<Wanted>,
    /// Write each into a file of this folder: activation.json, quiet.json, receipt.json
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wanted {
    /// That every edge knew the key before its owner had it
    Activation,
    /// That the old versions were unused, and the new one in use, when they ended
    Quiet,
    /// That it is revoked, and where
    Receipt,
}

impl Wanted {
    fn kind(self) -> Kind {
        match self {
            Wanted::Activation => Kind::Activation,
            Wanted::Quiet => Kind::Quiet,
            Wanted::Receipt => Kind::Receipt,
        }
    }
}

impl Proof {
    /// Writes the documents.
    pub(crate) async fn run(self, session: &Session<'_>) -> Result<u8, Failure> {
        let rotation = RotationId(self.rotation);
        let address = match &self.of {
            Some(keyring) => Address::Keyring(keyring.clone()),
            None => find(session, rotation).await?,
        };
        let bus = &session.bus;
        let keyring = messages(bus, &address).await?;
        let roster = messages(bus, &Address::Installation).await?;
        let receipts = bus.notice_messages(&address, "receipt").await?;
        let material = Material { keyring: &keyring, roster: &roster, receipts: &receipts };
        let kinds = self.kind.map_or(Kind::ALL.to_vec(), |wanted| vec![wanted.kind()]);
        let (mut made, mut missing) = (Vec::new(), Vec::new());
        for kind in kinds {
            match proof::make(&bus.signers(), kind, rotation, &material) {
                Ok(document) => made.push(document),
                Err(why) => missing.push(format!("no {kind} proof: {why}")),
            }
        }
        if made.is_empty() {
            return Err(Failure::refused("no_proof", missing.join("; ")));
        }
        missing.iter().for_each(|why| session.screen.note(why));
        made.iter().try_for_each(|document| self.put(session, document))?;
        Ok(exit::DONE)
    }

    fn put(&self, session: &Session<'_>, document: &Document) -> Result<(), Failure> {
        let text = serde_json::to_string(document).expect("our own documents have text keys");
        let Some(dir) = &self.dir else { return session.screen.line(&text) };
        let path = dir.join(format!("{}.json", document.kind));
        let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, format!("{text}\n")));
        written.map_err(|error| Failure::usage(format!("dir: cannot write {}: {error}", path.display())))?;
        session.screen.line(&said(session, &path, document))
    }
}

fn said(session: &Session<'_>, path: &Path, document: &Document) -> String {
    match session.screen.output {
        arguments::Output::Text => format!("{}: {}", path.display(), super::check::headline(document)),
        arguments::Output::Json => serde_json::json!({ "file": path, "kind": document.kind }).to_string(),
    }
}

async fn messages(bus: &Bus, address: &Address) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    each_message(bus, Some(address), 1, |message, _| messages.push(message.clone())).await?;
    Ok(messages)
}

/// The keyring in whose history the rotation begins.
async fn find(session: &Session<'_>, rotation: RotationId) -> Result<Address, Failure> {
    let end = session.bus.head().await?.seq;
    let live = session.screen.progress(usize::try_from(end).unwrap_or(usize::MAX));
    let mut pages = Pages::new(session.bus.clone(), None);
    loop {
        let page = pages.next(&live).await?;
        let found = page.iter().find_map(|record| proof::begins(&record.message, rotation));
        if let Some(address) = found {
            return Ok(address);
        }
        let Some(last) = page.last() else {
            let id = keywheel_wire::text::id(rotation.0);
            return Err(Failure::refused("no_rotation", format!("the log has no rotation {id}")));
        };
        live.at(usize::try_from(last.message.seq).unwrap_or(usize::MAX));
    }
}
