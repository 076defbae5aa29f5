//! What may be published as a command: JSON, every field checked, unknown ones refused by name.

use crate::Malformed;
use crate::document::Object;
use crate::policy::WireChange;
use crate::subject::Verb;
use crate::text::{Hex32, Id, Length, Moment};
use crate::warrant;
use keywheel_domain::command::{SpecAsked, Which};
use keywheel_domain::event::{CommandId, RotationId};
use keywheel_domain::key::SPEC_ENTRIES_MAX;
use keywheel_domain::name::free_text;
use keywheel_domain::policy::PolicyChange;
use keywheel_domain::signer::{Introduced, Withdrawn};
use keywheel_domain::{Actor, At, Digest, EdgeId, Span, Version};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Largest command that is read, in bytes.
pub const COMMAND_BYTES_MAX: usize = 64 * 1024;

/// Longest duration that a command may name.
pub const LENGTH_MAX: Span = Span::days(36_500);

/// A readable command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Chosen by the publisher.
    pub id: CommandId,
    /// Who asks.
    pub actor: Actor,
    /// What is asked.
    pub ask: Ask,
}

/// What a command asks, before a service has added what the decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A first or additional key.
    Issue {
        /// Public xkey to seal to.
        recipient: Option<String>,
        /// What it permits.
        spec: SpecAsked,
    },
    /// The next version.
    Rotate {
        /// Public xkey to seal to.
        recipient: Option<String>,
        /// What it permits.
        spec: SpecAsked,
        /// Which versions it takes the place of.
        supersedes: Vec<Version>,
        /// Policy for this rotation alone.
        policy: PolicyChange,
    },
    /// Pass the barrier by hand.
    Activate {
        /// Which version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// Retire now.
    Retire {
        /// Which version.
        version: Version,
    },
    /// Compromised.
    Revoke {
        /// Which versions.
        which: Which,
        /// Why.
        reason: String,
    },
    /// Back to an earlier position.
    Rollback {
        /// Where to.
        to: RollbackTo,
        /// Revoke what is newer.
        revoke_new: bool,
    },
    /// Change how long things last.
    Policy(PolicyChange),
    /// Adopt a key by digest.
    Import {
        /// SHA-256 of the whole key text.
        digest: Digest,
        /// What it permits.
        spec: SpecAsked,
        /// When it ends, where that is known as a moment rather than as a length of time.
        expires_at: Option<At>,
        /// The platform's own name for it.
        label: Option<String>,
    },
    /// Put an edge on the roster.
    EdgeAdd(EdgeId),
    /// Take an edge off the roster.
    EdgeRemove(EdgeId),
    /// Introduce a signing key.
    SignerAdd(Introduced),
    /// Withdraw a signing key.
    SignerWithdraw(Withdrawn),
}

impl Ask {
    /// The verb under which it is asked.
    pub fn verb(&self) -> Verb {
        match self {
            Ask::Issue { .. } => Verb::Issue,
            Ask::Rotate { .. } => Verb::Rotate,
            Ask::Activate { .. } => Verb::Activate,
            Ask::Retire { .. } => Verb::Retire,
            Ask::Revoke { .. } => Verb::Revoke,
            Ask::Rollback { .. } => Verb::Rollback,
            Ask::Policy(_) => Verb::Policy,
            Ask::Import { .. } => Verb::Import,
            Ask::EdgeAdd(_) => Verb::EdgeAdd,
            Ask::EdgeRemove(_) => Verb::EdgeRemove,
            Ask::SignerAdd(_) => Verb::SignerAdd,
            Ask::SignerWithdraw(_) => Verb::SignerWithdraw,
        }
    }
}

/// Which earlier position is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollbackTo {
    /// Before this rotation.
    Rotation(RotationId),
    /// This position.
    Seq(u64),
    /// What held at this time.
    Time(At),
}

/// A command that cannot be read, with its id where that much could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadCommand {
    /// The id, when the document has a valid one.
    pub id: Option<CommandId>,
    /// What is wrong.
    pub error: Malformed,
}

