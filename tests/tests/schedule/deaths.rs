//! An issuer that dies at any moment: one rotation for each due time, and its outcome is written.

use crate::rig::{Rig, address, clients, tenant, until};
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use serde_json::json;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_killed_at_any_moment_repeats_and_forgets_nothing() {
    let rig = Rig::open().await;
    let clients = clients(4);
    let issuer = rig.issuer(1);
    rig.issue(&clients).await;
    let recipient = rig.operator.recipient();
    let policy = json!({ "every": "1s", "jitter": "300ms", "overlap_min": "0s", "quiet": "0s", "max_active": 1000, "recipient": recipient });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    issuer.kill().await;
    // Each life is a little longer than the one before: it ends at another step of what is due by then.
    for life in 0..40 {
        let issuer = rig.issuer(1);
        tokio::time::sleep(Duration::from_millis(60 + 5 * life)).await;
        issuer.kill().await;
    }
    let issuer = rig.issuer(1);
    for client in &clients {
        let before = rig.operator.history(&address(client)).await.unwrap().0.keys.len();
        rig.versions(client, before + 1).await;
    }
    issuer.stop().await;
    let mut rotations = 0;
    for client in &clients {
        rotations += rig.check(client).await;
    }
    println!("{rotations} rotations by schedule in 40 lives");
    assert!(rotations >= 8, "{rotations}");
}

/// The results stream takes an intent, and no outcome over it.
async fn refuse_outcomes(rig: &Rig, refuse: bool) {
    let context = rig.server.stranger().await;
    let config = context.get_stream("KW_RESULTS").await.unwrap().cached_info().config.clone();
    let discard = if refuse { DiscardPolicy::New } else { DiscardPolicy::Old };
    let config = Config { discard, discard_new_per_subject: refuse, ..config };
    context.update_stream(config).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_dies_before_it_has_written_the_outcome_writes_it_later() {
    let rig = Rig::open().await;
    let issuer = rig.issuer(1);
    rig.issue(&clients(1)).await;
    let policy =
        json!({ "every": "4s", "overlap_min": "0s", "quiet": "0s", "recipient": rig.operator.recipient() });
    rig.operator.policy(&tenant(), policy).await.unwrap();
    refuse_outcomes(&rig, true).await;
    let begun = async || {
        let (_, events) = rig.operator.history(&address("client-0")).await.unwrap();
        events.into_iter().find(|recorded| recorded.event.actor.as_str() == "schedule")
    };
    until("it is begun", async || begun().await.is_some()).await;
    issuer.kill().await;
    let begun = begun().await.unwrap();
    assert_eq!(rig.bus.outcome(begun.event.command).await.unwrap(), None, "the outcome could be written");

    refuse_outcomes(&rig, false).await;
    let issuer = rig.issuer(1);
    rig.has_outcome(&begun).await;
    issuer.stop().await;
    rig.check("client-0").await;
}
