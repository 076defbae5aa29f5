//! What an edge answers over HTTP (PROTOCOL 4).
//!
//! # Layout
//! - [`check`]: `/v1/check`, for gateways
//! - [`ask`]: `/v1/verify`, for programs
//! - [`standing`]: `/livez`, `/readyz`, `/v1/info`, `/metrics`
//! - [`credential`]: where a request carries its key
//! - [`problem`]: refusals as responses

pub mod ask;
pub mod check;
pub mod credential;
pub mod problem;
pub mod standing;

use crate::metrics::Metrics;
use crate::pulse::Origin;
use crate::table::{Answered, Table};
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::response::Response;
use axum::routing::{any, get, post};
use ipnet::IpNet;
use keywheel_domain::Span;
use keywheel_token::Brand;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What every handler has.
#[derive(Clone)]
pub struct App {
    /// What answers.
    pub table: Arc<Table>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How this installation's keys begin.
    pub brand: Arc<Brand>,
    /// Gateways whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Who this is.
    pub origin: Arc<Origin>,
}

/// The address at the other end of the connection; put into each request by whoever accepted it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

const STALE_AGE: HeaderName = HeaderName::from_static("x-keywheel-stale-age");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// All routes.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/v1/check", any(check::check))
        .route("/v1/check/", any(check::check))
        .route("/v1/check/{*rest}", any(check::check))
        .route("/v1/verify", post(ask::verify))
        .route("/livez", get(standing::livez))
        .route("/readyz", get(standing::readyz))
        .route("/v1/info", get(standing::info))
        .route("/metrics", get(standing::metrics))
        .fallback(async || problem::not_found())
        .method_not_allowed_fallback(async |method: Method| problem::method_not_allowed(&method))
        .with_state(app)
}

impl App {
    fn count(&self, endpoint: &'static str, answered: &Answered, began: Instant) {
        let (outcome, reason) = match &answered.outcome {
            Ok(_) => ("accepted", "ok"),
            Err(refusal) if refusal.is_definite() => ("refused", refusal.code()),
            Err(refusal) => ("unavailable", refusal.code()),
        };
        self.metrics.answered(endpoint, outcome, reason, began.elapsed());
    }
}

/// What every answer about a key carries: that it must not be kept, and how old it may be.
fn mark(mut response: Response, stale_for: Option<Span>) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if let Some(age) = stale_for {
        headers.insert(STALE_AGE, HeaderValue::from(age.0 / 1000));
    }
    response
}

#[cfg(test)]
mod tests;
