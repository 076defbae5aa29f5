//! A sealed secret on its way to its owner: the same document staged and delivered.

use crate::Malformed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Largest sealed secret that is read, in bytes.
pub const SEALED_BYTES_MAX: usize = 4096;

/// A secret sealed to its recipient: nobody on the way can open it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key's public id.
    pub kid: String,
    /// Its version; 0 while it is staged, before the log has given it one.
    pub version: u32,
    /// The box (base64): xkv1, nonce, ciphertext.
    pub sealed: String,
    /// Public xkey of the fresh pair that sealed it.
    pub sender: String,
}

impl Sealed {
    /// A sealed box as a document.
    pub fn new(kid: &str, version: u32, sealed: &[u8], sender: &str) -> Self {
        Self { kid: kid.to_owned(), version, sealed: STANDARD.encode(sealed), sender: sender.to_owned() }
    }

    /// The box itself.
    ///
    /// # Errors
    /// When it is no base64.
    pub fn bytes(&self) -> Result<Vec<u8>, Malformed> {
        STANDARD.decode(&self.sealed).map_err(|error| Malformed::new("sealed", error))
    }
}

/// Reads a staged or delivered secret.
///
/// # Errors
/// When it is none.
pub fn read(payload: &[u8]) -> Result<Sealed, Malformed> {
    if payload.len() > SEALED_BYTES_MAX {
        return Err(Malformed::new("", format!("a sealed secret has at most {SEALED_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(payload).map_err(|error| Malformed::new("", format!("no sealed secret: {error}")))
}
