//! What whoever has stolen a leaf's folder can do at the hub: what its edges can, and nothing else.

use crate::site::{PATIENCE, Site};
use async_nats::{Client, ConnectOptions};
use futures_util::StreamExt as _;
use std::time::{Duration, Instant};

const REFUSED: [&str; 20] = [
    "kw.evt.acme.web",
    "kw.evt._._",
    "kw.restore.acme.web",
    "kw.cmd.acme.web.revoke",
    "kw.res.0b5e55ed-0000-4000-8000-000000000001",
    "kw.stage.0123456789",
    "kw.dlv.acme.web.1",
    "kw.notice._._.head",
    "kw.notice.acme.web.receipt",
    "kw.edge.e1.pulse",
    "kw.use.e1",
    "$JS.API.STREAM.INFO.KW_EVENTS",
    "kw.api.STREAM.INFO.KW_PULSE",
    "kw.api.STREAM.PURGE.KW_PULSE",
    "kw.api.STREAM.MSG.GET.KW_STAGE",
    "kw.api.DIRECT.GET.KW_DELIVERY",
    "kw.api.DIRECT.GET.KW_RESULTS",
    "kw.api.CONSUMER.CREATE.KW_EVENTS.mine",
    "kw.api.CONSUMER.MSG.NEXT.KW_EVENTS.edge-e1",
    "kw.api.CONSUMER.RESET.KW_EVENTS.edge-e1",
];
/// What no leaf hears, though it may subscribe to what it likes in its account.
const OTHERS: [&str; 6] = ["kw.cmd.", "kw.res.", "kw.dlv.", "kw.stage.", "kw.notice.", "kw.edge."];

/// Whether anybody at the hub answers.
async fn is_answered(client: &Client, subject: &'static str) -> bool {
    let asked = tokio::time::timeout(Duration::from_millis(700), client.request(subject, "".into()));
    matches!(asked.await, Ok(Ok(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_leaf_writes_and_asks_nothing_but_what_its_edges_may() {
    let mut site = Site::start().await;
    site.kill_edge();
    site.kill_leaf();
    let (_server, url) = site.start_rogue().await;
    let rogue = ConnectOptions::with_user_and_password("rogue".to_owned(), "rogue".to_owned())
        .connect(url)
        .await
        .unwrap();
    let began = Instant::now();
    while !is_answered(&rogue, "kw.edge.p1.pulse").await {
        assert!(began.elapsed() < PATIENCE, "the rogue does not reach the hub");
    }
    for subject in ["kw.use.p1", "kw.api.STREAM.INFO.KW_EVENTS", "kw.api.CONSUMER.RESET.KW_EVENTS.leaf-paris"]
    {
        assert!(is_answered(&rogue, subject).await, "{subject}");
    }
    let mut heard = rogue.subscribe(">").await.unwrap();
    rogue.flush().await.unwrap();
    for subject in REFUSED {
        assert!(!is_answered(&rogue, subject).await, "{subject}");
    }
    // Its own are heard there as well.
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(300), heard.next()).await {}
    site.issue("web", "available").await;
    while let Ok(Some(message)) = tokio::time::timeout(Duration::from_secs(1), heard.next()).await {
        let subject = message.subject.to_string();
        assert!(!OTHERS.iter().any(|others| subject.starts_with(others)), "{subject}");
    }

    // Off the roster, though the leaf stays connected all the time.
    site.command(&["edge", "remove", "p1"]);
    assert!(!is_answered(&rogue, "kw.edge.p1.pulse").await);
    assert!(!is_answered(&rogue, "kw.use.p1").await);
    assert!(is_answered(&rogue, "kw.api.STREAM.INFO.KW_EVENTS").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leafs_seed_lets_no_client_in() {
    let site = Site::start().await;
    let text = std::fs::read_to_string(site.at_leaf().join("seed.conf")).unwrap();
    let seed = text.split('"').nth(1).unwrap().to_owned();
    let at = site.at_leaf();
    let options = ConnectOptions::with_nkey(seed)
        .add_root_certificates(at.join("ca.pem"))
        .add_client_certificate(at.join("leaf.pem"), at.join("leaf.key"))
        .require_tls(true);
    let refused = options.connect(&site.hub().context.nats_url).await.unwrap_err();
    assert!(refused.to_string().contains("authorization"), "{refused}");
}
