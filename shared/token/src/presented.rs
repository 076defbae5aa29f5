//! What a text that somebody shows is: our key, a foreign one, or nothing. Runs on every request, so it
//! neither allocates nor hashes anything that cannot be a key.

use crate::base62::{self, CHECKSUM_BYTES};
use crate::brand::Brand;
use crate::digest::{digest_foreign, digest_of_ours};
use crate::error::Malformed;
use keywheel_domain::{Digest, Kid};
use std::fmt;

/// How long a foreign key may be, in bytes.
pub const FOREIGN_BYTES: std::ops::RangeInclusive<usize> = 8..=512;
pub(crate) const KID_BYTES: usize = 10;
pub(crate) const SECRET_BYTES: usize = 43;
const BODY_BYTES: usize = KID_BYTES + 1 + SECRET_BYTES + CHECKSUM_BYTES;

/// A text that may be a key. Whether it is one, the table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// Minted in this installation, by its form: looked up by kid, then compared by digest.
    Ours {
        /// Its public lookup id.
        kid: Kid,
        /// SHA-256 over kid and secret.
        digest: Digest,
    },
    /// Anything else: an imported key or none; looked up by digest.
    Foreign {
        /// SHA-256 of the whole text.
        digest: Digest,
    },
}

/// A text that may be a key, before it is hashed: its row can be fetched from memory meanwhile.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    kid: Option<Kid>,
    rest: Rest<'a>,
}

#[derive(Clone, Copy)]
enum Rest<'a> {
    Ours { kid: &'a [u8; KID_BYTES], secret: &'a [u8; SECRET_BYTES] },
    Foreign(&'a [u8]),
    Hashed(Digest),
}

impl Shown<'_> {
    /// Its public lookup id; none of a foreign text.
    pub fn kid(&self) -> Option<Kid> {
        self.kid
    }

    /// Its SHA-256, as [`Presented`] has it.
    pub fn digest(&self) -> Digest {
        match self.rest {
            Rest::Ours { kid, secret } => digest_of_ours(kid, secret),
            Rest::Foreign(text) => digest_foreign(text),
            Rest::Hashed(digest) => digest,
        }
    }
}

impl From<Presented> for Shown<'_> {
    fn from(presented: Presented) -> Self {
        match presented {
            Presented::Ours { kid, digest } => Self { kid: Some(kid), rest: Rest::Hashed(digest) },
            Presented::Foreign { digest } => Self { kid: None, rest: Rest::Hashed(digest) },
        }
    }
}

impl From<Shown<'_>> for Presented {
    fn from(shown: Shown<'_>) -> Self {
        let digest = shown.digest();
        match shown.kid {
            Some(kid) => Presented::Ours { kid, digest },
            None => Presented::Foreign { digest },
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Reads a shown text. One that begins with our brand is ours, and must be wholly valid.
///
/// # Errors
/// Says what is wrong with it. A foreign text must be [`FOREIGN_BYTES`] of printable ASCII.
pub fn read(text: impl AsRef<[u8]>, brand: &Brand) -> Result<Presented, Malformed> {
    look(text.as_ref(), brand).map(Presented::from)
}

/// The same without its hash.
///
/// # Errors
/// As [`read()`].
pub fn look<'a>(text: &'a [u8], brand: &Brand) -> Result<Shown<'a>, Malformed> {
    if text.starts_with(brand.claim().as_bytes()) { look_at_ours(text, brand) } else { look_at_foreign(text) }
}

fn look_at_ours<'a>(text: &'a [u8], brand: &Brand) -> Result<Shown<'a>, Malformed> {
    let body = text.strip_prefix(brand.prefix().as_bytes()).ok_or(Malformed::Environment)?;
    if body.len() != BODY_BYTES {
        return Err(Malformed::Length);
    }
    let Some((kid, [separator, rest @ ..])) = body.split_first_chunk() else { return Err(Malformed::Length) };
    // Every character is looked at, whatever the ones before it were: that is the faster way.
    let is_plain = rest.iter().fold(true, |all, byte| all & byte.is_ascii_alphanumeric());
    let parsed = Kid::of(*kid).filter(|_| is_plain && *separator == b'_').ok_or(Malformed::Alphabet)?;
    let Some((secret, checksum)) = rest.split_first_chunk() else { return Err(Malformed::Length) };
    if !base62::is_checksum(checksum, &text[..text.len() - CHECKSUM_BYTES]) {
        return Err(Malformed::Checksum);
    }
    Ok(Shown { kid: Some(parsed), rest: Rest::Ours { kid, secret } })
}

