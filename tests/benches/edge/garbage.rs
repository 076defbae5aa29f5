//! What is no key costs little: refused by its form, before anything is looked up.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Drawn, Keys, Text};
use std::time::Instant;

/// A kind of garbage, and how to make it of a key.
type Kind = (&'static str, fn(Text) -> Vec<u8>);

const KINDS: [Kind; 5] = [
    ("cut short", |text| text[..60].to_vec()),
    ("a character that keys do not have", |mut text| {
        text[30] = b'-';
        text.into()
    }),
    ("another brand's length and form", |mut text| {
        text[3..7].copy_from_slice(b"beta");
        text.into()
    }),
    ("a wrong checksum", |mut text| {
        text[67] = if text[67] == b'0' { b'1' } else { b'0' };
        text.into()
    }),
    ("not printable", |mut text| {
        text[0] = 0xff;
        text.into()
    }),
];

/// Measures each kind on one thread, with a table of a million keys behind it that is never asked.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let keys = Keys::new(scale.pick(1_000_000, 1000), scale.seed);
    let app = keys::app(keys.table(keys::common));
    let mut drawn = Drawn::new(scale.seed + 2);
    let trials = scale.pick(2_000_000, 1000);
    let rate = |(what, make): (&str, fn(Text) -> Vec<u8>)| {
        let garbage: Vec<Vec<u8>> = (0..1000).map(|_| make(keys::text(&mut drawn))).collect();
        let began = Instant::now();
        for n in 0..trials {
            assert!(!keys::ask(&app, &garbage[n % garbage.len()]), "garbage is no key");
        }
        Figure {
            what: format!("garbage refused on one core: {what}"),
            unit: "M/s",
            ours: trials as f64 / began.elapsed().as_secs_f64() / 1e6,
            floor: None,
            aim: if scale.quick { Aim::Report } else { Aim::AtLeast(5.0) },
        }
    };
    Ok(KINDS.into_iter().map(rate).collect())
}
