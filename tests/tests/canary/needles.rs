//! What is searched for: pieces of each secret as they are, in hexadecimal and in base64.

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Long enough never to be met by chance, short enough to find a text that was cut.
const PIECE: usize = 16;
/// Where the secret begins in a key of the default brand: behind `kw_live_`, the kid and a separator.
const SECRET: std::ops::Range<usize> = 19..62;

/// The secret part of a key's text: what nobody but its owner may have.
pub fn secret(key: &str) -> &str {
    &key[SECRET]
}

/// A search for many secrets at once.
pub struct Needles {
    search: AhoCorasick,
    /// How many forms each secret has.
    forms: usize,
}

/// A secret where none should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Which secret, in the order given.
    pub secret: usize,
    /// What stands there, with what is before it: the test's own keys may be shown.
    pub around: String,
}

impl Needles {
    /// For `secrets` of at least 40 bytes each.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let patterns: Vec<Vec<Vec<u8>>> = secrets.into_iter().map(forms).collect();
        let forms = patterns.first().map_or(1, Vec::len);
        let search = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(patterns.into_iter().flatten())
            .unwrap();
        Self { search, forms }
    }

    /// The first few of them in `bytes`.
    pub fn find(&self, bytes: &[u8]) -> Vec<Found> {
        let found = self.search.find_iter(bytes).take(5);
        found
            .map(|hit| {
                let around = &bytes[hit.start().saturating_sub(64)..(hit.end() + 32).min(bytes.len())];
                let around = around.iter().map(|b| if b.is_ascii_graphic() { char::from(*b) } else { '.' });
                Found { secret: hit.pattern().as_usize() / self.forms, around: around.collect() }
            })
            .collect()
    }
}

fn forms(secret: &str) -> Vec<Vec<u8>> {
    let secret = secret.as_bytes();
    let (first, last) = (&secret[..PIECE], &secret[secret.len() - PIECE..]);
    let middle = &secret[PIECE - 2..2 * PIECE - 2];
    let mut forms: Vec<Vec<u8>> = [first, middle, last].map(<[u8]>::to_vec).into();
    for piece in [first, last] {
        forms.push(hex(piece, |byte| format!("{byte:02x}")));
        forms.push(hex(piece, |byte| format!("{byte:02X}")));
    }
    // Whatever stands before it, one of three places in the secret begins a group of base64.
    forms.extend((0..3).map(|at| STANDARD.encode(&secret[at..at + 18]).into_bytes()));
    forms
}

fn hex(bytes: &[u8], digits: impl Fn(&u8) -> String) -> Vec<u8> {
    bytes.iter().map(digits).collect::<String>().into_bytes()
}

#[test]
fn a_secret_is_found_in_every_form() {
    let keys: Vec<_> = (0..3).map(|_| keywheel_token::mint(&keywheel_token::Brand::default()).text).collect();
    let needles = Needles::new(keys.iter().map(|key| secret(key.expose())));
    let key = keys[1].expose();
    let mut shapes = vec![
        format!("log line about {key} and more").into_bytes(),
        key.as_bytes()[..40].to_vec(),
        key.as_bytes()[45..].to_vec(),
        hex(key.as_bytes(), |byte| format!("{byte:02x}")),
        hex(key.as_bytes(), |byte| format!("{byte:02X}")),
    ];
    shapes.extend((0..3).map(|before| STANDARD.encode(format!("{}{key}", "u".repeat(before))).into_bytes()));
    for shape in shapes {
        let found = needles.find(&shape);
        assert!(found.iter().any(|found| found.secret == 1), "{}", String::from_utf8_lossy(&shape));
        assert!(found.iter().all(|found| found.secret == 1));
    }
    assert_eq!(needles.find(&key.as_bytes()[..19]), [], "the kid is public");
}
