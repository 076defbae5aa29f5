//! The manifest of a snapshot: what lies in an object of the store, as that object's own description, and to which
//! position of which log it is bound. Signed like an event, over the subject at which it stands.

use crate::Malformed;
use crate::document;
use crate::subject::SNAPSHOTS;
use crate::text::{Hex32, Id, Moment};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest manifest that is read, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4096;
/// Largest chunk of a snapshot, in bytes: a server takes messages of a megabyte.
pub const CHUNK_BYTES_MAX: usize = 512 * 1024;
/// How many snapshots are kept: each is written over the oldest.
pub const KEPT: u8 = 3;

const HASH_NAME: &str = "SHA-256=";
/// Largest number that is written as text.
const COUNT_MAX: u64 = 999_999_999_999_999;

/// One of the places that snapshots are kept in, from 1 to [`KEPT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(u8);

impl Slot {
    /// Every place.
    pub fn all() -> impl Iterator<Item = Slot> {
        (1..=KEPT).map(Slot)
    }

    /// The name of the object that lies there.
    pub fn name(self) -> String {
        format!("slot-{}", self.0)
    }

    /// The place of an object.
    pub fn named(name: &str) -> Option<Slot> {
        Slot::all().find(|slot| slot.name() == name)
    }

    /// The object's name as it stands in subjects.
    pub fn token(self) -> String {
        URL_SAFE.encode(self.name())
    }
}

/// Of a whole snapshot: SHA-256 of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentHash(pub [u8; 32]);

/// A number that stands in an object's metadata, which is text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(u64);

impl Count {
    /// Of a number.
    ///
    /// # Errors
    /// When it has more than 15 digits.
    pub fn of(number: u64) -> Result<Self, Malformed> {
        if number <= COUNT_MAX {
            return Ok(Self(number));
        }
        Err(Malformed::new("metadata", format!("{number} has more than 15 digits")))
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

/// A snapshot's description, as object stores have it; what is bound by it stands in `metadata`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The object: its [`Slot`].
    pub name: String,
    /// The store.
    pub bucket: String,
    /// The last token of its chunks' subject.
    pub nuid: String,
    /// Its bytes in all.
    pub size: u64,
    /// In how many chunks.
    pub chunks: u64,
    /// When it was written, by the writer's clock.
    pub mtime: Moment,
    /// Of its bytes.
    pub digest: ContentHash,
    /// What it is a snapshot of.
    pub metadata: Bound,
}

/// What a snapshot is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Whose log.
    pub installation: Id,
    /// When that was created: another time is another log.
    pub log_created: Moment,
    /// Everything up to here is in it.
    pub watermark: Count,
    /// The running hash there.
    pub chain: Hex32,
    /// The running hash one before, so that the message at the watermark can be held against it.
    pub chain_before: Hex32,
    /// The digest of the whole table there.
    pub table_digest: Hex32,
    /// How its bytes are to be read.
    pub format: Count,
    /// The first chunk's sequence in the store's stream.
    pub first_chunk: Count,
    /// The last chunk's; those of one snapshot may have others between them.
    pub last_chunk: Count,
}

/// Reads a manifest, with the place that it names.
///
/// # Errors
/// Names the field.
pub fn read(payload: &[u8]) -> Result<(Slot, Manifest), Malformed> {
    if payload.len() > MANIFEST_BYTES_MAX {
        return Err(Malformed::new("", format!("a manifest has at most {MANIFEST_BYTES_MAX} bytes")));
    }
    let manifest: Manifest = document::read(payload)?;
    let slot =
        Slot::named(&manifest.name).ok_or_else(|| Malformed::new("name", "is no slot of snapshots"))?;
    if manifest.bucket != SNAPSHOTS {
        return Err(Malformed::new("bucket", "is another store's"));
    }
    Ok((slot, manifest))
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{HASH_NAME}{}", URL_SAFE.encode(self.0)))
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.strip_prefix(HASH_NAME).and_then(|text| URL_SAFE.decode(text).ok());
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| D::Error::custom("expected `SHA-256=` and 32 bytes in base64url"))
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_string())
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
        let number = number.ok_or_else(|| D::Error::custom("expected a whole number in decimal digits"))?;
        Count::of(number).map_err(D::Error::custom)
    }
}

/// What is answered to whoever asks for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The one that was written.
    pub manifest: Option<Manifest>,
    /// Why none was.
    pub error: Option<String>,
}
