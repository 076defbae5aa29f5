//! How the edge stands: for orchestrators, people and Prometheus.

use super::App;
use crate::table::Status;
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use keywheel_domain::verdict::Freshness;
use keywheel_wire::text::{Hex32, Id};
use serde::Serialize;

const METRICS_TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Info<'a> {
    id: &'a str,
    boot: Id,
    version: &'static str,
    watermark: u64,
    chain: Hex32,
    digest: Hex32,
    lease: Lease,
    keys: usize,
    serving: bool,
}

#[derive(Serialize)]
struct Lease {
    fresh: bool,
    age_ms: Option<u64>,
    length_ms: u64,
}

/// The process runs. Never asks about the bus: restarting an edge does not bring that back.
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether gateways should send their questions here: the head was reached and the lease holds.
pub async fn readyz(State(app): State<App>) -> Response {
    let reason = unready(&app.table.status());
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Ready { ready: reason.is_none(), reason })).into_response()
}

fn unready(status: &Status) -> Option<&'static str> {
    match status.freshness {
        Freshness::Fresh => None,
        Freshness::Stale { .. } => Some("stale"),
        Freshness::NotServing if status.is_closed => Some("stopping"),
        Freshness::NotServing if status.age.is_none() => Some("not_synced"),
        Freshness::NotServing => Some("not_on_roster"),
    }
}

/// Who this is and where it stands.
pub async fn info(State(app): State<App>) -> Response {
    let status = app.table.status();
    let lease = Lease {
        fresh: status.freshness == Freshness::Fresh,
        age_ms: status.age.map(|age| age.0),
        length_ms: status.length.0,
    };
    let document = Info {
        id: app.origin.edge.as_str(),
        boot: app.origin.boot,
        version: app.origin.version,
        watermark: status.head.watermark,
        chain: Hex32(status.head.chain.0),
        digest: Hex32(status.head.digest),
        lease,
        keys: status.keys,
        serving: status.freshness != Freshness::NotServing,
    };
    Json(document).into_response()
}

/// For Prometheus.
pub async fn metrics(State(app): State<App>) -> Response {
    ([(header::CONTENT_TYPE, METRICS_TEXT)], app.metrics.text(&app.table)).into_response()
}
