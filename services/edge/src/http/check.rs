//! `/v1/check`: gateways ask here before they let a request through. Any method, any path below it,
//! the body ignored; the answer is in the status and the headers.

use super::credential::{Shown, shown};
use super::{App, Peer, mark, problem};
use crate::address;
use crate::verify::{Asked, Identity};
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use axum::response::Response;
use keywheel_wire::text::moment;
use std::net::IpAddr;
use std::time::Instant;

const ENDPOINT: &str = "check";
const REQUIRE_SCOPE: HeaderName = HeaderName::from_static("x-keywheel-require-scope");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Answers a gateway.
pub async fn check(State(app): State<App>, request: Request) -> Response {
    let began = Instant::now();
    let headers = request.headers();
    let text = match shown(headers) {
        Shown::Key(text) => text,
        Shown::Nothing => return unasked(&app, began, "no_credential", problem::no_credential()),
        Shown::Doubled => return unasked(&app, began, "doubled_credential", problem::doubled_credential()),
    };
    let required = required_scopes(headers, request.uri());
    let scopes: Vec<&str> = required.iter().flat_map(|list| split(list)).collect();
    let peer = request.extensions().get::<Peer>();
    let from = peer.and_then(|peer| client(&app, peer.0, headers));
    let presented = keywheel_token::read(text, &app.brand);
    let answered = app.table.verify(&Asked { presented, scopes: &scopes, from }, false);
    app.count(ENDPOINT, &answered, began);
    let response = match &answered.outcome {
        Ok(identity) => allowed(identity),
        Err(refusal) => problem::refused(*refusal),
    };
    mark(response, answered.stale_for)
}

fn unasked(app: &App, began: Instant, code: &'static str, response: Response) -> Response {
    app.metrics.answered(ENDPOINT, "refused", code, began.elapsed());
    response
}

/// Every list of required scopes, from header and query. They add up: a client may be able to write
/// into either, and must not be able to take anything away.
fn required_scopes(headers: &HeaderMap, uri: &Uri) -> Vec<String> {
    let by_header = headers.get_all(REQUIRE_SCOPE).iter();
    // A value that is no text is a scope that no key has.
    let by_header = by_header.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).map(|query| query.0).unwrap_or_default();
    let by_query = pairs.into_iter().filter(|(name, _)| name == "scope").map(|(_, value)| value);
    by_header.chain(by_query).collect()
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ',']).filter(|scope| !scope.is_empty())
}

fn client(app: &App, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    // A header that is no text is an address that nobody can vouch for.
    let forwarded: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?")).collect();
    address::of_client(peer, forwarded.iter().copied(), &app.trusted_proxies)
}

/// 200 with an empty body. All identity headers, every time: a gateway overwrites with them what a
/// client may have forged.
fn allowed(identity: &Identity) -> Response {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    let mut put = |name: &'static str, text: &str| {
        // Names, ids and scopes have no character that a header could not carry.
        let value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
        headers.insert(HeaderName::from_static(name), value);
    };
    put("x-keywheel-tenant", identity.keyring.tenant.as_str());
    put("x-keywheel-client", identity.keyring.client.as_str());
    put("x-keywheel-kid", identity.kid.as_str());
    put("x-keywheel-key-version", &identity.version.0.to_string());
    put("x-keywheel-key-state", identity.state);
    put("x-keywheel-scopes", &identity.scopes.join(" "));
    if let Some(end) = identity.retires_at {
        put("x-keywheel-retires-at", &moment(end));
    }
    response
}
