//! The envelope of an event: a MessagePack map with named fields, readable by any later version.

use crate::Malformed;
use crate::body::{
    EdgeBody, KeyActivatedBody, KeyIssuedBody, KeyRetiredBody, KeySeenBody, PolicySetBody, RolledBackBody,
    SignerAddedBody, SignerWithdrawnBody, type_word,
};
use crate::signers::Installation;
use crate::subject;
use crate::text::{Hex32, Id, Moment};
use keywheel_domain::event::{CommandId, EventId, FactKind, RotationId};
use keywheel_domain::{Actor, Address, Event, Fact};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

/// The envelope version that this code writes, and the highest that it reads.
pub const ENVELOPE_V: u32 = 1;

/// Largest event that is read or written, in bytes.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Deepest nesting that is read; deeper ones could exhaust a thread's stack.
const DEPTH_MAX: usize = 64;

#[derive(Serialize, Deserialize)]
struct Envelope<B> {
    id: Id,
    v: u32,
    #[serde(rename = "type")]
    kind: String,
    tenant: String,
    client: String,
    /// Absent in none that is believed; optional so that one without it is told by that.
    #[serde(default)]
    installation: Option<Id>,
    at: Moment,
    actor: String,
    command_id: Id,
    rotation_id: Option<Id>,
    revision: u64,
    prev: Option<Hex32>,
    body: B,
}

/// Where an event stands in its keyring's own sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Counted from 1 without a gap.
    pub revision: u64,
    /// SHA-256 of the payload of the event before; absent at revision 1.
    pub prev: Option<[u8; 32]>,
}

/// What a payload says of itself, whether the rest of it can be understood or not.
pub struct Head<'p> {
    envelope: Envelope<IgnoredAny>,
    payload: &'p [u8],
}

/// A readable event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The event.
    pub event: Event,
    /// Its place.
    pub link: Link,
}

/// Writes an event of an installation. The result is what is hashed, signed and stored.
///
/// # Errors
/// When it would be larger than [`EVENT_BYTES_MAX`].
pub fn write(event: &Event, link: Link, of: Installation) -> Result<Vec<u8>, Malformed> {
    let payload = match &event.fact {
        Fact::KeyIssued(issued) => pack(event, link, of, KeyIssuedBody::from(issued)),
        Fact::KeyActivated(activated) => pack(event, link, of, KeyActivatedBody::from(activated)),
        Fact::KeySeen(used) => pack(event, link, of, KeySeenBody::from(used)),
        Fact::KeyRetired(ended) => pack(event, link, of, KeyRetiredBody::from(ended)),
        Fact::RolledBack(restored) => pack(event, link, of, RolledBackBody::from(restored)),
        Fact::PolicySet(patch) => pack(event, link, of, PolicySetBody::from(patch)),
        Fact::EdgeAdded(edge) | Fact::EdgeRemoved(edge) => pack(event, link, of, EdgeBody::from(edge)),
        Fact::SignerAdded(asked) => pack(event, link, of, SignerAddedBody::from(asked)),
        Fact::SignerWithdrawn(asked) => pack(event, link, of, SignerWithdrawnBody::from(asked)),
    }?;
    if payload.len() > EVENT_BYTES_MAX {
        return Err(Malformed::new("body", format!("an event has at most {EVENT_BYTES_MAX} bytes")));
    }
    Ok(payload)
}

fn pack<B: Serialize>(event: &Event, link: Link, of: Installation, body: B) -> Result<Vec<u8>, Malformed> {
    let (tenant, client) = match &event.address {
        Address::Keyring(id) => (id.tenant.to_string(), id.client.to_string()),
        Address::Tenant(tenant) => (tenant.to_string(), "_".to_owned()),
        Address::Installation => ("_".to_owned(), "_".to_owned()),
    };
    let envelope = Envelope {
        id: Id(event.id.0),
        v: ENVELOPE_V,
        kind: type_word(event.fact.kind()).to_owned(),
        tenant,
        client,
        installation: Some(Id(of.0)),
        at: Moment(event.at),
        actor: event.actor.as_str().to_owned(),
        command_id: Id(event.command.0),
        rotation_id: event.rotation.map(|rotation| Id(rotation.0)),
        revision: link.revision,
        prev: link.prev.map(Hex32),
        body,
    };
    rmp_serde::to_vec_named(&envelope).map_err(|error| Malformed::new("body", error))
}

/// Reads what a payload says of itself. Unknown fields are passed over.
///
/// # Errors
/// When it is no event's envelope.
pub fn head(payload: &[u8]) -> Result<Head<'_>, Malformed> {
    if payload.len() > EVENT_BYTES_MAX {
        return Err(Malformed::new("body", format!("an event has at most {EVENT_BYTES_MAX} bytes")));
    }
    Ok(Head { envelope: unpack(payload)?, payload })
}

