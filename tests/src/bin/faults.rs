//! Runs a fault campaign and says what it shows: `tests/run.sh faults`.

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use keywheel_tests::faults::campaign::{self, Verdict};
use keywheel_tests::faults::settings::Settings;
use keywheel_tests::faults::summary::Summary;
use keywheel_tests::faults::{check, ledger};
use keywheel_tests::stack::binary;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Attacks a whole installation, and judges every answer that it gave.
#[derive(Parser)]
#[command(
    name = "tests/run.sh faults",
    after_help = "\
Examples:
  tests/run.sh faults                          five minutes of faults, with a new seed
  tests/run.sh faults --minutes 60 --seed 7    the same faults for the same seed
  tests/run.sh faults --judge LEDGER           judges again what was kept

Ends with 0 where no promise was broken, else with 1; the ledger is kept then."
)]
struct Arguments {
    /// How long faults are done
    #[arg(long, value_name = "N", default_value_t = 5.0)]
    minutes: f64,
    /// Where everything random comes from
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// How many edges
    #[arg(long, value_name = "N", default_value_t = 4)]
    edges: usize,
    /// How many bus nodes: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 1)]
    cluster: u32,
    /// How many keyrings
    #[arg(long, value_name = "N", default_value_t = 56)]
    keyrings: usize,
    /// Folder for the ledger and, below it, for the installation
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The library libfaketime, to have clocks stepped
    #[arg(long, value_name = "FILE")]
    faketime: Option<PathBuf>,
    /// Keep ledger and installation also where nothing was found
    #[arg(long)]
    keep: bool,
    /// Do nothing but judge the ledger of a campaign that was kept
    #[arg(long, value_name = "LEDGER")]
    judge: Option<PathBuf>,
    /// How to say what it shows
    #[arg(long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(ledger) = &arguments.judge {
        return judge(ledger);
    }
    let seed = arguments.seed.unwrap_or_else(|| u64::from(keywheel_token::id::fresh() as u32));
    let folder = std::path::absolute(&arguments.dir)?.join(format!("seed-{seed}"));
    if folder.exists() {
        // What an earlier campaign of this seed left was kept to be looked at, not to be gone on with.
        std::fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let settings = Settings {
        seed,
        length: Duration::from_secs_f64(arguments.minutes * 60.0),
        edges: arguments.edges,
        cluster: arguments.cluster,
        keyrings: arguments.keyrings,
        binary: binary()?,
        faketime: arguments.faketime,
        home: folder.join("home"),
        ledger: folder.join("ledger.jsonl"),
    };
    let cluster =
        if arguments.cluster > 1 { format!(" --cluster {}", arguments.cluster) } else { String::new() };
    let again = format!("tests/run.sh faults --minutes {} --seed {seed}{cluster}", arguments.minutes);
    let is_text = arguments.output == Output::Text;
    let say = |line: &str| if is_text { println!("{line}") } else { eprintln!("{line}") };
    say(&format!("seed {seed}; again with: {again}"));
    let verdict = tokio::runtime::Runtime::new()?.block_on(campaign::run(&settings, say))?;
    let is_clean = verdict.is_clean();
    match arguments.output {
        Output::Text => tell(&verdict),
        Output::Json => {
            let Verdict { summary, report, besides } = &verdict;
            let document =
                json!({ "summary": summary, "report": report, "besides": besides, "again": again });
            println!("{document}");
        }
    }
    if is_clean && !arguments.keep {
        std::fs::remove_dir_all(&folder)?;
    } else {
        say(&format!("kept: {}; again with: {again}", settings.ledger.display()));
    }
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(path: &Path) -> anyhow::Result<ExitCode> {
    let entries = ledger::read(path).with_context(|| path.display().to_string())?;
    let report = check::judge(&entries);
    println!("{}\n{report}", Summary::of(&entries));
    Ok(if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn tell(verdict: &Verdict) {
    println!("{}\n{}", verdict.summary, verdict.report);
    for violation in &verdict.besides {
        println!("BROKEN: {violation}");
    }
}