fn look_at_foreign(text: &[u8]) -> Result<Shown<'_>, Malformed> {
    if !FOREIGN_BYTES.contains(&text.len()) {
        return Err(Malformed::Length);
    }
    if !text.iter().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(Malformed::Unprintable);
    }
    Ok(Shown { kid: None, rest: Rest::Foreign(text) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{digest_foreign, digest_hex};
    use crate::mint::mint;
    use proptest::prelude::*;

    /// Texts and digests computed by another program, from the contract alone.
    const GOLDEN: [(&str, &str, &str, &str); 4] = [
        (
            "kw",
            "live",
            "kw_live_0123456789_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg3LwZ6n",
            "2e51627a53aac4c0ebf52c6b11fe100c5081edb20dee1a928e4b854f694454be",
        ),
        (
            "kw",
            "live",
            "kw_live_Zz9Yy8Xx7W_zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz02zW3h",
            "20ecafd59165f97057aa498faf102539f9cbacc289131ed408c1890ddc43c8ea",
        ),
        (
            "kw",
            "live",
            "kw_live_0000000060_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa00xWHz",
            "dc0486b2b787f4b9b53115cdcb3b4bd7c0eceb0521cc3beca1bed62206900ff3",
        ),
        (
            "acme7",
            "test",
            "acme7_test_AAAAAAAAAA_00000000000000000000000000000000000000000002HgM4I",
            "a77a5e8c67ef4dbbd25b4f935518314159432c90afd80b749afa7a6a4811206f",
        ),
    ];
    const KEY: &str = GOLDEN[0].2;

    fn refused(text: impl AsRef<[u8]>) -> Malformed {
        read(text, &Brand::default()).unwrap_err()
    }

    #[test]
    fn golden_keys_read_as_they_were_written_down() {
        for (brand, env, text, expected) in GOLDEN {
            let brand = Brand::parse(brand, env).unwrap();
            let Ok(Presented::Ours { kid, digest }) = read(text, &brand) else { panic!("{text}") };
            assert_eq!(kid.as_str(), &text[brand.prefix().len()..][..10]);
            assert_eq!(digest_hex(&digest), expected);
        }
    }

    #[test]
    fn ours_is_refused_with_each_reason() {
        for cut in ["kw_", "kw_liv", "kw_live", "kw_test_0123456789", &KEY.replace("live", "test")] {
            assert_eq!(refused(cut), Malformed::Environment, "{cut}");
        }
        for long in
            ["kw_live_", &KEY[..KEY.len() - 1], &format!("{KEY}0"), &format!("{KEY}\n"), &format!("{KEY} ")]
        {
            assert_eq!(refused(long), Malformed::Length, "{long}");
        }
        // A separator too early, none, none of ours, and characters from outside the alphabet.
        for (at, odd) in [(12, b'_'), (18, b'0'), (18, b'-'), (30, b'_'), (40, b'+'), (67, 0xff), (8, b' ')] {
            let mut text = KEY.as_bytes().to_vec();
            text[at] = odd;
            assert_eq!(refused(&text), Malformed::Alphabet, "{} at {at}", char::from(odd));
        }
        for damaged in [KEY.replace("6n", "6m"), KEY.replace("AB", "BA"), KEY.replace("3LwZ6n", "zzzzzz")] {
            assert_eq!(refused(&damaged), Malformed::Checksum, "{damaged}");
        }
    }

    #[test]
    fn foreign_texts_have_bounds() {
        for length in [8, 512] {
            let text = "k".repeat(length);
            let digest = digest_foreign(&text);
            assert_eq!(read(&text, &Brand::default()), Ok(Presented::Foreign { digest }));
        }
        for length in [0, 7, 513] {
            assert_eq!(refused("k".repeat(length)), Malformed::Length);
        }
        for bad in [&b"abc\ndefgh"[..], b"abcdefgh\0", b"abcdefgh\x7f", "schlüssel".as_bytes(), &[0xff; 9]] {
            assert_eq!(refused(bad), Malformed::Unprintable);
        }
        assert!(read("key with ~ spaces!", &Brand::default()).is_ok());
        // Another installation's key is foreign here: only our brand is ours.
        assert!(matches!(read(GOLDEN[3].2, &Brand::default()), Ok(Presented::Foreign { .. })));
    }

    proptest! {
        #[test]
        fn a_key_with_one_character_changed_is_never_ours(at in 0_usize..68, with in any::<u8>()) {
            let brand = Brand::default();
            let mut text = mint(&brand).text.expose().as_bytes().to_vec();
            prop_assume!(text[at] != with);
            text[at] = with;
            let answer = read(&text, &brand);
            prop_assert!(!matches!(answer, Ok(Presented::Ours { .. })), "byte {at}: {answer:?}");
            if at >= brand.claim().len() {
                prop_assert!(answer.is_err(), "byte {at}: {answer:?}");
            }
        }

        #[test]
        fn no_text_is_too_odd_to_judge(text in proptest::collection::vec(any::<u8>(), 0..600)) {
            let answer = read(&text, &Brand::default());
            prop_assert!(!matches!(answer, Ok(Presented::Ours { .. })), "{answer:?}");
        }
    }
}