/// Reads an event that stood at `subject`, whoever wrote it: [`crate::belief`] says whether it counts.
///
/// # Errors
/// When it is no event, of a newer envelope, of an unknown type or of no installation, or belongs to another
/// subject.
pub fn read(subject: &str, payload: &[u8]) -> Result<Read, Malformed> {
    let head = head(payload)?;
    let address = head.address_at(subject);
    let kind = head.kind()?;
    head.installation().ok_or_else(|| Malformed::new("installation", "missing field `installation`"))?;
    head.open(address?, kind)
}

impl Head<'_> {
    /// The installation that it names.
    pub fn installation(&self) -> Option<Installation> {
        self.envelope.installation.map(|id| Installation(id.0))
    }

    /// The address of `subject`, for which it must have been written.
    ///
    /// # Errors
    /// When that is none, or another one's.
    pub fn address_at(&self, subject: &str) -> Result<Address, Malformed> {
        let address = subject::parse_event(subject)?;
        let (tenant, client) = (self.envelope.tenant.as_str(), self.envelope.client.as_str());
        if subject::event(&address) == format!("kw.evt.{tenant}.{client}") {
            return Ok(address);
        }
        Err(Malformed::new("tenant", format!("written for {tenant}/{client}, stored at {subject}")))
    }

    /// Its type.
    ///
    /// # Errors
    /// When it is of a newer envelope or of an unknown type.
    pub fn kind(&self) -> Result<FactKind, Malformed> {
        let Envelope { v, kind: word, .. } = &self.envelope;
        if *v == 0 {
            return Err(Malformed::new("v", "versions count from 1"));
        }
        if *v > ENVELOPE_V {
            return Err(Malformed::new("v", format!("written by a newer version ({v})")));
        }
        let kind = FactKind::ALL.into_iter().find(|kind| type_word(*kind) == word);
        kind.ok_or_else(|| Malformed::new("type", format!("unknown event type `{word}`")))
    }

    /// All of it, as an event of this type at this address.
    ///
    /// # Errors
    /// When its body or an envelope field is not what it should be.
    pub fn open(self, address: Address, kind: FactKind) -> Result<Read, Malformed> {
        let Head { envelope, payload } = self;
        let event = Event {
            id: EventId(envelope.id.0),
            address,
            at: envelope.at.0,
            actor: Actor::parse(&envelope.actor)?,
            command: CommandId(envelope.command_id.0),
            rotation: envelope.rotation_id.map(|id| RotationId(id.0)),
            fact: read_fact(kind, payload)?,
        };
        let link = Link { revision: envelope.revision, prev: envelope.prev.map(|hex| hex.0) };
        Ok(Read { event, link })
    }
}

fn read_fact(kind: FactKind, payload: &[u8]) -> Result<Fact, Malformed> {
    match kind {
        FactKind::KeyIssued => body::<KeyIssuedBody>(payload)?.try_into(),
        FactKind::KeyActivated => body::<KeyActivatedBody>(payload)?.try_into(),
        FactKind::KeySeen => body::<KeySeenBody>(payload)?.try_into(),
        FactKind::KeyRetired => Ok(body::<KeyRetiredBody>(payload)?.into()),
        FactKind::RolledBack => body::<RolledBackBody>(payload)?.try_into(),
        FactKind::PolicySet => Ok(body::<PolicySetBody>(payload)?.into()),
        FactKind::EdgeAdded => body::<EdgeBody>(payload)?.into_fact(Fact::EdgeAdded),
        FactKind::EdgeRemoved => body::<EdgeBody>(payload)?.into_fact(Fact::EdgeRemoved),
        FactKind::SignerAdded => body::<SignerAddedBody>(payload)?.try_into(),
        FactKind::SignerWithdrawn => body::<SignerWithdrawnBody>(payload)?.try_into(),
    }
}

#[derive(Deserialize)]
struct BodyOnly<B> {
    body: B,
}

fn body<B: DeserializeOwned>(payload: &[u8]) -> Result<B, Malformed> {
    unpack::<BodyOnly<B>>(payload).map(|only| only.body)
}

/// Where it fails is found by trying again: to keep a path at hand costs more than to read without one.
fn unpack<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Malformed> {
    let reader = || {
        let mut reader = rmp_serde::Deserializer::from_read_ref(payload);
        reader.set_max_depth(DEPTH_MAX);
        reader
    };
    T::deserialize(&mut reader()).or_else(|_| {
        serde_path_to_error::deserialize(&mut reader())
            .map_err(|error| Malformed::new(error.path().to_string(), error.inner()))
    })
}

/// The event as a JSON document, for people and programs that read the log.
///
/// # Errors
/// When the payload is no MessagePack map.
pub fn to_json(payload: &[u8]) -> Result<serde_json::Value, Malformed> {
    unpack(payload)
}
