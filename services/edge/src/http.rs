//! What an edge answers over HTTP (PROTOCOL 4). Plain matches on the path: with two hot paths and five
//! routes in all, a framework would cost more time per request than the check itself.
//!
//! # Layout
//! - [`admit`]: from headers to an answer, for every protocol; [`credential`]: where a request carries its key
//! - [`check`]: `/v1/check`, for gateways
//! - [`ask`]: `/v1/verify`, for programs
//! - [`standing`]: `/livez`, `/readyz`, `/v1/info`, `/metrics`
//! - [`problem`]: refusals as responses

pub mod admit;
pub mod ask;
pub mod check;
pub mod credential;
pub mod problem;
pub mod standing;

use crate::address::Peer;
use crate::metrics::{self, Metrics};
use crate::pulse::Origin;
use crate::table::{Answered, Table};
use crate::verify::Asked;
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request};
use ipnet::IpNet;
use keywheel_domain::Span;
use keywheel_token::Brand;
use serde::Serialize;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// An answer, whole in memory.
pub type Response = hyper::Response<http_body_util::Full<Bytes>>;

/// What every answer is made from.
#[derive(Clone)]
pub struct App {
    /// What answers.
    pub table: Arc<Table>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// How this installation's keys begin.
    pub brand: Arc<Brand>,
    /// Gateways whose word on where a request comes from is believed.
    pub trusted_proxies: Arc<[IpNet]>,
    /// Who this is.
    pub origin: Arc<Origin>,
}

/// What is asked about a text beside whether it is a key.
pub struct Asks<'a> {
    /// Scopes that are required.
    pub scopes: &'a [&'a str],
    /// Where the request comes from, where that is known.
    pub from: Option<IpAddr>,
    /// Whether the answer is no use of the key.
    pub is_probe: bool,
}

pub(crate) const STALE_AGE: HeaderName = HeaderName::from_static("x-keywheel-stale-age");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Answers a request that came from `peer`.
pub async fn answer<B>(app: &App, peer: Peer, request: Request<B>) -> Response
where
    B: Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let began = Instant::now();
    let (route, response) = routed(app, peer, request).await;
    app.metrics.requested(route, began.elapsed());
    response
}

/// The answer, and the word for where it was asked: one of few, whatever the path.
async fn routed<B>(app: &App, peer: Peer, request: Request<B>) -> (&'static str, Response)
where
    B: Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let path = request.uri().path();
    if check::is_asked(path) {
        return ("check", check::check(app, peer, request.headers(), request.uri()));
    }
    let is_get = matches!(*request.method(), Method::GET | Method::HEAD);
    match path {
        "/v1/verify" if request.method() == Method::POST => {
            ("verify", ask::verify(app, request.into_body()).await)
        }
        "/livez" if is_get => ("livez", standing::livez()),
        "/readyz" if is_get => ("readyz", standing::readyz(app)),
        "/v1/info" if is_get => ("info", standing::info(app)),
        "/metrics" if is_get => ("metrics", standing::metrics(app)),
        "/v1/verify" => ("other", problem::method_not_allowed("POST")),
        "/livez" | "/readyz" | "/v1/info" | "/metrics" => ("other", problem::method_not_allowed("GET, HEAD")),
        _ => ("other", problem::not_found()),
    }
}

impl App {
    /// Answers for a text, and counts the answer.
    pub(crate) fn ask(&self, endpoint: &'static str, text: &[u8], asks: &Asks<'_>) -> Answered {
        let began = Instant::now();
        let answered = self.check(text, asks);
        self.count(endpoint, &answered, began);
        answered
    }

    /// The same, counted as inside a service: what [`crate::Verifier::verify`] does.
    pub fn ask_inside(&self, text: &[u8], asks: &Asks<'_>) -> Answered {
        self.metrics.inside(|| self.check(text, asks))
    }

    fn check(&self, text: &[u8], asks: &Asks<'_>) -> Answered {
        let shown = keywheel_token::look(text, &self.brand);
        let asked = Asked { shown, scopes: asks.scopes, from: asks.from };
        self.table.verify(&asked, asks.is_probe)
    }

    fn count(&self, endpoint: &'static str, answered: &Answered, began: Instant) {
        let (outcome, reason) = match &answered.outcome {
            Ok(_) => ("accepted", "ok"),
            Err(refusal) => (metrics::outcome_of(*refusal), refusal.code()),
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

fn json(document: &impl Serialize) -> Response {
    let bytes = serde_json::to_vec(document).expect("our documents have text keys and plain values");
    let mut response = Response::new(bytes.into());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
pub(crate) mod tests;
