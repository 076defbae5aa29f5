//! Snapshots in a running stack: written by the propagator when it is asked, begun with by an edge that has nothing.

use crate::cli::document;
use crate::scene::{Scene, keyring, until};
use nix::sys::signal::Signal;
use std::time::Duration;

async fn metric(scene: &Scene, name: &str) -> Option<u64> {
    let url = format!("{}/metrics", scene.edges()[0]);
    let text = scene.http.get(url).send().await.ok()?.text().await.ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("keywheel_edge_{name} ")))?.to_owned();
    line.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_lost_its_table_begins_with_the_snapshot_that_an_operator_asked_for() {
    let scene = Scene::open().await;
    let (_, kept) = scene.operator.issue(&keyring("kept")).await.unwrap();
    let (_, gone) = scene.operator.issue(&keyring("gone")).await.unwrap();
    document(&scene, "revoke acme/gone --all --reason leaked", "");
    let written = document(&scene, "edge snapshot", "");
    let metadata = &written["snapshot"]["metadata"];
    let watermark: u64 = metadata["watermark"].as_str().unwrap().parse().unwrap();
    assert!(watermark >= 5, "{written}");
    let (_, later) = scene.operator.issue(&keyring("later")).await.unwrap();

    scene.stack.signal("edge-e1", Signal::SIGSTOP).unwrap();
    let folder = scene.stack.home().join("data/edge-e1");
    for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
        if file.file_name().unwrap().to_string_lossy().starts_with("edge.db") {
            std::fs::remove_file(file).unwrap();
        }
    }
    scene.stack.signal("edge-e1", Signal::SIGKILL).unwrap();
    until("it began with a snapshot", Duration::from_secs(20), async || {
        metric(&scene, "snapshots_total").await == Some(1) && metric(&scene, "fresh").await == Some(1)
    })
    .await;
    assert_eq!(scene.everywhere(&kept).await, ["valid", "valid"]);
    assert_eq!(scene.everywhere(&gone).await, ["revoked", "revoked"]);
    assert_eq!(scene.everywhere(&later).await, ["valid", "valid"]);
    scene.stop().await;
}
