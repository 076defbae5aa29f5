//! A request through nginx with the shipped configuration: its question answered by the edge, beside one that says
//! yes to everybody. All servers on one core, wrk on another.

use crate::check::in_turn;
use crate::figure::{Aim, Figure, Scale};
use crate::keys::{self, Keys};
use crate::servers::{Looks, Server, take_one_core};
use crate::verify::{shuffle, size};
use crate::wrk::Wrk;
use keywheel_tests::gateway::{Gateway, Kind, Neighbours, program};
use std::net::SocketAddr;

const WHAT: &str = "nginx auth_request → edge, 64 connections";

/// Measures with a million keys.
pub fn measure(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let count = scale.pick(1_000_000, 1000);
    let mut keys = Keys::new(count, scale.seed);
    let app = keys::app(keys.table(keys::common));
    shuffle(&mut keys.shown, scale.seed);
    let folder = tempfile::tempdir()?;
    let Some(nginx) = program(Kind::Nginx) else {
        return Ok(vec![Figure::missing(WHAT, "there is no nginx")]);
    };
    // On a thread of its own, since what it starts stays on one core.
    let measured = std::thread::scope(|scope| {
        let work = || {
            let core = take_one_core();
            let Some(wrk) = Wrk::new(folder.path(), &keys.shown, core, scale)? else { return Ok(None) };
            let upstream = Server::bare(Looks::Away)?;
            let authenticators = [Server::bare(Looks::Away)?, Server::edge(app)?];
            let before = |authenticator: &Server, name: &str| {
                let neighbours = Neighbours { edge: authenticator.address, upstream: upstream.address };
                let folder = folder.path().join(name);
                std::fs::create_dir_all(&folder)?;
                Gateway::start(Kind::Nginx, &nginx, &folder, &neighbours)
            };
            let gateways = [before(&authenticators[0], "yes")?, before(&authenticators[1], "edge")?];
            let rate = |gateway: &Gateway| {
                let address: SocketAddr = gateway.url().trim_start_matches("http://").parse()?;
                wrk.rate(address)
            };
            in_turn(scale, [&gateways[0], &gateways[1]], rate).map(Some)
        };
        scope.spawn(work).join().expect("no measurement panics")
    })?;
    let Some([floor, ours]) = measured else { return Ok(vec![Figure::missing(WHAT, "there is no wrk")]) };
    Ok(vec![Figure {
        what: format!("{WHAT}, {} keys, one core", size(count)),
        unit: "k/s",
        ours: ours / 1e3,
        floor: Some(("the same with one that always says 200".to_owned(), floor / 1e3)),
        aim: Aim::RatioAtLeast(0.9),
    }])
}
