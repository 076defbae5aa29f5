//! What each role is refused: everything that is another's.

use crate::allowed::{alarm, keyring, kid, pulse, report, sealed};
use crate::rig::{Rig, edge, refused};
use keywheel_bus::follow::Unobserved;
use keywheel_bus::{Bus, Follower, SharedFold, topology};
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, Span, Version};
use keywheel_stack::permissions::Role;
use keywheel_table::{Fold, Options};
use keywheel_wire::subject::{Service, Verb};

macro_rules! refused {
    ($rig:expr, $role:expr, $($bus:ident => $act:expr),+ $(,)?) => {$(
        let $bus = $rig.connect(&$role).await;
        refused(&$bus, concat!(stringify!($role), ": ", stringify!($act)), $act).await;
    )+};
}

async fn replay(bus: &Bus, durable: &str) -> Result<(), keywheel_bus::BusError> {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { commands: false, pending: |_| false };
    let fold = SharedFold::new(Fold::open(&folder.path().join("fold.db"), options).unwrap());
    Follower::new(bus.clone(), fold, durable.to_owned()).run(Unobserved, std::future::pending()).await
}

async fn eavesdrop(bus: &Bus) -> Result<(), keywheel_bus::BusError> {
    let _heard = bus.pulses().await?;
    std::future::pending().await
}

async fn pose(bus: &Bus) -> Result<(), keywheel_bus::BusError> {
    let _registered = bus.register("impostor", "1.0.0", &[]).await?;
    std::future::pending().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_is_refused_what_is_not_its_own() {
    let rig = Rig::start().await;
    let (e1, e2) = (edge("e1"), edge("e2"));
    let document = serde_json::json!({});
    refused!(
        rig, Role::Edge(e1.clone()),
        bus => bus.put_pulse(&e2, &pulse(&e2)),
        bus => bus.put_report(&e2, &report(&e2)),
        bus => replay(&bus, "edge-e2"),
        bus => replay(&bus, "issuer-1"),
        bus => bus.page(1, None),
        bus => bus.last_of(&Address::Installation),
        bus => bus.last_pulse(&e1),
        bus => bus.stage(kid(), &sealed()),
        bus => bus.staged(kid()),
        bus => bus.delivery(&keyring(), Version(1)),
        bus => bus.deliver(&keyring(), Version(1), &sealed(), Span::days(1)),
        bus => bus.notify(&Address::Installation, "1", &alarm()),
        bus => bus.send_command(&Address::Installation, Verb::EdgeAdd, &document),
        bus => bus.outcome(CommandId(1)),
        bus => bus.ask_usage(&keyring()),
        bus => topology::ensure_edge(&bus, &edge("e3")),
        bus => topology::remove_edge(&bus, &e2),
        bus => eavesdrop(&bus),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_refused_what_services_do() {
    let rig = Rig::start().await;
    let e1 = edge("e1");
    refused!(
        rig, Role::Operator,
        bus => bus.stage(kid(), &sealed()),
        bus => bus.staged(kid()),
        bus => bus.withdraw(kid()),
        bus => bus.deliver(&keyring(), Version(1), &sealed(), Span::days(1)),
        bus => bus.put_pulse(&e1, &pulse(&e1)),
        bus => bus.notify(&Address::Installation, "1", &alarm()),
        bus => bus.result(CommandId(1)),
        bus => replay(&bus, "edge-e1"),
        bus => pose(&bus),
        bus => topology::ensure_edge(&bus, &edge("e3")),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_refused_what_another_one_does() {
    let rig = Rig::start().await;
    let e1 = edge("e1");
    for service in [Service::UsageTracker, Service::Retirer] {
        refused!(
            rig, Role::Service(service),
            bus => bus.staged(kid()),
            bus => bus.stage(kid(), &sealed()),
            bus => bus.withdraw(kid()),
            bus => bus.deliver(&keyring(), Version(1), &sealed(), Span::days(1)),
            bus => bus.delivery(&keyring(), Version(1)),
            bus => bus.put_pulse(&e1, &pulse(&e1)),
            bus => replay(&bus, "issuer-1"),
            bus => topology::ensure_edge(&bus, &edge("e3")),
        );
    }
    refused!(
        rig, Role::Service(Service::Issuer),
        bus => bus.deliver(&keyring(), Version(1), &sealed(), Span::days(1)),
        bus => bus.put_report(&e1, &report(&e1)),
        bus => bus.last_pulse(&e1),
        bus => replay(&bus, "issuer-3"),
        bus => topology::ensure(&bus, 1, 1),
    );
    refused!(
        rig, Role::Service(Service::Propagator),
        bus => bus.put_pulse(&e1, &pulse(&e1)),
        bus => bus.put_report(&e1, &report(&e1)),
        bus => replay(&bus, "edge-e1"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_the_log_and_nothing_else() {
    let rig = Rig::start().await;
    let e1 = edge("e1");
    refused!(
        rig, Role::Auditor,
        bus => bus.outcome(CommandId(1)),
        bus => bus.delivery(&keyring(), Version(1)),
        bus => bus.notices(&Address::Installation, "alarm"),
        bus => bus.last_pulse(&e1),
        bus => bus.ask_usage(&keyring()),
        bus => bus.staged(kid()),
    );
}
