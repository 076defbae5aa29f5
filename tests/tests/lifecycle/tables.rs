//! Tables that are not as the log says, and disks that take no more: named, healed, survived.

use crate::cut_off::Remote;
use crate::scene::{Scene, address, keyring, until};
use keywheel_domain::{Address, Kid};
use keywheel_table::fold::Head;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_token::KeyText;
use keywheel_wire::chain::Chain;
use keywheel_wire::notice::Notice;
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PLACE: &str = "acme.far";

fn xor(digest: &mut [u8; 32], hash: [u8; 32]) {
    digest.iter_mut().zip(hash).for_each(|(byte, other)| *byte ^= other);
}

/// Has a key lie under another id, with a row hash that fits; and with a table digest that does.
fn alter(database: &Path, key: &KeyText, with_digest: bool) {
    let connection = Connection::open(database).unwrap();
    let select = "SELECT row FROM address WHERE place = ?1";
    let row: Vec<u8> = connection.query_row(select, [PLACE], |row| row.get(0)).unwrap();
    // After the check: which part, one more, and that it is the last.
    assert_eq!(row[8] & 1, 1);
    let part = [(row[8] >> 1) - 1];
    let part: Vec<u8> =
        connection.query_row("SELECT bytes FROM part WHERE id = ?1", part, |row| row.get(0)).unwrap();
    let mut body = row[9..].to_vec();
    let hash = |body: &[u8]| -> [u8; 32] {
        let hash = Sha256::new().chain_update(PLACE).chain_update([0]).chain_update(body);
        hash.chain_update(Sha256::digest(&part)).finalize().into()
    };
    let old = hash(&body);
    assert_eq!(row[..8], old[..8]);
    let kid = Kid::parse(&key.expose().split('_').nth(2).unwrap()[..10]).unwrap().number().to_be_bytes();
    let at = body.windows(8).position(|window| window == kid).unwrap();
    body[at + 7] ^= 1;
    let hash = hash(&body);
    let altered = [&hash[..8], &row[8..9], &body].concat();
    let update = "UPDATE address SET row = ?1 WHERE place = ?2";
    assert_eq!(connection.execute(update, params![altered, PLACE]).unwrap(), 1);
    if !with_digest {
        return;
    }
    let mut head = connection
        .query_row("SELECT watermark, chain, chain_before, digest FROM head", [], |row| {
            let (chain, chain_before) = (Chain(row.get(1)?), Chain(row.get(2)?));
            Ok(Head { watermark: row.get(0)?, chain, chain_before, digest: row.get(3)? })
        })
        .unwrap();
    xor(&mut head.digest, old);
    xor(&mut head.digest, hash);
    connection.execute("UPDATE head SET digest = ?1", [head.digest]).unwrap();
    connection.execute("UPDATE note SET value = ?1 WHERE name = 'head'", [head.hash()]).unwrap();
}

async fn alarms(scene: &Scene, code: &str) -> Vec<String> {
    let notices = scene.operator.bus.notices(&Address::Installation, "alarm").await.unwrap();
    let told = notices.into_iter().filter_map(|(notice, _)| match notice {
        Notice::Alarm(alarm) if alarm.code == code => Some(alarm.detail),
        Notice::Alarm(_) | Notice::Receipt(_) | Notice::Head(_) => None,
    });
    told.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_row_is_rebuilt_and_an_edge_whose_table_differs_is_named_within_five_seconds() {
    let scene = Scene::open().await;
    let mut remote = Remote::join(&scene).await;
    let (_, key) = scene.operator.issue(&keyring("far")).await.unwrap();
    assert_eq!(remote.says(&scene, &key).await, "valid");

    remote.restart(&scene, |data| alter(&data.join("edge.db"), &key, false));
    remote.until_ready(&scene).await;
    assert_eq!(remote.says(&scene, &key).await, "valid", "found at its start, and read from the log again");
    assert_eq!(alarms(&scene, "table_differs").await, Vec::<String>::new());

    remote.restart(&scene, |data| alter(&data.join("edge.db"), &key, true));
    remote.until_ready(&scene).await;
    let ready = Instant::now();
    while alarms(&scene, "table_differs").await.is_empty() {
        assert!(ready.elapsed() < Duration::from_secs(5), "not named in time");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let named = alarms(&scene, "table_differs").await;
    println!("named after {:?}: {named:?}", ready.elapsed());
    assert!(named.iter().all(|detail| detail.starts_with("edge remote has another table")), "{named:?}");
    for command in ["edges", "status"] {
        let shown = shown(&scene, command);
        assert_eq!(shown["alarms"][0]["code"], "table_differs", "{command}: {shown}");
        assert_eq!(shown["alarms"][0]["edge"], "remote", "{command}: {shown}");
    }

    remote.restart(&scene, |data| std::fs::remove_file(data.join("edge.db")).unwrap());
    remote.until_ready(&scene).await;
    until("it agrees again", Duration::from_secs(10), || async {
        !alarms(&scene, "table_agrees_again").await.is_empty()
    })
    .await;
    for command in ["edges", "status"] {
        assert_eq!(shown(&scene, command)["alarms"], serde_json::json!([]), "{command}");
    }
    assert_eq!(remote.says(&scene, &key).await, "valid");
    scene.stop().await;
}

/// What an operator is shown.
fn shown(scene: &Scene, command: &str) -> serde_json::Value {
    let mut asked = keywheel(&binary().unwrap());
    asked.args([command, "--output", "json"]).env("KEYWHEEL_HOME", scene.stack.home());
    let ended = tokio::task::block_in_place(|| asked.output()).unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).unwrap()
}

fn file_size_max(remote: &Remote, limit: &str) {
    let process = remote.child.id().to_string();
    let done =
        Command::new("prlimit").args(["--pid", &process, &format!("--fsize={limit}")]).status().unwrap();
    assert!(done.success(), "prlimit --fsize={limit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_whose_disk_takes_no_more_verifies_on_and_acknowledges_nothing() {
    let scene = Scene::open().await;
    let remote = Remote::join(&scene).await;
    let (_, first) = scene.operator.issue(&keyring("first")).await.unwrap();
    assert_eq!(remote.says(&scene, &first).await, "valid");
    file_size_max(&remote, "1024:unlimited");
    let (_, second) = scene.operator.issue(&keyring("second")).await.unwrap();
    let (_, events) = scene.operator.history(&address("second")).await.unwrap();
    for _ in 0..20 {
        assert_eq!(remote.says(&scene, &first).await, "valid");
        assert_eq!(remote.says(&scene, &second).await, "stale", "never a definite no");
        let info = scene.http.get(format!("{}/v1/info", remote.http)).send().await.unwrap();
        let info: serde_json::Value = info.json().await.unwrap();
        let shown = info["watermark"].as_u64().unwrap();
        assert!(shown < events[0].seq, "it acknowledges {shown}, which it could not keep");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    file_size_max(&remote, "unlimited:unlimited");
    until("it has caught up by itself", Duration::from_secs(30), || async {
        remote.says(&scene, &second).await == "valid"
    })
    .await;
    remote.until_ready(&scene).await;
    scene.stop().await;
}
