//! Makes new keys.

use crate::base62::{self, CHECKSUM_BYTES};
use crate::brand::Brand;
use crate::presented::{KID_BYTES, Presented, SECRET_BYTES, read};
use crate::secret::KeyText;
use keywheel_domain::{Digest, Kid};
use zeroize::Zeroizing;

/// A key just minted. Its text exists nowhere else; it ends with this value.
#[derive(Debug)]
pub struct Fresh {
    /// The plaintext, to be sealed or shown once.
    pub text: KeyText,
    /// Its public lookup id.
    pub kid: Kid,
    /// What a shown key is compared with.
    pub digest: Digest,
}

/// Mints a key with 256 bits from the operating system's random numbers.
///
/// # Panics
/// When the operating system has no random numbers to give: a guessable key is worse than none.
pub fn mint(brand: &Brand) -> Fresh {
    let room = brand.prefix().len() + KID_BYTES + 1 + SECRET_BYTES + CHECKSUM_BYTES;
    let mut text = Zeroizing::new(String::with_capacity(room));
    text.push_str(brand.prefix());
    base62::push_random(&mut text, KID_BYTES);
    text.push('_');
    base62::push_random(&mut text, SECRET_BYTES);
    let checksum = base62::checksum(text.as_bytes());
    text.extend(checksum.map(char::from));

    // Reading it back is the check that mint and edge agree on the format.
    let Ok(Presented::Ours { kid, digest }) = read(text.as_bytes(), brand) else {
        unreachable!("a minted key is well-formed")
    };
    Fresh { text: KeyText::from_wiped(text), kid, digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_minted_key_reads_back() {
        for brand in [Brand::default(), Brand::parse("acme7", "test").unwrap()] {
            let Fresh { text, kid, digest } = mint(&brand);
            assert_eq!(text.expose().len(), brand.prefix().len() + 60);
            assert!(text.expose().starts_with(&format!("{}{kid}_", brand.prefix())));
            assert_eq!(read(text.expose(), &brand), Ok(Presented::Ours { kid, digest }));
        }
    }

    #[test]
    fn no_two_are_alike() {
        let keys: Vec<Fresh> = (0..200).map(|_| mint(&Brand::default())).collect();
        assert_eq!(keys.iter().map(|key| key.kid).collect::<BTreeSet<_>>().len(), 200);
        assert_eq!(keys.iter().map(|key| key.digest).collect::<BTreeSet<_>>().len(), 200);
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let key = mint(&Brand::default());
        let secret = &key.text.expose()[19..];
        let shown = format!("{key:?} {key:#?}");
        assert!(shown.contains("KeyText(redacted)"));
        assert!(!shown.contains(secret) && !shown.contains(&secret[..8]));
    }
}
