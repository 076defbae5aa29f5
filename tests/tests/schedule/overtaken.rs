//! A rotation by hand comes first while an issuer is about to start the one by schedule: there is one.

use crate::rig::{Rig, address, clients, keyring, tenant};
use keywheel_bus::follow::Unobserved;
use keywheel_bus::gate::Sources;
use keywheel_bus::{Station, Watch, intake};
use keywheel_domain::event::CommandId;
use keywheel_domain::schedule;
use keywheel_domain::{At, Policy, Span, Version};
use keywheel_issuer::due::{OnTime, rotate};
use keywheel_issuer::prepare::Issuer;
use keywheel_runtime::clock;
use keywheel_token::id::{derived, fresh};
use keywheel_wire::subject::Service;
use serde_json::json;
use std::num::NonZeroU32;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_by_hand_that_comes_first_takes_the_place_of_the_scheduled_one() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    rig.issue(&clients(1)).await;
    let policy =
        json!({ "every": "1h", "overlap_min": "0s", "quiet": "0s", "recipient": rig.operator.recipient() });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    let every = Policy { every: Some(Span::hours(1)), ..Policy::default() };
    let due =
        schedule::due(&keyring("client-0"), Version(1), state.keys[&Version(1)].issued_at, &every).unwrap();

    // Another issuer, two hours later, that has not heard of anything since.
    let later = Sources { now: || At(clock::wall_ms()).after(Span::hours(2)), fresh_id: fresh };
    let second = NonZeroU32::new(2).unwrap();
    let (config, folder) = (rig.server.config("issuer"), tempfile::tempdir().unwrap());
    let late =
        Station::open(&config, &Watch::new(Service::Issuer, |_| ()), second, folder.path(), |_| false, later)
            .await
            .unwrap();
    let head = rig.bus.head().await.unwrap().seq;
    let (gate, brand) = (late.gate.clone(), keywheel_issuer::config::KeyConfig::default().0);
    let reached = async { gate.applied(head).await.unwrap() };
    late.follower.run(Unobserved, reached).await.unwrap();
    rig.operator.rotate(&keyring("client-0")).await.unwrap();
    rig.versions("client-0", 2).await;

    let (late_issuer, ring) = (Issuer { gate: gate.clone(), brand }, keyring("client-0"));
    let on_time = OnTime { issuer: &late_issuer, keyring: &ring, due };
    let (at, request) = (address("client-0"), rotate(CommandId(derived(&["late"]))));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let follow = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        late.follower.run(Unobserved, async { drop(stopped.await) }).await.unwrap();
    };
    let start = async {
        let started = intake::carry_out(&gate, &on_time, &at, &request).await;
        drop(stop);
        started
    };
    let (started, ()) = tokio::join!(start, follow);
    assert!(started.unwrap_err().to_string().contains("not due any more"));
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    assert_eq!(state.keys.len(), 2, "rotated twice");
    issuer.stop().await;
}
