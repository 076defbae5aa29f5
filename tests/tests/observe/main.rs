//! What operators watch, at a live edge under every kind of question and at the services: the exposition is sound, its labels are known and
//! carry nobody's name, and the shipped dashboard and alerts speak of what is there.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

mod exposition;
mod services;
mod shipped;

use exposition::{Exposition, Sample};
use keywheel_domain::{KeyringId, Version};
use keywheel_tests::stack::nats_server;
use keywheel_tests::{Operator, Stack, StackOptions, traffic};

/// Every label that an edge or a service has, with what it may say. A new one is written down here, after a look at what it tells.
const LABELS: [(&str, &[&str]); 14] = [
    ("endpoint", &["check", "verify", "envoy", "library", "layer"]),
    ("outcome", &["accepted", "refused", "unavailable", "acknowledged", "unclear", "unchanged", "rejected"]),
    (
        "reason",
        &[
            "ok",
            "malformed",
            "unknown",
            "retired",
            "revoked",
            "expired",
            "insufficient_scope",
            "forbidden_address",
            "stale",
            "not_ready",
            "no_credential",
            "doubled_credential",
            "overlap_min",
            "successor",
            "quiet",
        ],
    ),
    ("route", &["check", "verify", "livez", "readyz", "info", "metrics", "other"]),
    (
        "kind",
        &[
            "message",
            "diverged",
            "damaged",
            "storage",
            "snapshot",
            "malformed",
            "not_believed",
            "frozen",
            "overlap_held",
            "schedule_held",
            "auto_rollback",
            "table_differs",
            "table_agrees_again",
            "clock_off",
            "clock_right_again",
            "other",
        ],
    ),
    ("service", &["issuer", "propagator", "usage-tracker", "retirer"]),
    (
        "verb",
        &[
            "issue",
            "rotate",
            "activate",
            "retire",
            "revoke",
            "rollback",
            "policy",
            "import",
            "edge-add",
            "edge-remove",
            "signer-add",
            "signer-withdraw",
            "other",
        ],
    ),
    (
        "event",
        &[
            "KeyIssued",
            "KeyActivated",
            "KeySeen",
            "KeyRetired",
            "RolledBack",
            "PolicySet",
            "EdgeAdded",
            "EdgeRemoved",
            "SignerAdded",
            "SignerWithdrawn",
        ],
    ),
    ("cause", &["superseded", "requested", "revoked", "expired", "cancelled", "rolled_back"]),
    ("work", &["activation", "delivery", "receipt"]),
    ("basis", &["applied", "silent", "lease_waited"]),
    ("reach", &["all", "some"]),
    ("found", &["proved", "used", "not_covered", "covered_late", "covered_behind", "time"]),
    ("version", &[env!("CARGO_PKG_VERSION")]),
];

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_sound_name_nobody_and_are_what_dashboard_and_alerts_ask_for() {
    if nats_server().is_none() {
        eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
    options.edges = 1;
    let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
    let operator = Operator::connect(&stack.context).await.unwrap();
    let ring = KeyringId::parse("watched-tenant/watched-client").unwrap();
    let (_, key) = operator.issue(&ring).await.unwrap();
    let state = operator.until(&ring, "issued", |_| true).await.unwrap();
    let kid = state.keys[&Version(1)].kid.to_string();

    let edge = stack.context.edges[0].http.clone();
    let http = reqwest::Client::new();
    assert!(traffic::ask(&http, &edge, key.expose(), false).await.unwrap().valid);
    let odd = format!("/{}", key.expose());
    for path in
        ["/v1/check", "/v1/check?scope=admin", "/v1/check/deeper", "/livez", "/readyz", "/v1/info", &odd]
    {
        http.get(format!("{edge}{path}")).header("x-api-key", key.expose()).send().await.unwrap();
    }
    http.get(format!("{edge}/v1/check")).send().await.unwrap();
    http.get(format!("{edge}/v1/check")).header("x-api-key", "kw_live_x").send().await.unwrap();
    http.request(reqwest::Method::from_bytes(b"WATCHED").unwrap(), format!("{edge}/v1/info"))
        .send()
        .await
        .unwrap();

    http.get(format!("{edge}/metrics")).send().await.unwrap();
    let text = http.get(format!("{edge}/metrics")).send().await.unwrap().text().await.unwrap();
    let exposition = Exposition::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
    exposition.samples.iter().for_each(label_is_known);
    for name in [key.expose(), &kid, "watched", "WATCHED"] {
        assert!(!text.contains(name), "{name} is in\n{text}");
    }
    figures(&exposition);
    let mut names = services::watched(&stack, &operator).await;
    names.extend(exposition.samples.into_iter().map(|sample| sample.name));
    shipped::speaks_of(&names.iter().map(String::as_str).collect(), &LABELS);
    tokio::task::block_in_place(|| stack.stop()).unwrap();
}

fn label_is_known(sample: &Sample) {
    for (name, value) in &sample.labels {
        let is_known = match LABELS.iter().find(|(label, _)| label == name) {
            Some((_, values)) => values.contains(&value.as_str()),
            None => name == "le" && (value == "+Inf" || value.parse::<f64>().is_ok()),
        };
        assert!(is_known, "{name}={value:?} of {}", sample.name);
    }
}

/// What this edge was asked, and how it must stand after it.
fn figures(exposition: &Exposition) {
    let value =
        |name: &str, labels: &[(&str, &str)]| exposition.value(&format!("keywheel_edge_{name}"), labels);
    let verdict = |endpoint, reason| value("verdicts_total", &[("endpoint", endpoint), ("reason", reason)]);
    assert_eq!(verdict("check", "ok"), Some(2.0));
    assert_eq!(verdict("check", "insufficient_scope"), Some(1.0));
    assert_eq!(verdict("check", "no_credential"), Some(1.0));
    assert_eq!(verdict("check", "malformed"), Some(1.0));
    assert_eq!(verdict("verify", "ok"), Some(1.0));
    assert_eq!(value("http_request_duration_seconds_count", &[("route", "check")]), Some(5.0));
    assert_eq!(value("http_request_duration_seconds_count", &[("route", "other")]), Some(2.0));
    assert_eq!(value("keys", &[]), Some(1.0));
    assert_eq!(value("keyrings", &[]), Some(1.0));
    assert_eq!(value("bus_connected", &[]), Some(1.0));
    assert_eq!(value("fresh", &[]), Some(1.0));
    assert!(value("bus_connections_total", &[]).unwrap() >= 1.0);
    assert!(value("database_bytes", &[]).unwrap() > 4096.0);
    assert!(value("reports_total", &[("outcome", "acknowledged")]).unwrap() >= 1.0);
    let (left, age) =
        (value("lease_remaining_seconds", &[]).unwrap(), value("lease_age_seconds", &[]).unwrap());
    assert!(left > 0.0 && (left + age - 2.0).abs() < 0.001, "{left} and {age} of 2 s");
}
