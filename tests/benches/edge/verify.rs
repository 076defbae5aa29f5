//! One verification inside a service, from a text to whose key it is, beside the least that it takes.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Drawn, Keys, Text};
use std::sync::Barrier;
use std::time::Instant;

const USES_MAX: usize = 4000;

/// Measures tables of several sizes, one after the other.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for count in scale.pick(vec![10_000, 1_000_000, 10_000_000], vec![1000]) {
        figures.extend(of(count, scale));
    }
    Ok(figures)
}

fn of(count: usize, scale: &Scale) -> Vec<Figure> {
    let mut keys = Keys::new(count, scale.seed);
    let bare = keys.bare();
    let app = keys::app(keys.table(keys::common));
    shuffle(&mut keys.shown, scale.seed);
    let trials = scale.pick(400_000, 1000);
    let rounds = scale.pick(9, 3);
    let mut figures = Vec::new();
    let mut alone = 0.0;
    for threads in [1, 2] {
        let (mut floor, mut ours) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // Side by side, round by round: what else the machine does falls on both.
            let from = round * trials * threads;
            floor.push(per_check(&keys.shown, from, trials, threads, |text| bare.verify(text)));
            ours.push(per_check(&keys.shown, from, trials, threads, |text| keys::ask(&app, text)));
            while !app.table.take_uses(USES_MAX).is_all {}
        }
        let (floor, ours) = (median(floor), median(ours));
        let size = size(count);
        figures.push(Figure {
            what: format!("verify in process, {size} keys, threads: {threads}"),
            unit: "ns",
            ours,
            floor: Some(("CRC, SHA-256, bare map, clocks".to_owned(), floor)),
            aim: Aim::RatioAtMost(1.3),
        });
        if threads == 1 {
            alone = 1e3 / ours;
        } else {
            figures.push(Figure {
                what: format!("… {size} keys, two threads together"),
                unit: "M/s",
                ours: 2e3 / ours,
                floor: Some(("one thread".to_owned(), alone)),
                aim: Aim::RatioAtLeast(1.8),
            });
        }
    }
    figures
}

/// Nanoseconds per check of each thread, while all of them check.
fn per_check(
    shown: &[Text],
    from: usize,
    trials: usize,
    threads: usize,
    check: impl Fn(&Text) -> bool + Sync,
) -> f64 {
    let ready = Barrier::new(threads);
    let (check, ready) = (&check, &ready);
    let timed = |thread: usize| {
        move || {
            ready.wait();
            let began = Instant::now();
            for n in 0..trials {
                let text = &shown[(from + thread * trials + n) % shown.len()];
                assert!(check(text), "every key is known");
            }
            began.elapsed().as_secs_f64() * 1e9 / trials as f64
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(timed(thread))).collect();
        let each = running.into_iter().map(|thread| thread.join().expect("no check fails"));
        each.sum::<f64>() / threads as f64
    })
}

/// In a drawn order.
pub fn shuffle(shown: &mut [Text], seed: u64) {
    let mut drawn = Drawn::new(seed + 1);
    for end in (1..shown.len()).rev() {
        shown.swap(end, drawn.below(end + 1));
    }
}

/// A count as people say it.
pub fn size(count: usize) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{} k", count / 1000),
        _ => format!("{} M", count / 1_000_000),
    }
}

/// The one in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
