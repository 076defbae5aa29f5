//! `/v1/check` as gateways ask it, beside a bare server of hyper that looks a key up in the same way: the edge's own
//! serving on one core, wrk on another.

use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys};
use crate::servers::{Looks, Server, take_one_core};
use crate::verify::{median, shuffle, size};
use crate::wrk::Wrk;
use std::sync::Arc;

const WHAT: &str = "/v1/check, 64 connections";

/// Measures with a million keys.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 1000);
    let mut keys = Keys::new(count, scale.seed);
    let (bare, app) = (keys.bare(), keys::app(keys.table(keys::common)));
    shuffle(&mut keys.shown, scale.seed);
    let folder = tempfile::tempdir()?;
    // On a thread of its own, since what it starts stays on one core.
    let measured = std::thread::scope(|scope| {
        let work = || {
            let core = take_one_core();
            let Some(wrk) = Wrk::new(folder.path(), &keys.shown, core, scale)? else { return Ok(None) };
            let (bare, edge) = (Server::bare(Looks::Up(Arc::new(bare)))?, Server::edge(app)?);
            in_turn(scale, [&bare, &edge], |server| wrk.rate(server.address)).map(Some)
        };
        scope.spawn(work).join().expect("no measurement panics")
    })?;
    let Some([floor, ours]) = measured else { return Ok(vec![Figure::missing(WHAT, "there is no wrk")]) };
    Ok(vec![Figure {
        what: format!("{WHAT}, {} keys, one core", size(count)),
        unit: "k/s",
        ours: ours / 1e3,
        floor: Some(("bare hyper: CRC, SHA-256, bare map, clocks".to_owned(), floor / 1e3)),
        aim: Aim::RatioAtLeast(0.9),
    }])
}

/// One after the other, round by round, after one that does not count; the medians.
pub fn in_turn<S: Copy>(
    scale: &Scale,
    servers: [S; 2],
    rate: impl Fn(S) -> anyhow::Result<f64>,
) -> anyhow::Result<[f64; 2]> {
    let mut rates = [Vec::new(), Vec::new()];
    for round in 0..scale.pick(8, 1) {
        for (server, rates) in servers.into_iter().zip(&mut rates) {
            let rate = rate(server)?;
            if round > 0 || scale.quick {
                rates.push(rate);
            }
        }
    }
    println!("rounds: floor {:.0?}, ours {:.0?}", rates[0], rates[1]);
    Ok(rates.map(median))
}
