//! `/v1/check`: gateways ask here before they let a request through. Any method, any path below it,
//! the body ignored; the answer is in the status and the headers.

use super::admit::admit;
use super::{App, Response};
use crate::address::{self, Peer};
use hyper::header::HeaderName;
use hyper::{HeaderMap, Uri};
use std::borrow::Cow;

const ENDPOINT: &str = "check";
const PATH: &str = "/v1/check";
const REQUIRE_SCOPE: HeaderName = HeaderName::from_static("x-keywheel-require-scope");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whether the path is this one or below it.
pub fn is_asked(path: &str) -> bool {
    path.strip_prefix(PATH).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a gateway.
pub fn check(app: &App, peer: Peer, headers: &HeaderMap, uri: &Uri) -> Response {
    let required = required_scopes(headers, uri);
    let from = || address::of_client(peer, forwarded(headers), &app.trusted_proxies);
    admit(app, ENDPOINT, headers, required.iter().map(AsRef::as_ref), from).response
}

/// Every list of required scopes, from header and query.
fn required_scopes<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Vec<Cow<'a, str>> {
    // A value that is no text is a scope that no key has.
    let by_header = headers.get_all(REQUIRE_SCOPE).iter();
    let by_header = by_header.map(|value| String::from_utf8_lossy(value.as_bytes()));
    let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let by_query = pairs.filter(|(name, _)| name == "scope").map(|(_, value)| value);
    by_header.chain(by_query).collect()
}

/// What gateways wrote of the way here, the nearest last.
pub fn forwarded(headers: &HeaderMap) -> impl DoubleEndedIterator<Item = &str> {
    // A header that is no text is an address that nobody can vouch for.
    headers.get_all(FORWARDED_FOR).iter().map(|value| value.to_str().unwrap_or("?"))
}
