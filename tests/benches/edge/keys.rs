//! Many keys, a table that answers for them, and the least that answering takes: a checksum, one block of
//! SHA-256, a bare hash map, and the clocks that have to be read.

use hashbrown::HashMap;
use keywheel_bus::log::LogHead;
use keywheel_domain::policy::PolicyPatch;
use keywheel_domain::{Address, At, Digest, EdgeId, KeyState, Kid, Span, State, Version};
use keywheel_edge::http::{App, Asks};
use keywheel_edge::pulse::Origin;
use keywheel_edge::table::{Clocks, Table};
use keywheel_runtime::clock;
use keywheel_table::Answers;
use keywheel_table::answers::Loaded;
use keywheel_table::fold::Head;
use keywheel_wire::text::Id;
use sha2::{Digest as _, Sha256};
use std::hint::black_box;
use std::sync::Arc;

const EDGE: &str = "bench";
const CREATED: At = At(7);
/// How many clients a tenant has.
const CLIENTS: usize = 1000;
/// Where kid, body and checksum of a key lie in its text.
const BODY: std::ops::Range<usize> = 8..62;
pub const TEXT_BYTES: usize = 68;
/// A key's text.
pub type Text = [u8; TEXT_BYTES];

/// Numbers that look random and are the same for the same seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Drawn(u64);

impl Drawn {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key as an issuer would mint it, of drawn characters.
pub fn text(drawn: &mut Drawn) -> Text {
    let mut text = [b'_'; TEXT_BYTES];
    text[..8].copy_from_slice(b"kw_live_");
    for place in BODY.filter(|place| *place != 18) {
        text[place] = ALPHABET[drawn.below(62)];
    }
    let mut rest = crc32fast::hash(&text[..BODY.end]);
    for digit in text[BODY.end..].iter_mut().rev() {
        *digit = ALPHABET[(rest % 62) as usize];
        rest /= 62;
    }
    text
}

/// Keys of which some are shown, in the order in which they are.
pub struct Keys {
    /// How many there are.
    pub count: usize,
    /// Those that are shown.
    pub shown: Vec<Text>,
    seed: u64,
}

/// One key of a table.
pub struct Made {
    pub n: usize,
    pub kid: Kid,
    pub digest: Digest,
}

impl Keys {
    /// `count` keys; of many only a million drawn ones are ever shown.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut drawn = Drawn::new(seed);
        let shown = (0..count.min(1_000_000)).map(|_| text(&mut drawn)).collect();
        Self { count, shown, seed }
    }

    /// All of them, in no order. Of those that are not shown nobody knows a text.
    pub fn each(&self) -> impl Iterator<Item = Made> {
        let mut drawn = Drawn::new(!self.seed);
        let every = self.count / self.shown.len();
        (0..self.count).map(move |n| {
            let shown = self.shown.get(n / every).filter(|_| n % every == 0);
            match shown {
                Some(text) => {
                    let presented = keywheel_token::read(text, &keywheel_token::Brand::default());
                    let Ok(keywheel_token::Presented::Ours { kid, digest }) = presented else {
                        unreachable!("it was made as keys are")
                    };
                    Made { n, kid, digest }
                }
                None => {
                    let digest = [drawn.next(), drawn.next(), drawn.next(), drawn.next()];
                    let kid = Kid::of_number(drawn.next());
                    let mut bytes = [0; 32];
                    bytes.as_chunks_mut().0.iter_mut().zip(digest).for_each(|(to, n)| *to = n.to_le_bytes());
                    Made { n, kid, digest: Digest(bytes) }
                }
            }
        })
    }

    /// A table that is fresh and knows them all. Each is its client's only one, and all have the same
    /// scopes, unless `scopes` says otherwise.
    pub fn table(&self, scopes: impl Fn(usize) -> Vec<String>) -> Answers {
        let mut answers = Answers::default();
        let common = scopes(0);
        for Made { n, kid, digest } in self.each() {
            let own = scopes_of(n, &scopes, &common);
            let key = Loaded {
                version: Version(1),
                kid,
                digest,
                state: &KeyState::Active,
                scopes: own.as_deref().unwrap_or(&common),
                cidrs: &[],
                expires_at: None,
                imported_at: None,
            };
            let (tenant, client) = (format!("tenant-{}", n / CLIENTS), format!("client-{}", n % CLIENTS));
            answers.load(&tenant, &client, &PolicyPatch::NONE, std::iter::once(key));
        }
        let mut roster = State::default();
        roster.edges.insert(EdgeId::parse(EDGE).expect("a name"), 1);
        answers.update(&Address::Installation, &roster);
        answers
    }

    /// What a bare map takes.
    pub fn bare(&self) -> Bare {
        let mut map = HashMap::with_capacity(self.count);
        map.extend(self.each().map(|made| {
            let kid: [u8; 10] = made.kid.as_str().as_bytes().try_into().expect("ten characters");
            (kid, made.digest.0)
        }));
        // The digest of the text as it stands, with the separator: also one block, and nothing to put together.
        for text in &self.shown {
            map.insert(kid_of(text), Sha256::digest(&text[BODY]).into());
        }
        Bare { map }
    }
}

/// Scopes of a key's own, where it has other ones than all.
fn scopes_of(n: usize, scopes: &impl Fn(usize) -> Vec<String>, common: &[String]) -> Option<Vec<String>> {
    // The first few say whether they differ: asking for each would cost more than what is measured.
    (scopes(1) != common).then(|| scopes(n))
}

/// What every client may do, where all may do the same.
pub fn common(_: usize) -> Vec<String> {
    vec!["orders:read".to_owned(), "orders:write".to_owned()]
}

/// The floor: what no verification of such keys can do without.
pub struct Bare {
    map: HashMap<[u8; 10], [u8; 32]>,
}

impl Bare {
    pub fn verify(&self, text: &Text) -> bool {
        black_box((clock::wall_ms(), clock::boot_ms()));
        let checksum = black_box(crc32fast::hash(&text[..BODY.end]));
        let digest: [u8; 32] = Sha256::digest(&text[BODY]).into();
        checksum != 1 && self.map.get(&kid_of(text)) == Some(&digest)
    }
}

fn kid_of(text: &Text) -> [u8; 10] {
    *text[8..].first_chunk().expect("ten characters")
}

/// What a service calls, with a table that is fresh for longer than any bench runs.
pub fn app(answers: Answers) -> App {
    let clocks =
        Clocks { boot_ms: clock::boot_ms, wall_ms: clock::wall_ms, machine_boot: clock::machine_boot() };
    let edge = EdgeId::parse(EDGE).expect("a name");
    let table = Table::new(edge.clone(), Span::hours(24), clocks);
    let head = Head { watermark: 5, ..Head::default() };
    table.restore(answers, head, None);
    table.apply(&[].into(), head, Some(CREATED));
    table
        .prove(table.instant(), 5, LogHead { seq: 5, created: CREATED })
        .expect("it proves that it is fresh");
    App {
        table: Arc::new(table),
        metrics: Arc::default(),
        brand: Arc::default(),
        trusted_proxies: Arc::new([]),
        origin: Arc::new(Origin { edge, boot: Id(1), version: "0.0.0" }),
    }
}

/// Asks as a service does.
pub fn ask(app: &App, text: &[u8]) -> bool {
    app.ask_inside(text, &Asks { scopes: &[], from: None, is_probe: false }).outcome.is_ok()
}
