//! Numbers and texts as bytes: each value has one form, and whatever is read is checked to be it.

use keywheel_wire::Malformed;

/// Appends a number, seven bits in each byte, the lowest first.
pub(crate) fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends a count.
pub(crate) fn put_count(to: &mut Vec<u8>, count: usize) {
    put_number(to, count as u64);
}

/// Appends bytes after their length.
pub(crate) fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put_count(to, bytes.len());
    to.extend_from_slice(bytes);
}

/// Appends how far `moment` lies from `base`, either way: little for what is near.
pub(crate) fn put_offset(to: &mut Vec<u8>, base: u64, moment: u64) {
    let distance = moment.wrapping_sub(base).cast_signed();
    put_number(to, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
}

/// Takes values from the front of bytes.
pub(crate) struct Unpack<'a>(pub &'a [u8]);

impl<'a> Unpack<'a> {
    /// The next number.
    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (at, byte) in self.0.iter().enumerate().take(10) {
            let bits = u64::from(byte & 0x7f);
            if at == 9 && bits > 1 {
                break;
            }
            number |= bits << (7 * at);
            if byte & 0x80 == 0 {
                if *byte == 0 && at > 0 {
                    break;
                }
                self.0 = &self.0[at + 1..];
                return Ok(number);
            }
        }
        Err(wrong("a number is cut off or too long"))
    }

    /// The next number of 32 bits.
    pub(crate) fn small(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| wrong("a number is too large"))
    }

    /// How many of something follow, of which each takes at least a byte.
    pub(crate) fn count(&mut self) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.0.len() { Err(wrong("it ends early")) } else { Ok(count) }
    }

    /// So many bytes.
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(|| wrong("it ends early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    /// A fixed number of bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or_else(|| wrong("it ends early"))?;
        self.0 = rest;
        Ok(*bytes)
    }

    /// Bytes after their length.
    pub(crate) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count()?;
        self.bytes(length)
    }

    /// Text after its length.
    pub(crate) fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.sized()?).map_err(|_| wrong("a text is no text"))
    }

    /// A moment that was put as an offset from `base`.
    pub(crate) fn offset(&mut self, base: u64) -> Result<u64, Malformed> {
        let folded = self.number()?;
        Ok(base.wrapping_add((folded >> 1) ^ (folded & 1).wrapping_neg()))
    }

    /// Whether nothing is left.
    pub(crate) fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// That nothing is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(wrong("it has more after its end")) }
    }
}

/// Not what was put.
pub(crate) fn wrong(detail: &str) -> Malformed {
    Malformed::new("state", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_offsets_are_read_as_they_were_put() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            for base in [0, 5, number, u64::MAX] {
                let mut bytes = Vec::new();
                put_number(&mut bytes, number);
                put_offset(&mut bytes, base, number);
                let mut unpack = Unpack(&bytes);
                assert_eq!((unpack.number(), unpack.offset(base)), (Ok(number), Ok(number)));
                assert_eq!(unpack.end(), Ok(()));
                assert!(Unpack(&bytes[..0]).number().is_err());
            }
        }
        let mut near = Vec::new();
        put_offset(&mut near, 1_700_000_000_000, 1_700_000_000_000 - 3);
        assert_eq!(near.len(), 1);
    }

    #[test]
    fn a_number_has_one_form() {
        assert!(Unpack(&[0x80, 0]).number().is_err());
        assert!(Unpack(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).number().is_err());
        assert!(Unpack(&[0xff; 12]).number().is_err());
        assert!(Unpack(&[9, 1, 2]).sized().is_err());
    }
}
