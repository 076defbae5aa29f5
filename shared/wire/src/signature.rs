//! Who wrote an event: an Ed25519 signature by the service's nkey over subject, a zero byte, payload.

use crate::Malformed;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;

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

    /// The signature in base64.
    ///
    /// # Errors
    /// When the pair cannot sign.
    pub fn sign(&self, subject: &str, payload: &[u8]) -> Result<String, Malformed> {
        let signature = self.pair.sign(&signed_bytes(subject, payload));
        signature.map(|bytes| STANDARD.encode(bytes)).map_err(|error| Malformed::new("credentials", error))
    }
}

/// Whether `signature` (base64) is `signer`'s over subject and payload.
pub fn verify(signer: &str, signature: &str, subject: &str, payload: &[u8]) -> bool {
    let pair = KeyPair::from_public_key(signer);
    let bytes = STANDARD.decode(signature);
    match (pair, bytes) {
        (Ok(pair), Ok(bytes)) => pair.verify(&signed_bytes(subject, payload), &bytes).is_ok(),
        (_, _) => false,
    }
}

fn signed_bytes(subject: &str, payload: &[u8]) -> Vec<u8> {
    [subject.as_bytes(), &[0], payload].concat()
}
