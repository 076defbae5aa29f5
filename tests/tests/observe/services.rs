//! The four deciding services under a life of one key: each figure moves when what it counts happens, and each says
//! whether it can decide.

use crate::exposition::Exposition;
use keywheel_domain::{Address, KeyState, KeyringId, Version};
use keywheel_tests::operator::PATIENCE;
use keywheel_tests::{Operator, Stack, traffic};
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use reqwest::Client;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PREFIX: &str = "keywheel_service";

/// Asks the services of a stack.
pub struct Services<'a> {
    stack: &'a Stack,
    http: Client,
}

impl<'a> Services<'a> {
    pub fn of(stack: &'a Stack) -> Self {
        Self { stack, http: Client::new() }
    }

    async fn ask(&self, service: &str, path: &str) -> (u16, String) {
        let found = self.stack.context.services.iter().find(|one| one.name == service);
        let url = format!("{}{path}", found.unwrap_or_else(|| panic!("no {service}")).http);
        let response = self.http.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// What one says, read strictly.
    pub async fn metrics(&self, service: &str) -> (String, Exposition) {
        let (status, text) = self.ask(service, "/metrics").await;
        assert_eq!(status, 200);
        let exposition = Exposition::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"));
        (text, exposition)
    }

    async fn value(&self, service: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
        let (text, exposition) = self.metrics(service).await;
        let value = exposition.value(&format!("{PREFIX}_{name}"), labels);
        value.unwrap_or_else(|| panic!("{service} has no {name} {labels:?}\n{text}"))
    }

    /// Waits until a figure is as `wanted`.
    async fn until(&self, service: &str, name: &str, labels: &[(&str, &str)], wanted: impl Fn(f64) -> bool) {
        let began = Instant::now();
        loop {
            let value = self.value(service, name, labels).await;
            if wanted(value) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{service}: {name} {labels:?} stays {value}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn until_ready(&self, service: &str, status: u16, body: &str) {
        let began = Instant::now();
        loop {
            let said = self.ask(service, "/readyz").await;
            if said == (status, body.to_owned()) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{service}: {said:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

const ALL: [&str; 4] = ["issuer", "propagator", "usage-tracker", "retirer"];

/// Leads a key through its life and gives every name that a service tells of.
pub async fn watched(stack: &Stack, operator: &Operator) -> BTreeSet<String> {
    let services = Services::of(stack);
    for service in ALL {
        services.until_ready(service, 200, r#"{"ready":true}"#).await;
        assert_eq!(services.ask(service, "/livez").await.0, 200);
        assert_eq!(services.ask(service, "/v1/check").await.0, 404);
        assert_eq!(services.value(service, "bus_connected", &[]).await, 1.0);
        assert!(services.value(service, "bus_connections_total", &[]).await >= 1.0);
    }
    live(stack, operator, &services).await;
    without_a_bus(stack, &services).await;
    let mut names = BTreeSet::new();
    for service in ALL {
        let (text, exposition) = services.metrics(service).await;
        exposition.samples.iter().for_each(crate::label_is_known);
        assert!(!text.contains("watched"), "{text}");
        names.extend(exposition.samples.into_iter().map(|sample| sample.name));
    }
    names
}

async fn live(stack: &Stack, operator: &Operator, services: &Services<'_>) {
    let ring = KeyringId::parse("watched-tenant/watched-life").unwrap();
    let address = Address::Keyring(ring.clone());
    let issued = |outcome| [("verb", "issue"), ("outcome", outcome)];
    let before = services.value("issuer", "commands_total", &issued("accepted")).await;
    let decided = services.value("issuer", "decision_seconds_count", &[]).await;
    let activated = services.value("propagator", "work_seconds_count", &[("work", "activation")]).await;
    let delivered = services.value("propagator", "work_seconds_count", &[("work", "delivery")]).await;
    operator.policy(&address, json!({ "overlap_min": "1s", "quiet": "2s" })).await.unwrap();
    let (_, old) = operator.issue(&ring).await.unwrap();
    let missing = operator.command(&address, Verb::Rotate, json!({})).await.unwrap();
    assert_eq!(missing.rejection.unwrap().code, "no_recipient");
    operator.bus.send_command(&address, Verb::Rotate, &json!({ "what": "?" })).await.unwrap();
    assert_eq!(services.value("issuer", "commands_total", &issued("accepted")).await, before + 1.0);
    let rejected = [("verb", "rotate"), ("outcome", "rejected")];
    assert_eq!(services.value("issuer", "commands_total", &rejected).await, 1.0);
    services.until("issuer", "alarms_total", &[("kind", "malformed")], |n| n >= 1.0).await;
    assert!(services.value("issuer", "decision_seconds_count", &[]).await >= decided + 3.0);
    assert!(services.value("issuer", "events_total", &[("event", "PolicySet")]).await >= 1.0);

    let done = [("work", "delivery")];
    services.until("propagator", "work_seconds_count", &done, |n| n >= delivered + 1.0).await;
    let done = [("work", "activation")];
    assert_eq!(services.value("propagator", "work_seconds_count", &done).await, activated + 1.0);
    assert!(services.value("propagator", "barriers_total", &[("basis", "applied")]).await >= 1.0);
    assert_eq!(services.value("propagator", "edges", &[]).await, 1.0);

    let http = Client::new();
    let edge = &stack.context.edges[0].http;
    assert!(traffic::ask(&http, edge, old.expose(), false).await.unwrap().valid);
    let version = operator.rotate(&ring).await.unwrap();
    let new = operator.delivered(&ring, version).await.unwrap();
    services.until("retirer", "retiring", &[("reason", "successor")], |n| n == 1.0).await;
    assert!(traffic::ask(&http, edge, new.expose(), false).await.unwrap().valid);
    services.until("usage-tracker", "reports_total", &[], |n| n >= 1.0).await;
    services.until("retirer", "retired_total", &[("cause", "superseded")], |n| n == 1.0).await;
    services.until("retirer", "retiring", &[("reason", "successor")], |n| n == 0.0).await;
    assert!(services.value("usage-tracker", "quiet_looks_total", &[("found", "proved")]).await >= 1.0);
    assert!(services.value("usage-tracker", "events_total", &[("event", "KeySeen")]).await >= 3.0);

    let revoke = json!({ "version": version.0, "reason": "leaked" });
    operator.accepted(&address, Verb::Revoke, revoke).await.unwrap();
    let is_revoked = |state: &keywheel_domain::State| {
        matches!(state.keys.get(&Version(2)).map(|key| &key.state), Some(KeyState::Revoked { .. }))
    };
    operator.until(&ring, "revoked", is_revoked).await.unwrap();
    services.until("retirer", "retired_total", &[("cause", "revoked")], |n| n == 1.0).await;
    services.until("propagator", "receipts_total", &[("reach", "all")], |n| n >= 2.0).await;
    for service in ALL {
        services.until(service, "lag", &[], |lag| lag == 0.0).await;
        assert!(services.value(service, "watermark", &[]).await >= 8.0);
    }
}

/// A service that cannot reach the log lives and is not ready.
async fn without_a_bus(stack: &Stack, services: &Services<'_>) {
    stack.signal("nats", Signal::SIGSTOP).unwrap();
    for service in ALL {
        services.until_ready(service, 503, r#"{"ready":false,"reason":"not_connected"}"#).await;
        assert_eq!(services.ask(service, "/livez").await.0, 200);
    }
    stack.signal("nats", Signal::SIGCONT).unwrap();
    for service in ALL {
        services.until_ready(service, 200, r#"{"ready":true}"#).await;
    }
}
