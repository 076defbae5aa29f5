//! How long one verification takes while the log is replayed at full speed into the same table.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys};
use crate::log::Log;
use crate::samples::Samples;
use crate::verify::size;
use keywheel_edge::http::App;
use keywheel_table::{Fold, Options};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// As many as the edge applies in one transaction at most.
const BATCH: usize = 1000;
const OPTIONS: Options = Options { commands: false, pending: |_| false, doubts: false };

/// Measures one thread that verifies, first alone and then beside one that replays.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 1000);
    let keys = Keys::new(count, scale.seed);
    let app = keys::app(keys.table(keys::common));
    let added = scale.pick(50_000, 250);
    let mut log = Log::of(added, scale.seed + 3)?;
    let (signers, messages) = (log.signers()?, log.write(2 * added)?);
    let folder = tempfile::tempdir()?;
    let mut fold = Fold::open(&folder.path().join("edge.db"), OPTIONS, signers)?;

    let quiet = timed(&app, &keys, scale.pick(Duration::from_secs(4), Duration::from_millis(50)), || Ok(()))?;
    let mut took = Duration::ZERO;
    let busy = timed(&app, &keys, Duration::ZERO, || {
        let began = Instant::now();
        for batch in messages.chunks(BATCH) {
            let applied = fold.apply(batch, &[])?;
            app.table.apply(&applied.changed, fold.head(), None);
        }
        took = began.elapsed();
        Ok(())
    })?;
    let held = app.table.status().keys;
    anyhow::ensure!(held == count + added, "the log's keys are in the table, which has {held}");
    let rate = messages.len() as f64 / took.as_secs_f64();
    println!("{} checks quiet, {} beside {rate:.0} events/s", quiet.count(), busy.count());
    let figure = |what: &str, quiet: f64, busy: f64, aim| Figure {
        what: format!("verify while replaying, {} keys, {what}", size(count)),
        unit: "µs",
        ours: busy * 1e3,
        floor: Some(("quiet".to_owned(), quiet * 1e3)),
        aim,
    };
    let aim = if scale.quick { Aim::Report } else { Aim::RatioAtMost(2.0) };
    Ok(vec![
        figure("p50", quiet.p50_ms(), busy.p50_ms(), Aim::Report),
        figure("p99", quiet.p99_ms(), busy.p99_ms(), aim),
    ])
}

/// Verifies for at least `least` and as long as `work` works, which is done beside.
fn timed(
    app: &App,
    keys: &Keys,
    least: Duration,
    work: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<Samples> {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let working = scope.spawn(|| {
            let done = work();
            is_done.store(true, Ordering::Release);
            done
        });
        let (mut samples, began) = (Samples::default(), Instant::now());
        for text in keys.shown.iter().cycle() {
            let asked = Instant::now();
            assert!(keys::ask(app, text), "every key is known");
            samples.push(asked.elapsed());
            if is_done.load(Ordering::Acquire) && began.elapsed() >= least {
                break;
            }
        }
        working.join().expect("the work does not panic")?;
        Ok(samples)
    })
}