/// Reads the payload of a command.
///
/// # Errors
/// Names the field, and the command's id where it could be read, so that the refusal has an address.
pub fn read(verb: Verb, payload: &[u8]) -> Result<Request, Box<BadCommand>> {
    let bad = |id, error| Box::new(BadCommand { id, error });
    if payload.len() > COMMAND_BYTES_MAX {
        return Err(bad(
            None,
            Malformed::new("", format!("a command has at most {COMMAND_BYTES_MAX} bytes")),
        ));
    }
    let Object { value, twice } = Object::read(payload).map_err(|error| bad(None, error))?;
    if twice.as_deref() == Some("id") {
        return Err(bad(None, stands_twice("id")));
    }
    let id = read_id(&value).map_err(|error| bad(None, error))?;
    match twice {
        Some(field) => Err(bad(Some(id), stands_twice(&field))),
        None => read_fields(verb, id, value).map_err(|error| bad(Some(id), error)),
    }
}

/// The id of a document of which nothing else need be readable, so that a refusal has an address.
pub fn id_in(payload: &[u8]) -> Option<CommandId> {
    if payload.len() > COMMAND_BYTES_MAX {
        return None;
    }
    let Object { value, twice } = Object::read(payload).ok()?;
    read_id(&value).ok().filter(|_| twice.as_deref() != Some("id"))
}

fn stands_twice(field: &str) -> Malformed {
    Malformed::new(field, format!("`{field}` stands twice"))
}

fn read_id(value: &Value) -> Result<CommandId, Malformed> {
    let id = value.get("id").ok_or_else(|| Malformed::new("id", "missing field `id`: choose a UUID"))?;
    let text = id.as_str().ok_or_else(|| Malformed::new("id", "`id` must be a UUID"))?;
    crate::text::parse_id("id", text).map(CommandId)
}

fn read_fields(verb: Verb, id: CommandId, value: Value) -> Result<Request, Malformed> {
    let (actor, ask) = match verb {
        Verb::Issue => fields::<WireIssue>(value)?.read()?,
        Verb::Rotate => fields::<WireRotate>(value)?.read()?,
        Verb::Activate => fields::<WireActivate>(value)?.read()?,
        Verb::Retire => fields::<WireRetire>(value)?.read()?,
        Verb::Revoke => fields::<WireRevoke>(value)?.read()?,
        Verb::Rollback => fields::<WireRollback>(value)?.read()?,
        Verb::Policy => fields::<WirePolicy>(value)?.read()?,
        Verb::Import => fields::<WireImport>(value)?.read()?,
        Verb::EdgeAdd => fields::<WireEdge>(value)?.read(Ask::EdgeAdd)?,
        Verb::EdgeRemove => fields::<WireEdge>(value)?.read(Ask::EdgeRemove)?,
        Verb::SignerAdd => fields::<WireSignerAdd>(value)?.read()?,
        Verb::SignerWithdraw => fields::<WireSignerWithdraw>(value)?.read()?,
    };
    Ok(Request { id, actor: Actor::parse(&actor)?, ask })
}

fn fields<T: DeserializeOwned>(value: Value) -> Result<T, Malformed> {
    serde_path_to_error::deserialize(value).map_err(|error| Malformed::from_json(&error))
}

type Read = Result<(String, Ask), Malformed>;

