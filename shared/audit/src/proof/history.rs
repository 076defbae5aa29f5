//! The messages of a proof, believed and in order: one keyring's from the rotation's beginning, the roster's, receipts.

use crate::examine::examine;
use crate::inspect::{Inspector, Scope};
use keywheel_domain::event::{Issued, RotationId};
use keywheel_domain::{Address, At, EdgeId, Fact, Recorded};
use keywheel_table::Message;
use keywheel_wire::belief::{self, Heard};
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;
use keywheel_wire::text::Moment;
use serde::Serialize;

/// Something that happened: where it stands, when it was decided and who asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happened {
    /// The position in the log.
    pub seq: u64,
    /// When it was decided.
    pub at: Moment,
    /// Who asked.
    pub by: String,
}

impl From<&Recorded> for Happened {
    fn from(recorded: &Recorded) -> Self {
        let by = recorded.event.actor.as_str().to_owned();
        Self { seq: recorded.seq, at: Moment(recorded.event.at), by }
    }
}

/// What the messages say.
pub struct History {
    /// The keyring.
    pub address: Address,
    /// Its events, from the `KeyIssued` of the rotation on.
    pub events: Vec<Recorded>,
    /// The roster's.
    roster: Vec<Recorded>,
    /// Receipts about the keyring.
    pub receipts: Vec<Receipt>,
}

/// Which part of a proof a message is.
pub enum Place {
    /// An event of the keyring.
    Keyring,
    /// An event of the roster.
    Roster,
    /// A notice about this event.
    Notice(u128),
    /// None.
    Elsewhere,
}

/// Which part of the proof a message is.
pub fn place(message: &Message, history: &History) -> Place {
    if message.subject == subject::event(&history.address) {
        return Place::Keyring;
    }
    if message.subject == subject::event(&Address::Installation) {
        return Place::Roster;
    }
    match keywheel_wire::notice::read(&message.payload) {
        Ok(Notice::Receipt(receipt)) if message.subject == subject::notice(&history.address, "receipt") => {
            Place::Notice(receipt.event_id.0)
        }
        Ok(_) | Err(_) => Place::Elsewhere,
    }
}

impl History {
    /// Reads messages of which each was written by a service entitled to it and continues the one before.
    ///
    /// # Errors
    /// The first one that was not or does not, or that belongs to nothing here.
    pub fn read(signers: &Signers, rotation: RotationId, messages: &[Message]) -> Result<Self, String> {
        let begin = messages.iter().find_map(|message| super::begins(message, rotation));
        let address = begin.ok_or("evidence: it does not begin with the rotation's KeyIssued")?;
        let mut history = Self { address, events: Vec::new(), roster: Vec::new(), receipts: Vec::new() };
        let (mut keyring, mut roster) = (Vec::new(), Vec::new());
        for message in messages {
            match place(message, &history) {
                Place::Keyring => keyring.push(message),
                Place::Roster => roster.push(message),
                Place::Notice(_) => {
                    let Message { seq, subject, payload, signed } = message;
                    let read = belief::notice(signers, Heard::Stored, subject, payload, signed.as_ref());
                    let unbelieved =
                        |error| format!("evidence: the notice at {seq} is not believed: {error}");
                    if let Notice::Receipt(receipt) = read.map_err(unbelieved)? {
                        history.receipts.push(receipt);
                    }
                }
                Place::Elsewhere => {
                    return Err(format!("evidence: the message at {} is no part of this proof", message.seq));
                }
            }
        }
        let part = Scope { contiguous: false, from_beginning: false };
        history.events = events(signers, part, &keyring)?;
        history.roster = events(signers, Scope { from_beginning: true, ..part }, &roster)?;
        match history.events.first().map(|first| (&first.event.fact, first.event.rotation)) {
            Some((Fact::KeyIssued(_), Some(id))) if id == rotation => Ok(history),
            Some(_) | None => Err("evidence: it does not begin with the rotation's KeyIssued".to_owned()),
        }
    }

    /// The key that the rotation brought.
    pub fn issued(&self) -> Result<(&Recorded, &Issued), String> {
        match self.events.first().map(|first| (first, &first.event.fact)) {
            Some((first, Fact::KeyIssued(issued))) => Ok((first, issued)),
            Some(_) | None => Err("evidence: it does not begin with the rotation's KeyIssued".to_owned()),
        }
    }

    /// The edges that were put on the roster before `seq` and not taken off it again by `removed`.
    pub fn edges(&self, before: u64, removed: impl Fn(&Recorded) -> bool) -> Vec<EdgeId> {
        let mut edges = Vec::new();
        for recorded in &self.roster {
            match &recorded.event.fact {
                Fact::EdgeAdded(edge) if recorded.seq < before => edges.push(edge.clone()),
                Fact::EdgeRemoved(edge) if removed(recorded) => edges.retain(|known| known != edge),
                Fact::EdgeAdded(_)
                | Fact::EdgeRemoved(_)
                | Fact::SignerAdded(_)
                | Fact::SignerWithdrawn(_)
                | Fact::KeyIssued(_)
                | Fact::KeyActivated(_)
                | Fact::KeySeen(_)
                | Fact::KeyRetired(_)
                | Fact::RolledBack(_)
                | Fact::PolicySet(_) => {}
            }
        }
        edges.sort();
        edges.dedup();
        edges
    }

    /// When an edge was put on the roster.
    pub fn added_at(&self, edge: &EdgeId) -> Option<At> {
        let is_it = |recorded: &&Recorded| matches!(&recorded.event.fact, Fact::EdgeAdded(it) if it == edge);
        self.roster.iter().rev().find(is_it).map(|recorded| recorded.event.at)
    }
}

/// An address's messages without those that do not count: they are no part of history, and of no proof.
pub fn believed(signers: &Signers, messages: &[Message]) -> Vec<Message> {
    let mut inspector = Inspector::new(Scope { contiguous: false, from_beginning: true });
    let counts = |message: &&Message| inspector.take(message, &examine(signers, message));
    messages.iter().filter(counts).cloned().collect()
}

/// The notices that a service gave which may.
pub fn given(signers: &Signers, notices: &[Message]) -> Vec<Message> {
    let is_given = |Message { seq: _, subject, payload, signed }: &&Message| {
        belief::notice(signers, Heard::Stored, subject, payload, signed.as_ref()).is_ok()
    };
    notices.iter().filter(is_given).cloned().collect()
}

fn events(signers: &Signers, scope: Scope, messages: &[&Message]) -> Result<Vec<Recorded>, String> {
    let (mut inspector, mut events) = (Inspector::new(scope), Vec::new());
    for message in messages {
        let examined = examine(signers, message);
        if inspector.take(message, &examined)
            && let Ok(read) = examined.read
        {
            events.push(Recorded { seq: message.seq, event: read.event });
        }
    }
    match inspector.finish().findings.listed().first() {
        None => Ok(events),
        Some(finding) => Err(format!("evidence: {finding}")),
    }
}
