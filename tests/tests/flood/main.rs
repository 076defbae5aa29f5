//! Many who want nothing but to be in the way, before one real edge that has room for 800: whoever asks it about a key
//! is answered every time. Prints what that took; no time is asserted.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

mod asker;
mod crowd;

use asker::{Asked, Asker};
use crowd::Flood;
use keywheel_domain::KeyringId;
use keywheel_tests::stack::nats_server;
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::KeyText;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// So many descriptors leave an edge 800 connections.
const DESCRIPTORS: u32 = 1024;
const MIB_MAX: u64 = 400;
const SEED: u64 = 20_261_124;

struct Scene {
    stack: Stack,
    edge: SocketAddr,
    key: KeyText,
    _folder: tempfile::TempDir,
}

impl Scene {
    async fn begin() -> Option<Scene> {
        if nats_server().is_none() {
            eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
            return None;
        }
        let open_max = keywheel_runtime::descriptors::raise();
        assert!(open_max >= 4096, "the test itself needs 4096 descriptors, and may have {open_max}");
        let folder = tempfile::tempdir().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.edges = 1;
        options.binary = limited(folder.path(), &options.binary);
        let stack = tokio::task::block_in_place(|| Stack::start(&options).unwrap());
        let operator = Operator::connect(&stack.context).await.unwrap();
        let (_, key) = operator.issue(&KeyringId::parse("acme/web").unwrap()).await.unwrap();
        let edge = stack.context.edges[0].http.trim_start_matches("http://").parse().unwrap();
        Some(Scene { stack, edge, key, _folder: folder })
    }

    /// One that keeps its connection, and one that makes a new one each time.
    fn askers(&self) -> [Asker; 2] {
        [Asker::start(self.edge, &self.key, true), Asker::start(self.edge, &self.key, false)]
    }

    async fn figure(&self, name: &str) -> f64 {
        let (_, text) = asker::once(self.edge, "GET /metrics HTTP/1.1\r\nconnection: close\r\n\r\n").await;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("keywheel_edge_{name} ")));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    fn resident_mib(&self) -> u64 {
        let pid = self.stack.pid("edge-e1").unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    async fn end(self, what: &str, askers: [Asker; 2], resident_before: u64) {
        let resident = self.resident_mib();
        for (how, asker) in ["kept", "new each time"].iter().zip(askers) {
            let Asked { answers, refused, failed } = asker.stop().await;
            println!("{what}, connection {how}: {} answers, {answers}", answers.count());
            assert_eq!((refused, failed), (vec![], vec![]), "{what}, connection {how}");
            assert!(answers.count() >= 100);
        }
        println!("{what}: {resident_before} MiB before, {resident} MiB at the end");
        assert!(resident < MIB_MAX, "{resident} MiB");
        tokio::task::block_in_place(|| self.stack.stop()).unwrap();
    }
}

/// The same program, with fewer descriptors than it may have here.
fn limited(folder: &Path, binary: &Path) -> std::path::PathBuf {
    let script = folder.join("keywheel");
    let text = format!("#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec '{}' \"$@\"\n", binary.display());
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_and_dribbled_heads_keep_nobody_out() {
    let Some(scene) = Scene::begin().await else { return };
    let before = scene.resident_mib();
    let askers = scene.askers();
    let idle = Flood::of_idle(scene.edge, 2000);
    let dribbling = Flood::of_heads(scene.edge, 500);
    // All of them had a place once, and have come again.
    askers[0].until(|| idle.closed() > 2000 && dribbling.closed() > 500).await;
    println!("{} idle and {} dribbling connections were closed", idle.closed(), dribbling.closed());
    assert!(scene.figure("crowded_out_total").await >= 2500.0 - 800.0);
    scene.end("2000 idle and 500 dribbling", askers, before).await;
    drop((idle, dribbling));
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_keeps_nobody_out() {
    let Some(scene) = Scene::begin().await else { return };
    println!("seed {SEED}");
    let before = scene.resident_mib();
    let askers = scene.askers();
    let garbage = Flood::of_garbage(scene.edge, 64, SEED);
    askers[0].until(|| garbage.closed() > 5000).await;
    println!("{} connections sent {} MiB of garbage", garbage.closed(), garbage.sent() >> 20);
    scene.end("garbage on 64 connections", askers, before).await;
    drop(garbage);
}
