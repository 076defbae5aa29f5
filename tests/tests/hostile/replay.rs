//! The committed corpus through every entrance, then a few thousand samples that are nearly like it.

use keywheel_tests::hostile::chance::Chance;
use keywheel_tests::hostile::{TARGETS, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus");
const SEED: u64 = 20_261_124;
/// At most so many samples for each entrance…
const SAMPLES: u64 = 4000;
/// … and for at most so long.
const TIME: Duration = Duration::from_millis(1500);

fn samples(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(CORPUS).join(target.name);
    let listed = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Hands bytes in; says of what broke how to have it again.
fn hand_in(target: &Target, data: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| (target.hand_in)(data))).is_err() {
        panic!("{}: {what} breaks a promise: {}", target.name, data.escape_ascii());
    }
}

#[test]
fn the_corpus_breaks_nothing() {
    for target in TARGETS {
        let samples = samples(target);
        assert!(samples.len() >= 3, "{} has next to no corpus", target.name);
        for (path, data) in samples {
            hand_in(target, &data, &path.display().to_string());
        }
    }
}

#[test]
fn what_is_nearly_like_it_breaks_nothing() {
    let seed = setting("KEYWHEEL_HOSTILE_SEED", SEED);
    let count = setting("KEYWHEEL_HOSTILE_SAMPLES", SAMPLES);
    for target in TARGETS {
        let (began, mut chance, mut done) = (Instant::now(), Chance::new(seed), 0);
        let samples: Vec<Vec<u8>> = samples(target).into_iter().map(|(_, data)| data).collect();
        while done < count && (began.elapsed() < TIME || count > SAMPLES) {
            let data = chance.nearly(&samples);
            done += 1;
            hand_in(target, &data, &format!("sample {done} of seed {seed}"));
        }
        println!("{}: {done} samples from seed {seed}", target.name);
        assert!(done >= 20, "{} was hardly tried", target.name);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is told by the environment how long to go on")]
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap())
}
