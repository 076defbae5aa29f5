//! Proofs as documents that stand by themselves: the signed messages word for word, and a summary that follows from
//! them. Whoever has the public keys recomputes the summary; one that does not follow is worth nothing.
//!
//! What a document cannot show is what its maker left out: that no later event of the roster exists, and that the
//! messages stand at the positions that it says. `audit verify` shows that of the whole log. So who has stolen a key that
//! was withdrawn later can still make a document that ends before that.

mod activation;
mod history;
mod quiet;
mod receipt;

pub use activation::{Activation, PassedOver};
pub use history::Happened;
pub use quiet::{Coverage, Quiet, Retired};
pub use receipt::Revocation;

use crate::examine::Examiner;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use history::History;
use keywheel_domain::event::RotationId;
use keywheel_domain::{Address, Fact};
use keywheel_table::Message;
use keywheel_wire::event;
use keywheel_wire::signature::Signed;
use keywheel_wire::signers::Signers;
use keywheel_wire::text::Id;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// The version of these documents.
pub const FORMAT: u32 = 1;
/// Largest document that is read, in bytes.
pub const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a document proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The key was handed out only when every edge could verify it.
    Activation,
    /// The versions that it took the place of were retired on evidence.
    Quiet,
    /// It was revoked, and how far that has reached.
    Receipt,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 3] = [Kind::Activation, Kind::Quiet, Kind::Receipt];

    /// In documents and file names.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Activation => "activation",
            Kind::Quiet => "quiet",
            Kind::Receipt => "receipt",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A message as a service signed and the log stored it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Where it stands; of a notice, where in its own stream.
    pub seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its payload, base64.
    pub payload: String,
    /// Public nkey of the service.
    pub signer: String,
    /// Over subject, a zero byte and payload; base64.
    pub signature: String,
}

/// The document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub keywheel_proof: u32,
    /// What it proves.
    pub kind: Kind,
    /// Whose log the messages stand in.
    pub installation: Id,
    /// The rotation; its id is also the one of the key that it brought.
    pub rotation_id: Id,
    /// What follows from the messages.
    pub summary: Value,
    /// The messages: of the keyring from the rotation's beginning, of the roster from its own, and a receipt.
    pub evidence: Vec<Evidence>,
}

/// What follows from messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Summary {
    /// See [`Kind::Activation`].
    Activation(Activation),
    /// See [`Kind::Quiet`].
    Quiet(Quiet),
    /// See [`Kind::Receipt`].
    Receipt(Revocation),
}

impl Summary {
    /// What is missing for the proof to be complete; nothing, usually.
    pub fn lacks(&self) -> Vec<&str> {
        match self {
            Summary::Activation(activation) => activation.lacks.iter().map(String::as_str).collect(),
            Summary::Quiet(quiet) => {
                quiet.retired.iter().flat_map(|retired| &retired.lacks).map(String::as_str).collect()
            }
            Summary::Receipt(revocation) => revocation.lacks.iter().map(String::as_str).collect(),
        }
    }
}

impl From<&Message> for Evidence {
    fn from(message: &Message) -> Self {
        let signed = message.signed.clone();
        let (signer, signature) = signed.map(|Signed { by, signature }| (by, signature)).unwrap_or_default();
        let payload = STANDARD.encode(&message.payload);
        Self { seq: message.seq, subject: message.subject.clone(), payload, signer, signature }
    }
}

impl Evidence {
    /// As a message again.
    ///
    /// # Errors
    /// When its payload is no base64.
    pub fn message(&self) -> Result<Message, String> {
        let payload = STANDARD.decode(&self.payload);
        let payload = payload.map_err(|error| format!("evidence at {}: no base64: {error}", self.seq))?;
        let signed = Some(Signed { by: self.signer.clone(), signature: self.signature.clone() });
        Ok(Message { seq: self.seq, subject: self.subject.clone(), payload, signed })
    }
}

/// Everything from which proofs of one keyring's rotations are made.
pub struct Material<'a> {
    /// The keyring's messages, all of them.
    pub keyring: &'a [Message],
    /// The roster's, all of them.
    pub roster: &'a [Message],
    /// The receipts about the keyring, each as it stands among the notices.
    pub receipts: &'a [Message],
}

