//! Chance from a seed, and bytes that are nearly right: samples cut, doubled, joined and changed, from a seed that is told.

/// SplitMix64: one seed gives one run.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index into something that holds `length`; 0 where it holds nothing.
    pub fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length.max(1)).unwrap_or(1);
        usize::try_from(self.draw() % length).unwrap_or(0)
    }

    /// One of `low..high`.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.draw() % (high.saturating_sub(low)).max(1)
    }

    /// True so many times in a hundred.
    pub fn percent(&mut self, of_hundred: u64) -> bool {
        self.within(0, 100) < of_hundred
    }

    /// Another stream of chance that this one leads to.
    pub fn branch(&mut self) -> Chance {
        Chance(self.draw())
    }

    /// One of the samples, changed in a few places.
    pub fn nearly(&mut self, samples: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = samples.get(self.index(samples.len())).cloned().unwrap_or_default();
        for _ in 0..=self.index(4) {
            self.change(&mut bytes, samples);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, samples: &[Vec<u8>]) {
        let at = self.index(bytes.len() + 1);
        match self.index(7) {
            0 => bytes.truncate(at),
            1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << self.index(8);
                }
            }
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = self.draw().to_le_bytes()[0];
                }
            }
            3 => {
                let odd = ODD[self.index(ODD.len())];
                bytes.splice(at..at, odd.iter().copied());
            }
            4 => {
                let end = at + self.index(bytes.len() - at + 1);
                bytes.drain(at..end);
            }
            5 => {
                let end = at + self.index(bytes.len() - at + 1).min(64);
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                let other = &samples[self.index(samples.len())];
                let from = self.index(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// What readers of JSON, MessagePack, TOML, HTTP and terminals stumble over.
const ODD: [&[u8]; 36] = [
    b"\n",
    b"\r\n",
    b"\0",
    b"\x1b[2J",
    "\u{9b}".as_bytes(),
    "\u{202e}".as_bytes(),
    "\u{2028}".as_bytes(),
    b"\xff",
    b"\xc0\x80",
    b"\\ud800",
    b"\\u0000",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"=",
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1e999",
    b"18446744073709551615",
    b"18446744073709551616",
    b"99999999999999999999999999w",
    b"9999-12-31T23:59:59-23:59",
    b"0000-01-01T00:00:00Z",
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
    b"kw_live_0123456789_",
    b"../../",
];
