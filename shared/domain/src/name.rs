//! What is addressed: tenants, clients, edges, services, and the three kinds of address that a fact can have.

use crate::rejection::{InvalidText, redacted};
use std::fmt;

/// Longest actor, reason or free text that is accepted, in bytes.
pub const FREE_TEXT_BYTES_MAX: usize = 256;
const NAME_BYTES_MAX: usize = 63;

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Reads a name: `[a-z0-9][a-z0-9_-]{0,62}`.
            ///
            /// # Errors
            /// Says which name is meant and what it may contain.
            pub fn parse(text: &str) -> Result<Self, InvalidText> {
                if is_name(text) { Ok(Self(text.to_owned())) } else {
                    Err(InvalidText::new($field, text, "use 1 to 63 of a-z, 0-9, _ and -, beginning with a letter or digit"))
                }
            }

            /// The name as it stands in subjects and paths.
            pub fn as_str(&self) -> &str { &self.0 }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.write_str(&self.0) }
        }
    };
}

name!(
    /// An isolation boundary: one customer organisation or environment of the platform.
    Tenant,
    "tenant"
);
name!(
    /// One API consumer within a tenant; it owns one keyring.
    Client,
    "client"
);
name!(
    /// A verifier on the roster.
    EdgeId,
    "edge"
);
name!(
    /// A region's own server of the bus, which keeps a mirror of the log for the edges there.
    LeafId,
    "leaf"
);

fn is_name(text: &str) -> bool {
    let alphabet = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let first_is_plain = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    first_is_plain && text.len() <= NAME_BYTES_MAX && text.bytes().all(alphabet)
}

/// A service that folds the log and writes to it: the role of its signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Mints, rotates, rolls back, sets policies.
    Issuer,
    /// Keeps the roster and the signers, passes barriers, releases secrets, writes receipts.
    Propagator,
    /// Counts use and proves quiet.
    UsageTracker,
    /// Retires and revokes.
    Retirer,
}

impl Service {
    /// Every service.
    pub const ALL: [Service; 4] =
        [Service::Issuer, Service::Propagator, Service::UsageTracker, Service::Retirer];

    /// The name of the service: its role, its command durable, its program name.
    pub fn name(self) -> &'static str {
        match self {
            Service::Issuer => "issuer",
            Service::Propagator => "propagator",
            Service::UsageTracker => "usage-tracker",
            Service::Retirer => "retirer",
        }
    }

    /// The durable by which one instance replays the log: each replica folds all of it.
    pub fn log_durable(self, instance: u32) -> String {
        format!("{}-{instance}", self.name())
    }
}

/// Who asked: free text of at most [`FREE_TEXT_BYTES_MAX`] printable bytes, for people and audits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Actor(String);

impl Actor {
    /// Reads an actor.
    ///
    /// # Errors
    /// When it is empty, too long or has characters that control or turn around a line.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        free_text("actor", text).map(Self)
    }

    /// One of Keywheel's own services.
    pub fn service(name: &'static str) -> Self {
        Self(name.to_owned())
    }

    /// The text as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Checks text that people wrote: not empty, at most [`FREE_TEXT_BYTES_MAX`] bytes, nothing that controls
/// a line or turns its direction around.
///
/// # Errors
/// Names `field` and says what is wrong.
pub fn free_text(field: &'static str, text: &str) -> Result<String, InvalidText> {
    if text.is_empty() || text.len() > FREE_TEXT_BYTES_MAX || text.chars().any(rules_the_line) {
        let rule = "use 1 to 256 bytes without control characters, of lines and of direction";
        return Err(InvalidText::new(field, text, rule));
    }
    Ok(text.to_owned())
}

/// Whether a character decides where a line ends or in which direction it is read. Joiners and marks,
/// without which some scripts cannot be written, are not among these.
fn rules_the_line(character: char) -> bool {
    let is_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    character.is_control() || is_direction || matches!(character, '\u{2028}' | '\u{2029}')
}

/// Text from outside as an error repeats it: in backquotes and [`redacted`], what does not print escaped, long
/// text cut.
pub fn shown(text: &str) -> String {
    const CHARACTERS_MAX: usize = 40;
    let mut shown = String::from("`");
    for (at, character) in redacted(text).chars().enumerate() {
        match (at < CHARACTERS_MAX, prints(character)) {
            (false, _) => {
                shown.push('…');
                break;
            }
            (true, true) => shown.push(character),
            (true, false) => shown.extend(character.escape_debug()),
        }
    }
    shown.push('`');
    shown
}

/// Whether a character prints as itself on a line: it neither controls nor hides, and separates no lines.
pub fn prints(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    // The standard library knows what prints. It escapes combining marks too, but only at the beginning.
    let mut text = [b'x'; 5];
    let length = 1 + character.encode_utf8(&mut text[1..]).len();
    let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
    text.escape_debug().nth(1) == Some(character)
}

/// A client's key versions: the aggregate, one subject in the log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyringId {
    /// Whose client.
    pub tenant: Tenant,
    /// Whose keys.
    pub client: Client,
}

impl KeyringId {
    /// Reads `tenant/client`.
    ///
    /// # Errors
    /// When a part is missing or has a character that names may not have.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let (tenant, client) =
            text.split_once('/').ok_or_else(|| InvalidText::new("keyring", text, "write TENANT/CLIENT"))?;
        Ok(Self { tenant: Tenant::parse(tenant)?, client: Client::parse(client)? })
    }
}

impl fmt::Display for KeyringId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.client)
    }
}

/// What a fact is about. Each address is one subject in the log and one sequence of decisions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// One client's keys.
    Keyring(KeyringId),
    /// A whole tenant: its policy.
    Tenant(Tenant),
    /// The installation: its roster of edges and its signers.
    Installation,
}

impl Address {
    /// The keyring, where this is one.
    pub fn keyring(&self) -> Option<&KeyringId> {
        match self {
            Address::Keyring(id) => Some(id),
            Address::Tenant(_) | Address::Installation => None,
        }
    }

    /// The tenant, where there is one.
    pub fn tenant(&self) -> Option<&Tenant> {
        match self {
            Address::Keyring(id) => Some(&id.tenant),
            Address::Tenant(tenant) => Some(tenant),
            Address::Installation => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Keyring(id) => write!(f, "{id}"),
            Address::Tenant(tenant) => write!(f, "{tenant}"),
            Address::Installation => f.write_str("the installation"),
        }
    }
}
