//! How the edge stands: for orchestrators, people and Prometheus.

use super::{App, Response, json};
use crate::table::Status;
use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use keywheel_domain::verdict::Freshness;
use keywheel_wire::text::{Hex32, Id};
use serde::Serialize;

const METRICS_TEXT: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN_TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

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
pub fn livez() -> Response {
    text("ok\n".to_owned(), PLAIN_TEXT)
}

/// Whether gateways should send their questions here: the head was reached and the lease holds.
pub fn readyz(app: &App) -> Response {
    let reason = unready(&app.table.status());
    let mut response = json(&Ready { ready: reason.is_none(), reason });
    if reason.is_some() {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

/// Why it should not be asked, if so.
pub fn unready(status: &Status) -> Option<&'static str> {
    match status.freshness {
        Freshness::Fresh => None,
        Freshness::Stale { .. } => Some("stale"),
        Freshness::NotServing if status.is_closed => Some("stopping"),
        Freshness::NotServing if status.age.is_none() => Some("not_synced"),
        Freshness::NotServing => Some("not_on_roster"),
    }
}

/// Who this is and where it stands.
pub fn info(app: &App) -> Response {
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
    json(&document)
}

/// For Prometheus.
pub fn metrics(app: &App) -> Response {
    text(app.metrics.text(&app.table), METRICS_TEXT)
}

fn text(text: String, kind: HeaderValue) -> Response {
    let mut response = Response::new(text.into());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
