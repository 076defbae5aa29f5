//! Base62 as keys use it: random characters without bias, and the checksum at a key's end.

use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of the checksum: 62^6 is more than 2^32.
pub(crate) const CHECKSUM_BYTES: usize = 6;
/// The largest multiple of 62 that a byte reaches; bytes from here on would favour the first characters.
const UNBIASED: u8 = 248;

/// Appends `count` random characters to `text`, which must have room for them: a buffer that grows
/// leaves a copy behind.
pub(crate) fn push_random(text: &mut String, count: usize) {
    debug_assert!(text.capacity() - text.len() >= count, "room for the secret");
    let end = text.len() + count;
    let mut drawn = Zeroizing::new([0_u8; 64]);
    while text.len() < end {
        SysRng.try_fill_bytes(&mut *drawn).expect("the operating system gives random bytes");
        let fair = drawn.iter().filter(|&&byte| byte < UNBIASED);
        for byte in fair.take(end - text.len()) {
            text.push(char::from(ALPHABET[usize::from(byte % 62)]));
        }
    }
}

/// CRC-32 (IEEE) of `bytes`, most significant digit first, padded with `0`.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut rest = crc32fast::hash(bytes);
    let mut digits = [b'0'; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Whether `digits` are the checksum of `bytes`. They must be of `0-9A-Za-z`.
pub(crate) fn is_checksum(digits: &[u8], bytes: &[u8]) -> bool {
    // Read, not written: six digits added up take less than five divisions one after the other.
    let weights = [916_132_832_u64, 14_776_336, 238_328, 3_844, 62, 1];
    let read: u64 = digits.iter().zip(weights).map(|(digit, weight)| value(*digit) * weight).sum();
    digits.len() == CHECKSUM_BYTES && read == u64::from(crc32fast::hash(bytes))
}

/// The value of one of `0-9A-Za-z`.
fn value(digit: u8) -> u64 {
    let above = 7 * u8::from(digit >= b'A') + 6 * u8::from(digit >= b'a');
    u64::from(digit.wrapping_sub(b'0' + above))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_standard_one() {
        // 0xCBF43926, the check value of CRC-32 (IEEE), in base 62.
        assert_eq!(&checksum(b"123456789"), b"3jZRME");
        assert_eq!(&checksum(b""), b"000000");
        for text in [&b"123456789"[..], b"", b"zzz", &[0xff; 70]] {
            let sum = checksum(text);
            assert!(is_checksum(&sum, text) && !is_checksum(&sum[1..], text));
            for at in 0..CHECKSUM_BYTES {
                for other in ALPHABET.iter().filter(|other| **other != sum[at]) {
                    let mut wrong = sum;
                    wrong[at] = *other;
                    assert!(!is_checksum(&wrong, text));
                }
            }
        }
    }

    #[test]
    fn random_characters_are_spread_evenly() {
        let mut text = String::with_capacity(62_000);
        push_random(&mut text, 62_000);
        assert_eq!(text.len(), 62_000);
        for character in ALPHABET {
            let count = text.bytes().filter(|byte| byte == character).count();
            // 1000 expected, standard deviation 31; a bias of modulo 256 would give 8 of them 1210.
            assert!((800..1190).contains(&count), "{} appears {count} times", char::from(*character));
        }
    }
}