/// Declares one verb's document: `id` and `actor`, then its own fields.
macro_rules! document {
    ($name:ident { $($(#[$attr:meta])* $field:ident : $type:ty),* $(,)? }) => {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            #[serde(rename = "id")]
            _id: Id,
            actor: String,
            $($(#[$attr])* $field: $type,)*
        }
    };
}

document!(WireIssue {
    recipient: Option<String>,
    scopes: Option<Vec<String>>,
    cidrs: Option<Vec<String>>,
    expires_in: Option<Length>,
    meta: Option<BTreeMap<String, String>>,
});
document!(WireRotate {
    recipient: Option<String>,
    scopes: Option<Vec<String>>,
    cidrs: Option<Vec<String>>,
    expires_in: Option<Length>,
    meta: Option<BTreeMap<String, String>>,
    #[serde(default)]
    supersedes: Vec<u32>,
    #[serde(default, deserialize_with = "crate::document::object")]
    policy: WireChange,
});
document!(WireActivate { version: u32, #[serde(default)] reason: Option<String> });
document!(WireRetire { version: u32 });
document!(WireRevoke { version: Option<u32>, #[serde(default)] all: bool, reason: String });
document!(WireRollback {
    rotation_id: Option<Id>,
    to_seq: Option<u64>,
    to_time: Option<Moment>,
    #[serde(default)]
    revoke_new: bool,
});
document!(WirePolicy {
    #[serde(deserialize_with = "crate::document::object")]
    policy: WireChange,
});
document!(WireImport {
    digest: Hex32,
    label: Option<String>,
    scopes: Option<Vec<String>>,
    cidrs: Option<Vec<String>>,
    expires_in: Option<Length>,
    expires_at: Option<Moment>,
    meta: Option<BTreeMap<String, String>>,
});
document!(WireEdge { edge: String });
document!(WireSignerAdd { key: String, role: String, by: String, signature: String });
document!(WireSignerWithdraw { key: String, reason: String, by: String, signature: String });

impl WireIssue {
    fn read(self) -> Read {
        check_optional_recipient(self.recipient.as_deref())?;
        let spec = spec(self.scopes, self.cidrs, self.expires_in, self.meta)?;
        Ok((self.actor, Ask::Issue { recipient: self.recipient, spec }))
    }
}

impl WireRotate {
    fn read(self) -> Read {
        check_optional_recipient(self.recipient.as_deref())?;
        let spec = spec(self.scopes, self.cidrs, self.expires_in, self.meta)?;
        bounded("supersedes", self.supersedes.len())?;
        let supersedes =
            self.supersedes.into_iter().map(|n| version("supersedes", n)).collect::<Result<_, _>>()?;
        let policy = self.policy.read()?;
        Ok((self.actor, Ask::Rotate { recipient: self.recipient, spec, supersedes, policy }))
    }
}

impl WireActivate {
    fn read(self) -> Read {
        let reason = free_text("reason", self.reason.as_deref().unwrap_or("by hand"))?;
        Ok((self.actor, Ask::Activate { version: version("version", self.version)?, reason }))
    }
}

impl WireRetire {
    fn read(self) -> Read {
        Ok((self.actor, Ask::Retire { version: version("version", self.version)? }))
    }
}

impl WireRevoke {
    fn read(self) -> Read {
        let which = match (self.version, self.all) {
            (Some(n), false) => Which::One(version("version", n)?),
            (None, true) => Which::All,
            (Some(_), true) | (None, false) => {
                return Err(Malformed::new("version", "give either `version` or `all`: true"));
            }
        };
        Ok((self.actor, Ask::Revoke { which, reason: free_text("reason", &self.reason)? }))
    }
}

impl WireRollback {
    fn read(self) -> Read {
        let to = match (self.rotation_id, self.to_seq, self.to_time) {
            (Some(id), None, None) => RollbackTo::Rotation(RotationId(id.0)),
            (None, Some(seq), None) => RollbackTo::Seq(seq),
            (None, None, Some(time)) => RollbackTo::Time(time.0),
            _ => {
                let detail = "give exactly one of `rotation_id`, `to_seq` and `to_time`";
                return Err(Malformed::new("rotation_id", detail));
            }
        };
        Ok((self.actor, Ask::Rollback { to, revoke_new: self.revoke_new }))
    }
}

impl WirePolicy {
    fn read(self) -> Read {
        Ok((self.actor, Ask::Policy(self.policy.read()?)))
    }
}

impl WireImport {
    fn read(self) -> Read {
        let spec = spec(self.scopes, self.cidrs, self.expires_in, self.meta)?;
        let label = self.label.as_deref().map(|text| free_text("label", text)).transpose()?;
        if self.expires_in.is_some() && self.expires_at.is_some() {
            return Err(Malformed::new("expires_at", "give either `expires_in` or `expires_at`"));
        }
        let expires_at = self.expires_at.map(|moment| moment.0);
        Ok((self.actor, Ask::Import { digest: Digest(self.digest.0), spec, expires_at, label }))
    }
}

impl WireEdge {
    fn read(self, ask: fn(EdgeId) -> Ask) -> Read {
        Ok((self.actor, ask(EdgeId::parse(&self.edge)?)))
    }
}

impl WireSignerAdd {
    fn read(self) -> Read {
        let asked = warrant::introduced(&self.key, &self.role, &self.by, self.signature)?;
        Ok((self.actor, Ask::SignerAdd(asked)))
    }
}

impl WireSignerWithdraw {
    fn read(self) -> Read {
        let asked = warrant::withdrawn(&self.key, &self.reason, &self.by, self.signature)?;
        Ok((self.actor, Ask::SignerWithdraw(asked)))
    }
}

fn version(field: &str, n: u32) -> Result<Version, Malformed> {
    if n == 0 { Err(Malformed::new(field, "versions count from 1")) } else { Ok(Version(n)) }
}

fn bounded(field: &str, entries: usize) -> Result<(), Malformed> {
    if entries > SPEC_ENTRIES_MAX {
        return Err(Malformed::new(field, format!("at most {SPEC_ENTRIES_MAX} entries")));
    }
    Ok(())
}

fn spec(
    scopes: Option<Vec<String>>,
    cidrs: Option<Vec<String>>,
    expires_in: Option<Length>,
    meta: Option<BTreeMap<String, String>>,
) -> Result<SpecAsked, Malformed> {
    for (at, scope) in scopes.iter().flatten().enumerate() {
        check_scope(&format!("scopes[{at}]"), scope)?;
    }
    for (at, cidr) in cidrs.iter().flatten().enumerate() {
        check_cidr(&format!("cidrs[{at}]"), cidr)?;
    }
    for (name, value) in meta.iter().flatten() {
        free_text("meta", name)?;
        free_text("meta", value)?;
    }
    bounded("scopes", scopes.as_ref().map_or(0, Vec::len))?;
    bounded("cidrs", cidrs.as_ref().map_or(0, Vec::len))?;
    bounded("meta", meta.as_ref().map_or(0, BTreeMap::len))?;
    if expires_in.is_some_and(|length| length.0.0 == 0) {
        return Err(Malformed::new("expires_in", "a key that expires at once is no use"));
    }
    expires_in.map_or(Ok(()), |length| check_length("expires_in", length))?;
    Ok(SpecAsked { scopes, cidrs, expires_in: expires_in.map(|length| length.0), meta })
}

/// A scope is 1 to 64 of letters, digits and `:._/*-`, so that it can stand in a header list.
fn check_scope(field: &str, scope: &str) -> Result<(), Malformed> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":._/*-".contains(&b);
    if scope.is_empty() || scope.len() > 64 || !scope.bytes().all(plain) {
        return Err(Malformed::new(field, "a scope has 1 to 64 letters, digits or :._/*-"));
    }
    Ok(())
}

fn check_cidr(field: &str, cidr: &str) -> Result<(), Malformed> {
    let readable = cidr.parse::<ipnet::IpNet>().is_ok() || cidr.parse::<std::net::IpAddr>().is_ok();
    if readable { Ok(()) } else { Err(Malformed::new(field, "write an address range as 10.0.0.0/8")) }
}

/// Checks a length of time: longer ones lead to instants that cannot be written.
///
/// # Errors
/// Names `field`.
pub fn check_length(field: &str, length: Length) -> Result<(), Malformed> {
    if length.0 > LENGTH_MAX {
        return Err(Malformed::new(field, format!("at most {LENGTH_MAX} (100 years)")));
    }
    Ok(())
}

fn check_optional_recipient(recipient: Option<&str>) -> Result<(), Malformed> {
    recipient.map_or(Ok(()), |public| check_recipient("recipient", public))
}

/// Checks a public xkey.
///
/// # Errors
/// Names `field`.
pub fn check_recipient(field: &str, public: &str) -> Result<(), Malformed> {
    let is_xkey = public.starts_with('X') && nkeys::XKey::from_public_key(public).is_ok();
    if is_xkey {
        Ok(())
    } else {
        Err(Malformed::new(field, "expected a public xkey (X…), made by `keywheel recipient new`"))
    }
}
