//! Seals a secret for its owner, so that streams, backups and operators never hold it in the clear.
//!
//! The scheme is that of NATS curve keys (X25519, XSalsa20-Poly1305), which other NATS clients can open.
//! Whoever holds either half of the pair that sealed something can open it again, so every sealing
//! uses a sender pair of its own whose private half is gone when [`seal()`] returns.

use crate::error::TokenError;
use crate::secret::{KeyText, Seed, unquoted};
use keywheel_domain::rejection::InvalidText;
use nkeys::XKey;
use std::fmt;
use zeroize::Zeroize;

const PUBLIC_BYTES: usize = 56;

/// Whom a secret is sealed for: the public half of a curve key, `X…`.
#[derive(Clone)]
pub struct Recipient {
    text: String,
    key: XKey,
}

impl Recipient {
    /// Reads a public curve key.
    ///
    /// # Errors
    /// When it is no such key (a user's or account's key, a seed, a typing error), or one of the few
    /// whose secrets anybody could open.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let rule = "use a public curve key: 56 characters beginning with X";
        let key = public_key(text).ok_or_else(|| InvalidText::new("recipient", &unquoted(text), rule))?;
        if nkeys::from_public_key(text).is_ok_and(|(_, point)| is_of_low_order(point)) {
            return Err(InvalidText::new("recipient", text, "this key protects nothing; make a fresh one"));
        }
        Ok(Self { text: text.to_owned(), key })
    }

    /// The public key as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Recipient {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Recipient {}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient({self})")
    }
}

/// A secret that only its recipient can open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// `xkv1`, a nonce and the box: 44 bytes more than the text.
    pub bytes: Vec<u8>,
    /// The public half of the pair that sealed it, needed to open it.
    pub sender: String,
}

/// Seals `text` for `recipient` with a sender pair made for this one sealing.
pub fn seal(recipient: &Recipient, text: &KeyText) -> Sealed {
    let sender = XKey::new();
    let bytes =
        sender.seal(text.expose().as_bytes(), &recipient.key).expect("a fresh pair has its private half");
    Sealed { bytes, sender: sender.public_key() }
}

/// The recipient's side: a curve key with its private half.
pub struct Opener {
    public: String,
    key: XKey,
}

impl Opener {
    /// Makes a new pair.
    pub fn fresh() -> Self {
        Self::of(XKey::new())
    }

    /// Reads a seed, `SX…`; white space around it is ignored, since seeds lie in files.
    ///
    /// # Errors
    /// When it is no curve key's seed.
    pub fn parse(seed: &str) -> Result<Self, TokenError> {
        match XKey::from_seed(seed.trim()) {
            Ok(key) => Ok(Self::of(key)),
            Err(_) => Err(TokenError::Seed { kind: "recipient", prefix: "SX" }),
        }
    }

    fn of(key: XKey) -> Self {
        Self { public: key.public_key(), key }
    }

    /// The public half, `X…`, to be named as a recipient.
    pub fn public(&self) -> &str {
        &self.public
    }

    /// The public half as a recipient.
    pub fn recipient(&self) -> Recipient {
        let key = XKey::from_public_key(&self.public).expect("a pair's public half is a public key");
        Recipient { text: self.public.clone(), key }
    }

    /// The private half, to be kept.
    pub fn seed(&self) -> Seed {
        Seed::new(self.key.seed().expect("an opener has its private half"))
    }

    /// Opens what was sealed for this pair by `sender`.
    ///
    /// # Errors
    /// When `sender` is no public curve key, when the bytes were damaged, or when they were sealed for
    /// somebody else.
    pub fn open(&self, sealed: &[u8], sender: &str) -> Result<KeyText, TokenError> {
        let rule = "use the public curve key that came with the sealed secret";
        let sender = public_key(sender).ok_or_else(|| InvalidText::new("sender", &unquoted(sender), rule))?;
        let bytes = self.key.open(sealed, &sender).map_err(|_| TokenError::Unopened)?;
        String::from_utf8(bytes).map(KeyText::new).map_err(|not_text| {
            not_text.into_bytes().zeroize();
            TokenError::Unopened
        })
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opener({}, redacted)", self.public)
    }
}

fn public_key(text: &str) -> Option<XKey> {
    let key = XKey::from_public_key(text).ok().filter(|_| text.len() == PUBLIC_BYTES)?;
    // The same key written in another way would be a second name for it.
    (key.public_key() == text).then_some(key)
}

/// Points of order 8 on the curve, as NaCl's own list of keys to refuse has them.
const ORDER_EIGHT: [[u8; 32]; 2] = [
    *b"\xe0\xeb\x7a\x7c\x3b\x41\xb8\xae\x16\x56\xe3\xfa\xf1\x9f\xc4\x6a\
       \xda\x09\x8d\xeb\x9c\x32\xb1\xfd\x86\x62\x05\x16\x5f\x49\xb8\x00",
    *b"\x5f\x9c\x95\xbc\xa3\x50\x8c\x24\xb1\xd0\xb1\x55\x9c\x83\xef\x5b\
       \x04\x44\x5c\xc4\x58\x1c\x8e\x86\xd8\x22\x4e\xdd\xd0\x9f\x11\x57",
];

