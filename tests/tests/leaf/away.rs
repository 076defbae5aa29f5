//! What an edge at a leaf proves, and what it does not where the hub is away, stands still, or is heard by half.

use crate::site::{LEASE, PATIENCE, Site};
use keywheel_domain::Address;
use keywheel_tests::link::{Flow, Link, Way};
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_at_a_leaf_is_waited_for_and_refuses_when_the_receipt_is_there() {
    let site = Site::start().await;
    let (_, key) = site.issue("web", "strict").await;
    // It was delivered, so every edge had it.
    let answer = site.ask(key.expose()).await;
    assert!(answer.valid, "{answer:?}");
    let revoked = site.command(&["revoke", "acme/web", "--all", "--reason", "leaked"]);
    let answer = site.ask(key.expose()).await;
    assert_eq!(answer.code.as_deref(), Some("revoked"));
    let applied = revoked["receipt"]["applied_on"].to_string();
    assert!(applied.contains("p1"), "{revoked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_hub_strict_keys_are_refused_and_available_ones_served_also_after_a_restart() {
    let mut site = Site::start().await;
    let (_, strict) = site.issue("bank", "strict").await;
    let (_, available) = site.issue("web", "available").await;
    assert!(site.ask(strict.expose()).await.valid);
    site.kill_hub();
    let began = Instant::now();
    site.until(&strict, "stale").await;
    // No later than the lease, and no request of the loop before.
    assert!(began.elapsed() < LEASE + Duration::from_secs(2), "{:?}", began.elapsed());
    assert!(site.ask(available.expose()).await.valid);
    assert_eq!(site.ask("kw_live_0123456789").await.code.as_deref(), Some("malformed"));

    // The leaf is there and gives the whole log; that proves nothing.
    assert!(site.mirrored().await > 0);
    site.kill_edge();
    site.start_edge();
    site.until(&available, "valid").await;
    for _ in 0..20 {
        assert_eq!(site.ask(strict.expose()).await.code.as_deref(), Some("stale"));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }

    site.start_hub().await;
    site.until(&strict, "valid").await;
    let (_, next) = site.issue("next", "strict").await;
    assert!(site.ask(next.expose()).await.valid);
}

/// Strict keys are refused for as long as `harm` lasts, though nothing was revoked.
async fn nothing_is_fresh(site: &Site, harm: impl Fn(&Site), mend: impl Fn(&Site)) {
    let (_, strict) = site.issue("bank", "strict").await;
    let (_, available) = site.issue("web", "available").await;
    harm(site);
    site.until(&strict, "stale").await;
    let began = Instant::now();
    while began.elapsed() < LEASE * 2 {
        assert_eq!(site.ask(strict.expose()).await.code.as_deref(), Some("stale"), "{}", site.said());
        assert!(site.ask(available.expose()).await.valid);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    mend(site);
    site.until(&strict, "valid").await;
}

fn both(site: &Site, act: impl Fn(&Link)) {
    act(&site.feed);
    act(&site.talk);
}

/// Either way both connections are lost without a word.
async fn half_open(way: Way) {
    let site = Site::start().await;
    let harm = |site: &Site| both(site, |link| link.flow(way, Flow::Lost));
    nothing_is_fresh(&site, harm, |site| both(site, Link::mend)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_by_which_nothing_comes_makes_nobody_fresh() {
    half_open(Way::In).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_by_which_nothing_goes_makes_nobody_fresh() {
    half_open(Way::Out).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_is_fed_makes_nobody_fresh_whose_pulses_do_not_arrive() {
    let site = Site::start().await;
    nothing_is_fresh(&site, |site| site.talk.cut(), |site| site.talk.mend()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_stands_still_makes_nobody_fresh() {
    let site = Site::start().await;
    let pause = |site: &Site| site.hub().signal("nats", Signal::SIGSTOP).unwrap();
    nothing_is_fresh(&site, pause, |site| site.hub().signal("nats", Signal::SIGCONT).unwrap()).await;
}

/// Pulses arrive and the head is read, but the mirror is not fed: as soon as the log goes on, nobody is fresh.
#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_that_stands_still_makes_nobody_fresh_once_the_log_goes_on() {
    let site = Site::start().await;
    let (ring, strict) = site.issue("bank", "strict").await;
    site.feed.flow(Way::In, Flow::Held);
    let mirrored = site.mirrored().await;
    let revoked = json!({ "all": true, "reason": "leaked" });
    site.operator.accepted(&Address::Keyring(ring), Verb::Revoke, revoked).await.unwrap();
    let began = Instant::now();
    site.until(&strict, "stale").await;
    assert!(began.elapsed() < LEASE + Duration::from_secs(2), "{:?}", began.elapsed());
    // That the mirror lags is told after a while.
    while began.elapsed() < LEASE * 3 || !site.said().contains("nothing after it is applied") {
        assert!(began.elapsed() < PATIENCE, "{}", site.said());
        assert_eq!(site.ask(strict.expose()).await.code.as_deref(), Some("stale"));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(site.mirrored().await, mirrored);
    site.feed.mend();
    site.until(&strict, "revoked").await;
    site.until_fresh().await;
}
