//! What believing costs: `cargo test --release -p keywheel-table --test table -- --ignored --nocapture cost`.

use crate::log::{Log, Step, open, signers};
use std::time::Instant;

const KEYRINGS: u8 = 200;
const ROUNDS: u32 = 50;

/// Prints events per second of a whole fold, and of its bare signature checks in the same run.
#[test]
#[ignore = "a figure, not a check"]
fn cost_of_signatures() {
    let policies = |round: u32| (0..KEYRINGS).map(move |k| Step::Policy(k, u64::from(round) + 1));
    let log = Log::of(&(0..ROUNDS).flat_map(policies).collect::<Vec<_>>());
    let (count, signers) = (log.messages.len(), signers());
    let rate = |began: Instant| count as f64 / began.elapsed().as_secs_f64();

    let began = Instant::now();
    for message in &log.messages {
        signers
            .author(
                keywheel_wire::signers::When::At(message.seq),
                message.signed.as_ref(),
                &message.subject,
                &message.payload,
            )
            .unwrap();
    }
    let bare = rate(began);
    let folder = tempfile::tempdir().unwrap();
    let mut fold = open(folder.path());
    let began = Instant::now();
    for batch in log.messages.chunks(1000) {
        assert!(fold.apply(batch, &[]).unwrap().alarms.is_empty());
    }
    let whole = rate(began);
    let rest = 1.0 / (1.0 / whole - 1.0 / bare);
    println!(
        "{count} events: fold {whole:.0}/s, bare signature checks {bare:.0}/s, the rest alone {rest:.0}/s"
    );
}