/// Whether the key is a point of low order. A secret agreed with one is the same for every pair, or one
/// of a few, so that anybody could open what was sealed for it. A key of zeros is among them.
fn is_of_low_order(mut point: [u8; 32]) -> bool {
    point[31] &= 0x7f;
    let (first, last, between) = (point[0], point[31], &point[1..31]);
    let is_zero_or_one = first <= 1 && last == 0 && between.iter().all(|&byte| byte == 0);
    // The field's size and its two neighbours: the same as 0, 1 and −1.
    let is_wrapped =
        (0xec..=0xee).contains(&first) && last == 0x7f && between.iter().all(|&byte| byte == 0xff);
    is_zero_or_one || is_wrapped || ORDER_EIGHT.contains(&point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brand::Brand;
    use crate::mint::mint;

    #[test]
    fn what_is_sealed_opens_for_its_recipient_alone() {
        let (owner, stranger) = (Opener::fresh(), Opener::fresh());
        let key = mint(&Brand::default()).text;
        let sealed = seal(&Recipient::parse(owner.public()).unwrap(), &key);
        assert_eq!(sealed.bytes.len(), key.expose().len() + 44);
        assert_eq!(owner.open(&sealed.bytes, &sealed.sender).unwrap().expose(), key.expose());

        assert_eq!(stranger.open(&sealed.bytes, &sealed.sender).unwrap_err(), TokenError::Unopened);
        assert_eq!(owner.open(&sealed.bytes, stranger.public()).unwrap_err(), TokenError::Unopened);
    }

    #[test]
    fn every_sealing_has_a_sender_of_its_own() {
        let (owner, key) = (Opener::fresh(), KeyText::new("legacy-key-0001".to_owned()));
        let (one, two) = (seal(&owner.recipient(), &key), seal(&owner.recipient(), &key));
        assert_ne!(one.sender, two.sender);
        assert_ne!(one.bytes, two.bytes);
    }

    #[test]
    fn damage_is_noticed() {
        let owner = Opener::fresh();
        let sealed = seal(&owner.recipient(), &KeyText::new("legacy-key-0001".to_owned()));
        for at in 0..sealed.bytes.len() {
            let mut bytes = sealed.bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(owner.open(&bytes, &sealed.sender).unwrap_err(), TokenError::Unopened, "byte {at}");
        }
        for length in 0..sealed.bytes.len() {
            assert!(owner.open(&sealed.bytes[..length], &sealed.sender).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn seeds_are_read_back_and_go_compatible() {
        // From the tests of the NATS project's Go library.
        let seed = "SXAKIYZX2POLIHZ5W5YZEWVTH24NLEUETBW3TKIVYRSS3GNHFXO5D4JJZM";
        let opener = Opener::parse(&format!("{seed}\n")).unwrap();
        assert_eq!(opener.public(), "XBUJMZHVOPQ2SK5VD3TY4VNBPVU2YFGRLK6EFPEPSMVDUYEBSROWZCEA");
        assert_eq!(opener.seed().expose(), seed);
        assert!(!format!("{opener:?}").contains(&seed[2..]));

        let user_seed = nkeys::KeyPair::new_user().seed().unwrap();
        for bad in ["", "SX", opener.public(), &user_seed] {
            let refused = Opener::parse(bad).unwrap_err();
            assert_eq!(refused, TokenError::Seed { kind: "recipient", prefix: "SX" });
            assert!(bad.is_empty() || bad == "SX" || !refused.to_string().contains(bad));
        }
    }

    #[test]
    fn a_recipient_is_a_public_curve_key() {
        let opener = Opener::fresh();
        let good = opener.public();
        assert_eq!(Recipient::parse(good).unwrap().as_str(), good);
        let user = nkeys::KeyPair::new_user().public_key();
        let seed = opener.seed();
        let mistyped = good.replace(&good[20..21], if &good[20..21] == "A" { "B" } else { "A" });
        for bad in
            ["", "X", &good[..55], &format!("{good}A"), &good.to_lowercase(), &user, seed.expose(), &mistyped]
        {
            let refused = Recipient::parse(bad).unwrap_err();
            let (size, rule) = (bad.len(), "use a public curve key: 56 characters beginning with X");
            assert_eq!(refused.to_string(), format!("recipient \"{size} bytes\": {rule}"));
        }
        assert!(
            matches!(opener.open(&[0; 90], "nobody"), Err(TokenError::Text(text)) if text.field == "sender")
        );
    }

    #[test]
    fn a_recipient_that_anybody_could_stand_in_for_is_refused() {
        // Every encoding of a low-order point, each with a valid checksum, and one with its spare bit set.
        for weak in [
            "XAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAPQN",
            "XAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA6CU",
            "XDQOW6T4HNA3RLQWK3R7V4M7YRVNUCMN5OODFMP5QZRAKFS7JG4AAXLC",
            "XBPZZFN4UNIIYJFR2CYVLHED55NQIRC4YRMBZDUG3ARE5XOQT4IVPWKT",
            "XDWP77777777777777777777777777777777777777777777777X6DJX",
            "XDW777777777777777777777777777777777777777777777777X6S3O",
            "XDXP77777777777777777777777777777777777777777777777X7AMF",
            "XAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIBNU4",
        ] {
            let refused = Recipient::parse(weak).unwrap_err();
            assert!(refused.to_string().contains("protects nothing"), "{refused}");
        }
    }
}
