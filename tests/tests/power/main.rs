//! Power cuts: nothing that was acknowledged is lost, nothing that was revoked comes back, also while the bus is down.
//!
//! The bus, the services and each edge have disks of their own, which are ext4 on image files. While owners rotate,
//! retire and revoke and clients use their keys, everything is stopped in some moment, the disks are pictured as they
//! are then, and the machine goes on from the pictures. Needs loop mounts; where there are none it says so and is
//! skipped. `KEYWHEEL_POWER_CUTS` makes it longer, `KEYWHEEL_POWER_SEED` repeats it.
#![allow(clippy::unwrap_used)]

mod check;
mod disk;
mod load;
mod machine;
mod mutants;
mod record;
mod scene;

use scene::{Scene, number, with_disks};

#[test]
fn nothing_acknowledged_is_lost_and_nothing_revoked_comes_back() {
    with_disks(async || {
        let mut scene = Scene::begin(|_, _| Ok(Vec::new())).await.unwrap();
        for cut in 1..=number("KEYWHEEL_POWER_CUTS").unwrap_or(3) {
            assert_eq!(scene.cut().await.unwrap(), Vec::<String>::new(), "cut {cut}");
        }
        scene.end().await.unwrap();
    });
}

#[test]
fn a_bus_that_alone_loses_power_is_gone_on_with() {
    with_disks(async || {
        let mut scene = Scene::begin(|_, _| Ok(Vec::new())).await.unwrap();
        assert_eq!(scene.cut_bus().await.unwrap(), Vec::<String>::new());
        assert_eq!(scene.cut().await.unwrap(), Vec::<String>::new());
        scene.end().await.unwrap();
    });
}
