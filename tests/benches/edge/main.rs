//! Figures of the edge, each beside a floor that is measured in the same run: machines are shared and
//! noisy, so only ratios are to be compared.
//!
//! # Layout
//! - [`figure`]: a figure with its floor, and the table of them
//! - [`log`]: a signed log; `server`: a nats-server to read it from
//! - [`keys`]: many keys, a table that answers for them, and the least that answering takes
//! - [`samples`]: medians and percentiles
//! - [`servers`]: servers on one core; [`wrk`]: who asks them, on another
//! - one file for each measurement

mod audit;
mod chain;
mod check;
mod cold;
mod figure;
mod fleet;
mod garbage;
mod keys;
mod log;
mod memory;
mod peers;
mod propagation;
mod replay;
mod replaying;
mod samples;
#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the bus's own tests use all of it"
)]
#[path = "../../../shared/bus/tests/server/mod.rs"]
mod server;
mod servers;
mod snapshot;
mod verify;
mod wrk;

use clap::Parser;
use figure::{Figure, Scale};

/// Measures, and prints a table in Markdown.
#[derive(Parser)]
struct Arguments {
    /// Few and small: shows that it works, not how fast
    #[arg(long)]
    quick: bool,
    /// Only the measurements whose name contains this
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Seed of everything that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What `cargo bench` passes to every bench
    #[arg(long, hide = true)]
    bench: bool,
}

type Measurement = fn(&Scale) -> anyhow::Result<Vec<Figure>>;

/// What is resident is measured first: later it would be filled from what was freed.
const MEASUREMENTS: &[(&str, Measurement)] = &[
    ("memory", memory::measure),
    ("verify", verify::measure),
    ("garbage", garbage::measure),
    ("replaying", replaying::measure),
    ("cold", cold::measure),
    ("replay", replay::measure),
    ("audit", audit::measure),
    ("snapshot", snapshot::measure),
    ("check", check::measure),
    ("chain", chain::measure),
    ("peers", peers::measure),
    ("propagation", propagation::measure),
    ("fleet", fleet::measure),
];

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let scale = Scale { quick: arguments.quick, seed: arguments.seed };
    println!("seed {}, {}", scale.seed, if scale.quick { "quick" } else { "whole" });
    let mut figures = Vec::new();
    for &(name, measure) in MEASUREMENTS {
        if arguments.only.as_ref().is_none_or(|only| name.contains(only.as_str())) {
            println!("measuring {name} …");
            figures.extend(measure(&scale)?);
        }
    }
    anyhow::ensure!(!figures.is_empty(), "no measurement has that name");
    println!("\n{}", figure::table(&figures));
    Ok(())
}
