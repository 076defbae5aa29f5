//! The list of users changes while the server runs: who is added gets in, who is withdrawn is dropped.

use crate::rig::{Rig, edge};
use keywheel_bus::topology;
use keywheel_stack::edge_cli::Where;
use keywheel_stack::installation::{connect_role, demand_sync};
use keywheel_stack::monitor::Monitor;
use keywheel_stack::permissions::Role;
use keywheel_stack::place::Place;
use keywheel_stack::ports::loopback;
use keywheel_stack::secrets;
use keywheel_stack::settings::{Edge, Fleet};
use std::time::Duration;

async fn soon(what: &str, is_so: impl AsyncFn() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("not so: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_edge_gets_in_and_a_withdrawn_one_is_dropped() {
    let rig = Rig::start().await;
    let at = Where { home: rig.home.root().to_owned(), admin_credentials: None };
    let place = Place::find(&at, None).unwrap();
    place.demand_running().unwrap();
    let paris = Role::Edge(edge("paris"));
    let user = secrets::ensure_user(&rig.home, &paris).unwrap();
    let is_let_in = async || connect_role(&rig.home, &rig.settings.server, &paris).await.is_ok();
    assert!(!is_let_in().await);

    let mut fleet = Fleet::load(&rig.home).unwrap();
    fleet.add(Edge { id: edge("paris"), listen: loopback(1), grpc: None });
    fleet.save(&rig.home).unwrap();
    place.reconfigure().unwrap();
    soon("paris is let in", is_let_in).await;
    let bus = rig.connect(&paris).await;
    bus.head().await.unwrap();
    let monitor = Monitor::new().unwrap();
    let url = rig.settings.server.monitor_urls().remove(0);
    assert!(monitor.is_connected(&url, &user.public).await.unwrap());

    fleet.remove(&edge("paris"));
    fleet.save(&rig.home).unwrap();
    place.reconfigure().unwrap();
    soon("paris is dropped", async || !monitor.is_connected(&url, &user.public).await.unwrap()).await;
    assert!(!is_let_in().await);
    assert!(bus.head().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_that_we_configure_syncs_and_its_streams_are_as_they_should_be() {
    let rig = Rig::start().await;
    demand_sync(&Monitor::new().unwrap(), &rig.settings.server).await.unwrap();
    let admin = rig.connect(&Role::Admin).await;
    assert_eq!(topology::verify(&admin, 1).await.unwrap(), Vec::<String>::new());
}
