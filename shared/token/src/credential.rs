//! Who says so: the Ed25519 pairs that services log in and sign with, as NATS user nkeys.

use crate::error::TokenError;
use crate::secret::{Seed, unquoted};
use keywheel_domain::rejection::InvalidText;
use nkeys::{KeyPair, KeyPairType};
use std::fmt;

/// A user nkey with its private half: logs a service in at the bus and signs what it writes.
///
/// It is held for as long as its service runs; the library behind it keeps the seed in memory.
pub struct Credential {
    public: String,
    pair: KeyPair,
}

impl Credential {
    /// Makes a new pair.
    pub fn fresh() -> Self {
        Self::of(KeyPair::new_user())
    }

    /// Reads a seed, `SU…`; white space around it is ignored, since seeds lie in files.
    ///
    /// # Errors
    /// When it is no user's seed.
    pub fn parse(seed: &str) -> Result<Self, TokenError> {
        match KeyPair::from_seed(seed.trim()) {
            Ok(pair) if pair.key_pair_type() == KeyPairType::User => Ok(Self::of(pair)),
            Ok(_) | Err(_) => Err(TokenError::Seed { kind: "user", prefix: "SU" }),
        }
    }

    fn of(pair: KeyPair) -> Self {
        Self { public: pair.public_key(), pair }
    }

    /// The public half, `U…`.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The private half, for the bus client and for a file of mode 0600.
    pub fn seed(&self) -> Seed {
        Seed::new(self.pair.seed().expect("a credential has its private half"))
    }

    /// Signs `data`: 64 bytes, Ed25519.
    pub fn sign(&self, data: &[u8]) -> Vec<u8> {
        self.pair.sign(data).expect("a credential has its private half")
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, redacted)", self.public)
    }
}

/// Whose signatures are accepted: the public half of a user nkey, `U…`, read once and used often.
#[derive(Clone)]
pub struct Signer {
    public: String,
    pair: KeyPair,
}

impl Signer {
    /// Reads a public user nkey.
    ///
    /// # Errors
    /// When it is another kind of key or none.
    pub fn parse(public: &str) -> Result<Self, InvalidText> {
        match KeyPair::from_public_key(public) {
            Ok(pair) if pair.key_pair_type() == KeyPairType::User && pair.public_key() == public => {
                Ok(Self { public: public.to_owned(), pair })
            }
            Ok(_) | Err(_) => {
                let rule = "use a public user nkey: 56 characters beginning with U";
                Err(InvalidText::new("signer", &unquoted(public), rule))
            }
        }
    }

    /// The public key as text.
    pub fn as_str(&self) -> &str {
        &self.public
    }

    /// Whether `signature` is this signer's over exactly `data`.
    pub fn verify(&self, data: &[u8], signature: &[u8]) -> bool {
        self.pair.verify(data, signature).is_ok()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public)
    }
}

/// Whether `signature` over `data` is that of the user nkey `public`. Keep a [`Signer`] where many are checked.
pub fn verify(public: &str, data: &[u8], signature: &[u8]) -> bool {
    Signer::parse(public).is_ok_and(|signer| signer.verify(data, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_holds_for_its_signer_and_data_alone() {
        let (one, other) = (Credential::fresh(), Credential::fresh());
        let signature = one.sign(b"kw.evt.a.b\0payload");
        assert_eq!(signature.len(), 64);
        assert!(verify(one.public(), b"kw.evt.a.b\0payload", &signature));
        assert!(!verify(other.public(), b"kw.evt.a.b\0payload", &signature));
        assert!(!verify(one.public(), b"kw.evt.a.b\0payloaD", &signature));
        assert!(!verify(one.public(), b"kw.evt.a.b\0payload", &signature[..63]));
        assert!(!verify(one.public(), b"kw.evt.a.b\0payload", &[0; 64]));
        assert!(!verify("", b"", &signature));
    }

    #[test]
    fn a_seed_is_read_back() {
        let credential = Credential::fresh();
        assert!(credential.public().starts_with('U') && credential.seed().expose().starts_with("SU"));
        let again = Credential::parse(&format!(" {}\n", credential.seed().expose())).unwrap();
        assert_eq!(again.public(), credential.public());
        assert_eq!(again.sign(b"x"), credential.sign(b"x"));
    }

    #[test]
    fn other_kinds_of_key_are_refused() {
        let account = KeyPair::new_account();
        let refused = Credential::parse(&account.seed().unwrap()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the user seed is not valid; it is one line of 58 characters that begins with SU"
        );
        assert!(Credential::parse("").is_err());
        assert!(Credential::parse(Credential::fresh().public()).is_err());
        assert_eq!(Signer::parse(&account.public_key()).unwrap_err().field, "signer");
        let signed = account.sign(b"x").unwrap();
        assert!(!verify(&account.public_key(), b"x", &signed));
    }

    #[test]
    fn debug_never_shows_the_seed() {
        let credential = Credential::fresh();
        let seed = credential.seed();
        assert!(!format!("{credential:?}").contains(&seed.expose()[2..]));
    }
}
