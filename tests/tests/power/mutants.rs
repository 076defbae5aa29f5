//! The same cut where what was acknowledged is not on the disk: the checks must find what is lost.

use crate::scene::{Scene, with_disks};
use keywheel_tests::stack::nats_server;
use keywheel_wire::subject::Verb;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::task::block_in_place;

/// A nats-server with its default `sync_interval`, given what `up` wrote.
fn lossy_bus(folder: &Path) -> PathBuf {
    let server = nats_server().expect("KEYWHEEL_TEST_NATS names the server");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = -c ] || exec {server:?} \"$@\"\n\
         sed 's/sync_interval: always/sync_interval: \"2m\"/' \"$2\" > \"$2.lossy\" && exec {server:?} -c \"$2.lossy\"\n"
    );
    let path = folder.join("lossy-nats-server");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_bus_that_syncs_every_two_minutes_is_found_to_lose_events() {
    with_disks(async || {
        let lossy = |options: &mut keywheel_tests::StackOptions, folder: &Path| {
            options.lossy_bus = Some(lossy_bus(folder));
            Ok(Vec::new())
        };
        let mut scene = Scene::begin(lossy).await.unwrap();
        // The kernel writes the streams themselves by itself; then what is acknowledged next is lost.
        block_in_place(|| scene.machine.sync()).unwrap();
        let lost = scene.cut().await.unwrap();
        assert!(lost.iter().any(|lost| lost.starts_with("the event of")), "{lost:?}");
        println!("found: {} losses, the first: {:?}", lost.len(), lost.first());
    });
}

/// What SQLite does with `synchronous=NORMAL`: a commit goes to the WAL and is not synced there. Done to the edges from
/// without, so that the program has no such setting.
const NORMAL: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int is_wal_of_edge(int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 4) return 0;
    path[length] = 0;
    return strstr(path, "/edge-") && strcmp(path + length - 4, "-wal") == 0;
}

#define SKIP_WAL(name)                                                   \
    int name(int file) {                                                 \
        static int (*real)(int);                                         \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name);         \
        return is_wal_of_edge(file) ? 0 : real(file);                    \
    }
SKIP_WAL(fsync)
SKIP_WAL(fdatasync)
"#;

fn normal(folder: &Path) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (source, library) = (folder.join("normal.c"), folder.join("normal.so"));
    std::fs::write(&source, NORMAL)?;
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status()?;
    anyhow::ensure!(built.success(), "cc: {built}");
    Ok(vec![("LD_PRELOAD", library.display().to_string())])
}

#[test]
fn edges_that_do_not_sync_each_commit_are_found_to_take_a_revoked_key_again() {
    with_disks(async || {
        let mut scene = Scene::begin(|_, folder| normal(folder)).await.unwrap();
        let owner = scene.owner("leaked");
        owner.new_key(Verb::Issue).await.unwrap();
        let version = scene.record.lock().living(&owner.ring)[0];
        // Sooner or later the kernel writes the key's row by itself, and then the key is revoked.
        block_in_place(|| scene.machine.sync()).unwrap();
        owner.revoke(version).await.unwrap();
        block_in_place(|| scene.machine.freeze()).unwrap();
        let lost = scene.switch_off_and_on(5).await.unwrap();
        let comes_back =
            |lost: &String| lost.contains("alone says") && lost.contains("accepted, not revoked");
        assert!(lost.iter().any(comes_back), "{lost:?}");
        println!("found: {lost:?}");
    });
}
