//! How fast the log is verified and written out, by the program itself, beside what that cannot do without: taking the
//! messages from the bus, checking their signatures on all cores. The memory that it takes is told with it.

use crate::figure::{Aim, Figure, Scale};
use crate::log::{self, Log};
use crate::replay::{check, consume, rate, store};
use crate::server::Server;
use crate::verify::size;
use anyhow::Context as _;
use keywheel_tests::stack::{binary, keywheel};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How often the memory is looked at while the program runs.
const LOOK: Duration = Duration::from_millis(20);

/// Measures with a nats-server of its own.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let keyrings = scale.pick(500_000, 1000);
    let mut log = Log::of(keyrings, scale.seed)?;
    let signers = log.signers()?;
    let messages = log.write(keyrings * 2)?;
    let count = messages.len();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (folder, server) = (tempfile::tempdir()?, Server::start());
    let consumed = runtime.block_on(async {
        store(&server, &messages).await?;
        consume(&server, count).await
    })?;
    let checked = check(&messages, &signers);
    drop(messages);
    let config = server.config();
    let context = json!({
        "nats_url": config.url, "credentials": config.credentials, "inbox_prefix": "_INBOX_audit",
        "signers": folder.path().join("signers.toml"),
    });
    std::fs::write(folder.path().join("signers.toml"), signers.to_string())?;
    std::fs::write(folder.path().join("context.json"), context.to_string())?;
    let verify = ["audit", "verify", "--listen", "1ms"];
    let (verified, verified_mib) = run(folder.path(), count, &verify)?;
    let export = ["audit", "export", "--format", "jsonl", "--file", "log.jsonl"];
    let (exported, exported_mib) = run(folder.path(), count, &export)?;
    let (in_file, in_file_mib) = run(folder.path(), count, &["audit", "verify", "--file", "log.jsonl"])?;
    println!(
        "per second: consumed {consumed:.0}, signatures checked {checked:.0} on {} cores; at most resident: verify \
         {verified_mib} MiB with {keyrings} keyrings, export {exported_mib} MiB, verify a file {in_file_mib} MiB",
        log::cores()
    );
    let of_checks = || Some(("bare signature checks on all cores".to_owned(), checked));
    let figure = |what: &str, ours, floor| Figure {
        what: format!("{what}, {} events", size(count)),
        unit: "events/s",
        ours,
        floor,
        aim: Aim::Report,
    };
    Ok(vec![
        figure("audit verify on the bus", verified, of_checks()),
        figure("audit verify of a file", in_file, of_checks()),
        figure("audit export as jsonl", exported, Some(("bare consume".to_owned(), consumed))),
    ])
}

/// Events a second, the start of the program included, and the most memory that was resident.
fn run(folder: &Path, count: usize, words: &[&str]) -> anyhow::Result<(f64, u64)> {
    let began = Instant::now();
    let mut command = keywheel(&binary()?);
    command.args(["--context", "context.json"]).args(words).current_dir(folder);
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let mut resident = 0;
    let status = loop {
        resident = resident.max(most_resident_mib(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(LOOK);
    };
    anyhow::ensure!(status.success(), "{words:?} ended with {status}");
    Ok((rate(count, began), resident))
}

fn most_resident_mib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("a running process")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? / 1024)
}
