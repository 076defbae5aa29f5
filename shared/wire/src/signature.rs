//! Who wrote an event: an Ed25519 signature by the service's nkey over subject, a zero byte, payload.

use crate::Malformed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;

/// Who claims to have written a message, and the proof of it, as its headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// Public nkey.
    pub by: String,
    /// Base64.
    pub signature: String,
}

/// A service's signing key.
pub struct Signer {
    pair: KeyPair,
    public: String,
}

impl Signer {
    /// From the seed of a user nkey (`SU…`).
    ///
    /// # Errors
    /// When it is none; the seed itself is not repeated.
    pub fn from_seed(seed: &str) -> Result<Self, Malformed> {
        let pair = KeyPair::from_seed(seed.trim())
            .map_err(|_| Malformed::new("credentials", "expected an nkey seed (SU…)"))?;
        let public = pair.public_key();
        Ok(Self { pair, public })
    }

    /// The public nkey.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The signature over a server's challenge, which is how a connection proves who it is.
    ///
    /// # Errors
    /// When the pair cannot sign.
    pub fn prove(&self, challenge: &[u8]) -> Result<Vec<u8>, Malformed> {
        self.pair.sign(challenge).map_err(|error| Malformed::new("credentials", error))
    }

    /// Signs what is to be stored at `subject`.
    ///
    /// # Errors
    /// When the pair cannot sign.
    pub fn sign(&self, subject: &str, payload: &[u8]) -> Result<Signed, Malformed> {
        let bytes = self.pair.sign(&signed_bytes(subject, payload));
        let bytes = bytes.map_err(|error| Malformed::new("credentials", error))?;
        Ok(Signed { by: self.public.clone(), signature: STANDARD.encode(bytes) })
    }
}

/// Somebody else's key, to check signatures with.
#[derive(Clone)]
pub struct Verifier(KeyPair);

impl Verifier {
    /// Of a user's public nkey (`U…`).
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(public: &str) -> Result<Self, Malformed> {
        let pair = KeyPair::from_public_key(public).ok().filter(|_| public.starts_with('U'));
        let wrong = || Malformed::new("signer", format!("`{public}` is no user's public nkey (U…)"));
        pair.map(Self).ok_or_else(wrong)
    }

    /// Whether `signature` (base64) is this key's over subject and payload.
    pub fn verify(&self, signature: &str, subject: &str, payload: &[u8]) -> bool {
        let bytes = STANDARD.decode(signature);
        bytes.is_ok_and(|bytes| self.0.verify(&signed_bytes(subject, payload), &bytes).is_ok())
    }
}

fn signed_bytes(subject: &str, payload: &[u8]) -> Vec<u8> {
    [subject.as_bytes(), &[0], payload].concat()
}
