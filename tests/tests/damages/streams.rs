//! What an administrator can do to the stream itself, while everybody follows it.

use crate::case::{Case, cases, copy};
use async_nats::jetstream::stream::Config;
use keywheel_bus::topology;
use keywheel_domain::EdgeId;
use keywheel_tests::hostile::chance::Chance;
use keywheel_wire::subject::{self, HEADER_SIGNATURE, HEADER_SIGNER};

/// The log's stream, made anew with what is needed to follow it.
async fn make_anew(case: &Case, change: impl FnOnce(&mut Config)) {
    let context = case.context().await;
    context.delete_stream(subject::EVENTS).await.unwrap();
    let mut config = topology::streams(1).into_iter().find(|config| config.name == subject::EVENTS).unwrap();
    change(&mut config);
    context.create_stream(config).await.unwrap();
    topology::ensure(&case.admin, 1, 1).await.unwrap();
    topology::ensure_edge(&case.admin, &EdgeId::parse("e1").unwrap()).await.unwrap();
}

async fn first_sequence(mut case: Case, mut chance: Chance) {
    let begins = case.last + 1;
    make_anew(&case, |config| config.first_sequence = Some(begins)).await;
    let late = case.write_on(chance.within(1, 5)).await;
    let what = format!("made anew at {begins}");
    case.is_refused(&what, &late).await;
    case.is_named(&what, &["another_log", "gap"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_that_goes_on_with_the_numbers() {
    cases(first_sequence).await;
}

/// The same messages but for one that is left out, or all of them.
async fn other_content(mut case: Case, mut chance: Chance) {
    let messages = case.context().await.get_stream(subject::EVENTS).await.unwrap();
    let mut stored = Vec::new();
    for seq in 1..=case.last {
        stored.push(messages.get_raw_message(seq).await.unwrap());
    }
    let left_out = chance.index(stored.len() + 1);
    make_anew(&case, |_| {}).await;
    let context = case.context().await;
    for (place, message) in stored.into_iter().enumerate() {
        if place != left_out {
            let sent = context.publish_with_headers(message.subject, message.headers, message.payload).await;
            sent.unwrap().await.unwrap();
        }
    }
    let late = case.write_on(chance.within(1, 5)).await;
    let what = format!("made anew without place {left_out}");
    case.is_refused(&what, &late).await;
    case.is_named(&what, &["another_log"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_anew_with_nearly_the_same_content() {
    cases(other_content).await;
}

async fn old_copy(mut case: Case, mut chance: Chance) {
    case.server.kill();
    let old = case.beside("old");
    copy(&case.store(), &old);
    case.server.restart();
    let lost = chance.within(1, 6);
    case.go_on(lost).await;
    case.audit("before it is put back", 0).await;
    case.server.kill();
    std::fs::remove_dir_all(case.store()).unwrap();
    copy(&old, &case.store());
    case.server.restart();
    // Fewer than are gone, as many, and more.
    let late = case.write_on(chance.within(0, 2 * lost + 1)).await;
    let what = format!("an old copy, {lost} short, {} written since", late.len());
    case.is_refused(&what, &late).await;
    case.is_named(&what, &["cut_off", "contradicted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_copy_of_the_store_that_was_put_back() {
    cases(old_copy).await;
}

/// What `deny_delete` and `deny_purge` do not keep an administrator from.
async fn oldest_deleted(mut case: Case, mut chance: Chance) {
    let kept = chance.within(1, case.last);
    let context = case.context().await;
    let mut config = context.get_stream(subject::EVENTS).await.unwrap().cached_info().config.clone();
    config.max_messages = i64::try_from(kept).unwrap();
    context.update_stream(&config).await.unwrap();
    config.max_messages = -1;
    context.update_stream(&config).await.unwrap();
    let what = format!("all but {kept} deleted");
    case.is_refused(&what, &[]).await;
    let late = case.write_on(chance.within(1, 5)).await;
    case.is_refused_still(&what, &late).await;
    case.is_named(&what, &["gap"]).await;
    case.a_new_edge_refuses(&what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_administrator_deleted() {
    cases(oldest_deleted).await;
}

/// Skipped by everybody: it is no part of history.
async fn stranger(mut case: Case, mut chance: Chance) {
    let context = case.context().await;
    let place = chance.within(1, case.last + 1);
    let stream = context.get_stream(subject::EVENTS).await.unwrap();
    let copied = stream.get_raw_message(place).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    if chance.percent(50) {
        for name in [HEADER_SIGNER, HEADER_SIGNATURE] {
            headers.insert(name, copied.headers.get(name).unwrap().clone());
        }
    }
    let sent = context.publish_with_headers("kw.evt.t.stranger", headers, copied.payload).await;
    sent.unwrap().await.unwrap();
    case.last += 1;
    let late = case.write_on(chance.within(1, 5)).await;
    let what = format!("message {place} appended to another keyring");
    case.is_followed(&what, &late).await;
    assert!(case.edge.metric("alarms_total{kind=\"message\"}").await > 0, "{what}");
    case.is_named(&what, &["not_believed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_stranger_with_the_administrators_credential() {
    cases(stranger).await;
}
