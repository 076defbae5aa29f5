//! Digests: what may be stored and shown in place of a key.

use crate::presented::{KID_BYTES, SECRET_BYTES};
use crate::secret::unquoted;
use keywheel_domain::Digest;
use keywheel_domain::rejection::InvalidText;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use subtle::ConstantTimeEq;

/// The hash value that SHA-256 begins with (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Whether two digests are the same, in a time that does not depend on where they differ.
pub fn same(one: &Digest, other: &Digest) -> bool {
    // Eight bytes at a time: the library looks at each byte behind a barrier, which takes longer than
    // the hash before it. Every byte takes part in the sum, whatever the others are.
    let (one, other) = (one.0.as_chunks::<8>().0, other.0.as_chunks::<8>().0);
    let differing = one
        .iter()
        .zip(other)
        .fold(0, |sum, (one, other)| sum | (u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other)));
    differing.ct_eq(&0).into()
}

/// The digest of an imported key: SHA-256 of its whole text. Whether the text could be such a key is
/// for [`crate::read()`] to say.
pub fn digest_foreign(text: impl AsRef<[u8]>) -> Digest {
    // The hasher keeps a copy of what it reads. It stays in one place, where it is wiped: each move would
    // leave that copy behind on the stack.
    let mut hasher = Sha256::new();
    hasher.update(text);
    Digest(hasher.finalize_reset().into())
}

/// SHA-256 of a key of ours: kid and secret are 53 bytes, so that with its padding the message is one
/// block (FIPS 180-4, 5.1.1 and 5.3.3), which is put together here without a hasher's bookkeeping.
pub(crate) fn digest_of_ours(kid: &[u8; KID_BYTES], secret: &[u8; SECRET_BYTES]) -> Digest {
    const BYTES: usize = KID_BYTES + SECRET_BYTES;
    let mut block = [0_u8; 64];
    block[..KID_BYTES].copy_from_slice(kid);
    block[KID_BYTES..BYTES].copy_from_slice(secret);
    block[BYTES] = 0x80;
    block[56..].copy_from_slice(&(8 * BYTES as u64).to_be_bytes());
    let mut state = INITIAL;
    sha2::block_api::compress256(&mut state, std::slice::from_ref(&block));
    block.fill(0);
    zeroize::optimization_barrier(&block);
    let mut digest = [0_u8; 32];
    digest.as_chunks_mut().0.iter_mut().zip(state).for_each(|(bytes, word)| *bytes = word.to_be_bytes());
    Digest(digest)
}

/// Reads a digest as import files have it: 64 hexadecimal digits, upper or lower case.
///
/// # Errors
/// When it is anything else.
pub fn parse_digest_hex(text: &str) -> Result<Digest, InvalidText> {
    let mut bytes = [0_u8; 32];
    let digits = text.as_bytes();
    let is_valid = digits.len() == 64
        && digits.chunks_exact(2).zip(&mut bytes).all(|(pair, byte)| {
            match (nibble(pair[0]), nibble(pair[1])) {
                (Some(high), Some(low)) => {
                    *byte = high << 4 | low;
                    true
                }
                (None, _) | (_, None) => false,
            }
        });
    if is_valid {
        Ok(Digest(bytes))
    } else {
        Err(InvalidText::new("digest", &unquoted(text), "write a SHA-256 as 64 hexadecimal digits"))
    }
}

/// A digest as 64 lower-case hexadecimal digits.
pub fn digest_hex(digest: &Digest) -> String {
    digest.0.iter().fold(String::with_capacity(64), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_digest_is_sha256_of_the_text() {
        let expected = "d91e74bdbdea5047882f23c282e665a6b358847dace6ef29a9b1d840397367d2";
        assert_eq!(digest_hex(&digest_foreign("legacy-key-0001")), expected);
    }

    #[test]
    fn hex_goes_both_ways() {
        let digest = digest_foreign("x");
        let hex = digest_hex(&digest);
        assert_eq!(parse_digest_hex(&hex), Ok(digest));
        assert_eq!(parse_digest_hex(&hex.to_uppercase()), Ok(digest));
        let mistaken = parse_digest_hex("kw_live_0123456789_and-so-on").unwrap_err().to_string();
        assert_eq!(mistaken, "digest \"28 bytes\": write a SHA-256 as 64 hexadecimal digits");
        for bad in ["", &hex[1..], &format!("{hex}0"), &hex.replacen(&hex[..1], "g", 1), &"é".repeat(32)] {
            assert_eq!(parse_digest_hex(bad).unwrap_err().field, "digest", "{bad}");
        }
    }

    #[test]
    fn sameness_looks_at_every_byte() {
        let digest = digest_foreign("x");
        assert!(same(&digest, &digest.clone()));
        for at in 0..32 {
            let mut other = digest;
            other.0[at] ^= 1;
            assert!(!same(&digest, &other), "byte {at}");
        }
    }
}
