//! Children: restarted when they die, ended in order, and never left behind.

use crate::rig::Rig;
use keywheel_stack::children::{Children, Group, Plan, pid_of};
use keywheel_stack::home::Home;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

const PARENT: &str = "KEYWHEEL_TEST_PARENT";

fn sleeper(name: &str, seconds: &str) -> Plan {
    Plan {
        name: name.to_owned(),
        group: Group::Services,
        program: "sleep".into(),
        args: vec![seconds.into()],
        is_wanted: Arc::new(|| true),
    }
}

async fn pid(home: &Home, name: &str, other_than: Option<Pid>) -> Pid {
    for _ in 0..400 {
        match pid_of(home, name) {
            Ok(Some(pid)) if Some(pid) != other_than => return pid,
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
    panic!("{name} does not run")
}

fn is_alive(pid: Pid) -> bool {
    // A zombie still has a process id, and runs no more.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

async fn gone(pid: Pid) {
    for _ in 0..400 {
        if !is_alive(pid) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{pid} is still there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_is_restarted_with_its_streams() {
    let rig = Rig::start().await;
    let operator = rig.connect(&keywheel_stack::permissions::Role::Operator).await;
    let before = operator.head().await.unwrap();
    let first = pid(&rig.home, "nats", None).await;
    kill(first, Signal::SIGKILL).unwrap();
    let second = pid(&rig.home, "nats", Some(first)).await;
    let after = loop {
        if let Ok(head) = operator.head().await {
            break head;
        }
    };
    assert_eq!(after, before);
    rig.children.stop().await;
    assert!(!is_alive(second));
    assert_eq!(std::fs::read_to_string(rig.home.processes()).unwrap().trim(), "[]");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_child_stays_dead_when_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    home.create().unwrap();
    let _held = home.hold().unwrap();
    let children = Children::none(home.clone(), false).unwrap();
    children.start(sleeper("brief", "0.1"));
    children.start(sleeper("long", "1000"));
    let brief = pid(&home, "brief", None).await;
    let long = pid(&home, "long", None).await;
    gone(brief).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(pid_of(&home, "brief").unwrap(), None);
    children.stop().await;
    assert!(!is_alive(long));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_no_longer_wanted_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    home.create().unwrap();
    let _held = home.hold().unwrap();
    let children = Children::none(home.clone(), true).unwrap();
    let list = home.root().join("listed");
    std::fs::write(&list, "").unwrap();
    let listed = list.clone();
    children.start(Plan { is_wanted: Arc::new(move || listed.exists()), ..sleeper("edge", "1000") });
    let edge = pid(&home, "edge", None).await;
    std::fs::remove_file(&list).unwrap();
    gone(edge).await;
    children.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn children_end_with_a_parent_that_is_killed_hard() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    home.create().unwrap();
    let mut parent = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "children::parent", "--ignored"])
        .env(PARENT, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = pid(&home, "child", None).await;
    assert!(is_alive(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    gone(child).await;
}

/// Not a test: what the one above kills.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process to be killed by another test"]
async fn parent() {
    let Some(folder) = std::env::var_os(PARENT) else { return };
    let home = Home::at(Path::new(&folder)).unwrap();
    let _held = home.hold().unwrap();
    let children = Children::none(home, true).unwrap();
    children.start(sleeper("child", "1000"));
    std::future::pending::<()>().await;
}
