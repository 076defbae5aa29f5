//! What keeps a rotation from starting is said once, mints nothing, and passes when it is set right.

use crate::rig::{Rig, address, clients, keyring, tenant, until};
use keywheel_wire::notice::{Alarm, Notice};
use serde_json::json;
use std::time::Duration;

async fn alarms(rig: &Rig, client: &str) -> Vec<Alarm> {
    let notices = rig.bus.notices(&address(client), "alarm").await.unwrap();
    let alarm = |(notice, _)| match notice {
        Notice::Alarm(alarm) => Some(alarm),
        Notice::Receipt(_) | Notice::Head(_) => None,
    };
    notices.into_iter().filter_map(alarm).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_standing_recipient_nothing_is_minted_and_one_alarm_says_so() {
    let rig = Rig::open().await;
    let (one, two) = (rig.issuer(1), rig.issuer(2));
    rig.issue(&clients(1)).await;
    let ring = keyring("client-0");
    rig.operator
        .policy(&tenant(), json!({ "every": "2s", "overlap_min": "0s", "quiet": "0s" }))
        .await
        .unwrap();
    until("an alarm", async || !alarms(&rig, "client-0").await.is_empty()).await;
    // Each change makes both issuers look again; none of them is worth another alarm.
    for n in 3..8 {
        rig.operator.policy(&address("client-0"), json!({ "max_active": n })).await.unwrap();
        rig.operator.policy(&tenant(), json!({ "max_active": n })).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let said = alarms(&rig, "client-0").await;
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].code, "schedule_held");
    assert!(said[0].detail.contains("recipient") && said[0].detail.contains("acme/client-0"), "{said:?}");
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    assert_eq!((state.keys.len(), rig.staged().await), (1, 0));

    rig.operator
        .policy(&tenant(), json!({ "recipient": rig.operator.recipient(), "every": "1h" }))
        .await
        .unwrap();
    rig.operator.policy(&tenant(), json!({ "every": "2s" })).await.unwrap();
    let opened = rig.operator.delivered(&ring, keywheel_domain::Version(2)).await;
    assert!(opened.is_ok(), "sealed to the standing recipient");
    one.stop().await;
    two.stop().await;
    rig.check("client-0").await;
}

/// Nothing retires here, so that overlaps pile up until the policy's bound; more room lets the schedule go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_stops_at_max_active_overlaps_and_goes_on_when_there_is_room() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    rig.issue(&clients(1)).await;
    let recipient = rig.operator.recipient();
    let policy =
        json!({ "every": "1s", "overlap_min": "0s", "quiet": "0s", "max_active": 2, "recipient": recipient });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    rig.versions("client-0", 3).await;
    until("an alarm", async || !alarms(&rig, "client-0").await.is_empty()).await;
    assert!(alarms(&rig, "client-0").await[0].detail.contains("max_active"));
    let (state, _) = rig.operator.history(&address("client-0")).await.unwrap();
    assert_eq!(state.keys.len(), 3);
    rig.operator.policy(&address("client-0"), json!({ "max_active": 3 })).await.unwrap();
    rig.versions("client-0", 4).await;
    issuer.stop().await;
    assert_eq!(rig.check("client-0").await, 3);
}

/// A schedule of another keyring goes on, and the one that is exempt is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_keyring_that_says_never_is_exempt_from_its_tenants_schedule() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    rig.issue(&clients(2)).await;
    rig.operator.policy(&address("client-1"), json!({ "every": "0s" })).await.unwrap();
    let policy =
        json!({ "every": "1s", "overlap_min": "0s", "quiet": "0s", "recipient": rig.operator.recipient() });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    rig.versions("client-0", 3).await;
    issuer.stop().await;
    let (exempt, _) = rig.operator.history(&address("client-1")).await.unwrap();
    assert_eq!(exempt.keys.len(), 1);
}
