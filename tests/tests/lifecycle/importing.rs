//! Moving in with existing keys: a file of them, killed in the middle, finished by the same command.

use crate::scene::{Scene, keyring};
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::traffic;
use keywheel_token::KeyText;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROWS: usize = 2000;

fn old_key(n: usize) -> String {
    format!("legacy-{n:06}-secret")
}

fn hex(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn write_table(path: &Path) {
    let mut table = "tenant,client,digest,scopes,expires_at,meta.owner\n".to_owned();
    for n in 0..ROWS {
        let digest = hex(&old_key(n));
        writeln!(table, "acme,old-{n},{digest},read;write,2099-01-31T12:00:00Z,team {}", n % 7).unwrap();
    }
    writeln!(table, "acme,old-0,{},,,", hex(&old_key(1))).unwrap();
    writeln!(table, "acme,old-x,{},,,", old_key(7)).unwrap();
    std::fs::write(path, table).unwrap();
}

fn import(scene: &Scene, table: &Path) -> Command {
    let mut command = keywheel(&binary().unwrap());
    command.args(["import", "--output", "json", "--timeout", "2m", "--csv"]).arg(table);
    command.env("KEYWHEEL_HOME", scene.stack.home()).stdin(Stdio::null());
    command
}

async fn events(scene: &Scene, kind: &str) -> usize {
    let (mut count, mut from) = (0, 1);
    loop {
        let page = scene.operator.bus.page(from, None).await.unwrap();
        let Some(last) = page.last() else { return count };
        from = last.seq + 1;
        let read = page.iter().filter_map(|it| keywheel_wire::event::read(&it.subject, &it.payload).ok());
        count += read.filter(|read| keywheel_wire::body::type_word(read.event.fact.kind()) == kind).count();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_keys_is_adopted_once_though_its_import_is_killed() {
    let scene = Scene::open().await;
    let table = scene.stack.home().join("keys.csv");
    write_table(&table);

    let mut killed = import(&scene, &table).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    crate::scene::until("some are imported", Duration::from_secs(60), || async {
        events(&scene, "KeyIssued").await > 100
    })
    .await;
    killed.kill().unwrap();
    killed.wait().unwrap();

    let report = scene.stack.home().join("skipped.csv");
    let run = || import(&scene, &table).arg("--report").arg(&report).output().unwrap();
    let ended = tokio::task::block_in_place(run);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|_| panic!("{said}"));
    assert_eq!(ended.status.code(), Some(1), "two rows are wrong: {said}");
    let count = |name: &str| usize::try_from(document[name].as_u64().unwrap()).unwrap();
    assert_eq!((count("read"), count("imported") + count("already")), (ROWS + 2, ROWS), "{document}");
    assert!(count("already") > 100, "the killed one had done something: {document}");
    let skipped = std::fs::read_to_string(&report).unwrap();
    let codes: Vec<_> =
        skipped.lines().map(|line| line.splitn(5, ',').take(4).collect::<Vec<_>>().join(",")).collect();
    assert_eq!(codes, ["line,tenant,client,code", "2002,acme,old-0,doubled", "2003,acme,old-x,not_a_digest"]);
    assert!(!skipped.contains("legacy-"), "{skipped}");
    assert_eq!(events(&scene, "KeyIssued").await, ROWS, "each key once");

    // Its owners never notice; each key verifies by its own text, and rotates like any other.
    for n in [0, 1, ROWS / 2, ROWS - 1] {
        assert_eq!(scene.everywhere(&KeyText::new(old_key(n))).await, ["valid", "valid"], "{n}");
    }
    crate::scene::until("all are active", Duration::from_secs(60), || async {
        events(&scene, "KeyActivated").await == ROWS
    })
    .await;
    let (owner, old) = (keyring("old-5"), KeyText::new(old_key(5)));
    let version = scene.operator.rotate(&owner).await.unwrap();
    let new = scene.operator.delivered(&owner, version).await.unwrap();
    for edge in scene.edges() {
        for key in [&old, &new] {
            assert!(traffic::ask(&scene.http, &edge, key.expose(), false).await.unwrap().valid);
        }
    }

    let again = tokio::task::block_in_place(run);
    let document: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((&document["imported"], &document["already"]), (&Value::from(0), &Value::from(ROWS)));
    assert_eq!(events(&scene, "KeyIssued").await, ROWS + 1, "nothing twice");
    scene.stop().await;
}

/// `--strict` and `--dry-run` send nothing; a file of digests goes to one keyring.
#[tokio::test(flavor = "multi_thread")]
async fn a_checked_file_sends_nothing() {
    let scene = Scene::open().await;
    let table = scene.stack.home().join("keys.csv");
    std::fs::write(&table, format!("tenant,client,digest\nacme,a,{}\nacme,b,zz\n", hex("old-key-a")))
        .unwrap();
    for option in ["--strict", "--dry-run"] {
        let ended = tokio::task::block_in_place(|| import(&scene, &table).arg(option).output().unwrap());
        let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
        assert_eq!((ended.status.code(), document["sent"].as_bool()), (Some(1), Some(false)), "{option}");
        assert_eq!(document["skipped"][0]["line"], 3, "{option}");
    }
    assert_eq!(events(&scene, "KeyIssued").await, 0);

    let digests = scene.stack.home().join("digests.txt");
    std::fs::write(&digests, format!("{}  -\n{}\n", hex("old-key-a"), hex("old-key-b"))).unwrap();
    let run = || {
        let mut command = keywheel(&binary().unwrap());
        command
            .args(["import", "acme/a", "--output", "json", "--scope", "read", "--digest-file"])
            .arg(&digests);
        command.env("KEYWHEEL_HOME", scene.stack.home()).stdin(Stdio::null()).output().unwrap()
    };
    let ended = tokio::task::block_in_place(run);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    for key in ["old-key-a", "old-key-b"] {
        assert_eq!(scene.everywhere(&KeyText::new(key.to_owned())).await, ["valid", "valid"], "{key}");
    }
    scene.stop().await;
}
