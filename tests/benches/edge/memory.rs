//! What a key takes in memory: how much more is resident once a table is loaded.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys};
use crate::verify::size;
use anyhow::Context as _;
use keywheel_table::Answers;

/// Measures clients that may all do the same, the usual case, and clients of which no two may.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 20_000);
    let keys = Keys::new(count, scale.seed);
    let distinct = |n: usize| vec![format!("orders-{n}:read"), format!("orders-{n}:write")];
    let figure = |what: &str, bytes: f64, aim| Figure {
        what: format!("memory per key, {} keys, {what}", size(count)),
        unit: "bytes",
        ours: bytes,
        floor: Some(("kid and digest alone".to_owned(), 42.0)),
        aim,
    };
    // The larger first, so that neither is filled from what the other has freed.
    let (usual, answers) = resident(|| keys.table(keys::common))?;
    anyhow::ensure!(answers.keys() == count && answers.keyrings() == count, "each key on its own keyring");
    let (other, _) = resident(|| keys.table(distinct))?;
    let aim = if scale.quick { Aim::Report } else { Aim::AtMost(128.0) };
    Ok(vec![
        figure("the same scopes", usual / count as f64, aim),
        figure("no two with the same scopes", other / count as f64, Aim::Report),
    ])
}

/// What `load` leaves resident, in bytes, with what it loaded.
fn resident(load: impl FnOnce() -> Answers) -> anyhow::Result<(f64, Answers)> {
    let before = resident_bytes()?;
    let answers = load();
    Ok((resident_bytes()? - before, answers))
}

fn resident_bytes() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib * 1024.0)
}
