//! Laws of the machine, tried on random stories. A failure prints the shortest story that breaks the
//! law and writes its seed to `seeds.txt`, from where it is tried first ever after.
//! `PROPTEST_CASES=100000` tries harder.

mod asking;
mod clients;
mod going_back;
mod hindsight;
mod hostile;
#[path = "../scene/mod.rs"]
mod scene;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::FileFailurePersistence;

/// How every law is tried: on long stories, so on half as many as is usual.
fn trial() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let seeds = FileFailurePersistence::Direct("tests/laws/seeds.txt");
    ProptestConfig { cases: usual.cases.div_ceil(2), failure_persistence: Some(Box::new(seeds)), ..usual }
}
