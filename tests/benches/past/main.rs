//! Figures of questions to the past: one keyring's long history read, believed and folded out of a large log,
//! beside the bare reading of the same messages in the same run.

#[path = "../edge/figure.rs"]
#[allow(dead_code, reason = "the other bench has other aims")]
mod figure;
mod log;

use clap::Parser;
use figure::{Aim, Figure, Scale};
use keywheel_bus::Bus;
use keywheel_bus::log::Pages;
use keywheel_domain::{At, Cut};
use keywheel_table::{History, Message};
use log::Log;
use std::time::Instant;

/// Measures, and prints a table in Markdown.
#[derive(Parser)]
struct Arguments {
    /// Few and small: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let scale = Scale { quick: Arguments::parse().quick, seed: 0 };
    let runtime = tokio::runtime::Runtime::new()?;
    let figures = runtime.block_on(measure(&scale))?;
    println!("\n{}", figure::table(&figures));
    Ok(())
}

async fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let (length, own) = scale.pick((1_000_000, 10_000), (20_000, 400));
    println!("writing {length} messages, {own} of them one keyring's …");
    let log = Log::write(length, own).await?;
    let bus = log.connect().await?;
    let rounds = scale.pick(9, 2);
    let (mut bare, mut answered, mut believed) = (Vec::new(), Vec::new(), Vec::new());
    let cut = Cut::Seq(length);
    for _ in 0..rounds {
        let began = Instant::now();
        let pages = read(&bus, &log).await?;
        bare.push(millis(began));
        anyhow::ensure!(pages.iter().map(Vec::len).sum::<usize>() as u64 == own, "not all were read");
        let began = Instant::now();
        let history = believe(&bus, &pages);
        believed.push(millis(began));
        anyhow::ensure!(history.until(cut).len() as u64 == own, "not all were believed");
        let began = Instant::now();
        let history = bus.history(&log.address, Some(cut)).await?;
        let state = history.state_at(cut);
        answered.push(millis(began));
        anyhow::ensure!(state.keys.len() as u64 == own / 4, "not all were folded");
    }
    let what = format!("a keyring of {own} events in a log of {length}");
    let floor = Some(("the bare reading of its messages".to_owned(), median(&mut bare)));
    let mut figures = vec![
        Figure {
            what: format!("{what}: read, believed, folded"),
            unit: "ms",
            ours: median(&mut answered),
            floor: floor.clone(),
            aim: Aim::AtMost(100.0),
        },
        Figure {
            what: format!("{own} signatures checked and events read, of messages in memory"),
            unit: "ms",
            ours: median(&mut believed),
            floor: None,
            aim: Aim::Report,
        },
    ];
    let figure = |what: String, mut times: Vec<f64>, floor, aim| Figure {
        what,
        unit: "ms",
        ours: median(&mut times),
        floor,
        aim,
    };
    let mut kept = Vec::new();
    bus.history_beyond(&log.address, &mut kept, None).await?;
    let mut warm = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let history = bus.history_beyond(&log.address, &mut kept, Some(cut)).await?;
        let state = history.state_at(cut);
        warm.push(millis(began));
        anyhow::ensure!(state.keys.len() as u64 == own / 4, "not all were folded");
    }
    figures.push(figure(format!("{what}: kept, confirmed, folded"), warm, None, Aim::AtMost(100.0)));
    let cold = process(&log, rounds, &["--no-cache"])?;
    figures.push(figure(format!("{what}: `keywheel state`, the whole process"), cold, floor, Aim::Report));
    process(&log, 1, &[])?;
    let warm = process(&log, rounds, &[])?;
    figures.push(figure(format!("{what}: the same with what the home keeps"), warm, None, Aim::Report));
    Ok(figures)
}

async fn read(bus: &Bus, log: &Log) -> anyhow::Result<Vec<Vec<(Message, At)>>> {
    let (mut pages, mut from) = (Vec::new(), 1);
    loop {
        let page = bus.page_stored(from, Pages::Address(&log.address)).await?;
        let Some((last, _)) = page.last() else { return Ok(pages) };
        from = last.seq + 1;
        pages.push(page);
    }
}

fn believe(bus: &Bus, pages: &[Vec<(Message, At)>]) -> History {
    let mut history = History::new(bus.signers());
    pages.iter().for_each(|page| history.take(page));
    history
}

fn process(log: &Log, rounds: usize, more: &[&str]) -> anyhow::Result<Vec<f64>> {
    let (binary, context) = (keywheel_tests::stack::binary()?, log.context()?);
    let once = |_| {
        let began = Instant::now();
        let ended = keywheel_tests::stack::keywheel(&binary)
            .args(["state", "bench/long", "--output", "json", "--at-seq", &log.length.to_string()])
            .args(more)
            .arg("--context")
            .arg(&context)
            .output()?;
        anyhow::ensure!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        Ok(millis(began))
    };
    (0..rounds).map(once).collect()
}

fn millis(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1000.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