/// Makes the document of one kind about a rotation.
///
/// # Errors
/// Why there is no such proof, or why the log does not bear it out.
pub fn make(
    signers: &Signers,
    kind: Kind,
    rotation: RotationId,
    of: &Material<'_>,
) -> Result<Document, String> {
    let signers = &acquainted(signers, of.roster);
    let is_begin = |message: &Message| begins(message, rotation).is_some();
    let keyring = history::believed(signers, of.keyring);
    let begin = keyring.iter().position(is_begin).ok_or("the log has no such rotation")?;
    let mut messages = history::believed(signers, of.roster);
    messages.extend_from_slice(&keyring[begin..]);
    if kind == Kind::Receipt {
        messages.extend(history::given(signers, of.receipts));
    }
    let history = History::read(signers, rotation, &messages)?;
    let end = match kind {
        Kind::Activation => activation::end(&history)?,
        Kind::Quiet => quiet::end(&history)?,
        Kind::Receipt => receipt::end(&history)?,
    };
    let wanted = receipt::event_ids(&history, end);
    messages.retain(|message| match history::place(message, &history) {
        history::Place::Keyring => message.seq <= end,
        history::Place::Roster => true,
        history::Place::Notice(event) => wanted.contains(&event),
        history::Place::Elsewhere => false,
    });
    let summary = summarize(signers, kind, rotation, &messages)?;
    Ok(Document {
        keywheel_proof: FORMAT,
        kind,
        installation: Id(signers.installation().0),
        rotation_id: Id(rotation.0),
        summary: serde_json::to_value(&summary).map_err(|error| error.to_string())?,
        evidence: messages.iter().map(Evidence::from).collect(),
    })
}

/// Recomputes the summary of a document from its evidence alone.
///
/// # Errors
/// Why the document proves nothing.
pub fn check(signers: &Signers, document: &Document) -> Result<Summary, String> {
    if document.keywheel_proof != FORMAT {
        return Err(format!("keywheel_proof: format {} is not known here", document.keywheel_proof));
    }
    if document.installation.0 != signers.installation().0 {
        return Err("installation: it is of another one than the signers file".to_owned());
    }
    let messages: Vec<Message> = document.evidence.iter().map(Evidence::message).collect::<Result<_, _>>()?;
    let rotation = RotationId(document.rotation_id.0);
    let summary = summarize(signers, document.kind, rotation, &messages)?;
    let follows = serde_json::to_value(&summary).map_err(|error| error.to_string())?;
    match difference("summary", &document.summary, &follows) {
        None => Ok(summary),
        Some(place) => Err(format!("{place}: it does not follow from the evidence")),
    }
}

/// Whom messages of the roster introduce and withdraw is believed and not believed from there on.
fn acquainted(signers: &Signers, messages: &[Message]) -> Arc<Signers> {
    let mut examiner = Examiner::new(Arc::new(signers.alone()));
    examiner.meet(messages);
    Arc::clone(examiner.signers())
}

fn summarize(
    signers: &Signers,
    kind: Kind,
    rotation: RotationId,
    messages: &[Message],
) -> Result<Summary, String> {
    let signers = &acquainted(signers, messages);
    let history = History::read(signers, rotation, messages)?;
    match kind {
        Kind::Activation => activation::summary(&history).map(Summary::Activation),
        Kind::Quiet => quiet::summary(&history).map(Summary::Quiet),
        Kind::Receipt => receipt::summary(&history).map(Summary::Receipt),
    }
}

/// Where two documents differ first.
fn difference(place: &str, said: &Value, follows: &Value) -> Option<String> {
    match (said, follows) {
        (Value::Object(said), Value::Object(follows)) => {
            let strange = said.keys().find(|name| !follows.contains_key(*name));
            let differs = |(name, follows): (&String, &Value)| {
                difference(&format!("{place}.{name}"), said.get(name).unwrap_or(&Value::Null), follows)
            };
            strange.map(|name| format!("{place}.{name}")).or_else(|| follows.iter().find_map(differs))
        }
        (Value::Array(said), Value::Array(follows)) if said.len() == follows.len() => {
            let mut pairs = said.iter().zip(follows).enumerate();
            pairs.find_map(|(at, (said, follows))| difference(&format!("{place}[{at}]"), said, follows))
        }
        (said, follows) => (said != follows).then(|| place.to_owned()),
    }
}

/// The address of a keyring whose rotation a document is about.
pub fn keyring(summary: &Summary) -> &str {
    match summary {
        Summary::Activation(activation) => &activation.keyring,
        Summary::Quiet(quiet) => &quiet.keyring,
        Summary::Receipt(revocation) => &revocation.keyring,
    }
}

/// For whoever looks for a rotation in the log.
pub fn begins(message: &Message, rotation: RotationId) -> Option<Address> {
    let read = event::read(&message.subject, &message.payload).ok()?;
    let is_it = read.event.rotation == Some(rotation) && matches!(read.event.fact, Fact::KeyIssued(_));
    is_it.then_some(read.event.address)
}
