//! From a request's headers to an answer: the one way for every protocol in which gateways ask.

use super::credential::{Shown, shown};
use super::{App, Asks, Response, mark, problem};
use crate::verify::Identity;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use keywheel_wire::text::moment;
use std::net::IpAddr;
use std::time::Instant;

const TENANT: HeaderName = HeaderName::from_static("x-keywheel-tenant");
const CLIENT: HeaderName = HeaderName::from_static("x-keywheel-client");
const KID: HeaderName = HeaderName::from_static("x-keywheel-kid");
const KEY_VERSION: HeaderName = HeaderName::from_static("x-keywheel-key-version");
const KEY_STATE: HeaderName = HeaderName::from_static("x-keywheel-key-state");
const SCOPES: HeaderName = HeaderName::from_static("x-keywheel-scopes");
const RETIRES_AT: HeaderName = HeaderName::from_static("x-keywheel-retires-at");

/// What a gateway is told.
pub struct Admission {
    /// The answer as HTTP; other protocols carry its parts.
    pub response: Response,
    /// Whose key it was, if it was accepted.
    pub identity: Option<Identity>,
}

/// Finds the key in `headers` and answers for it. `required` are lists of scopes, and they add up: a
/// client may be able to add to them, and must not be able to take anything away.
pub fn admit<'a>(
    app: &App,
    endpoint: &'static str,
    headers: &HeaderMap,
    required: impl Iterator<Item = &'a str>,
    from: impl FnOnce() -> Option<IpAddr>,
) -> Admission {
    ask(app, endpoint, headers, required, from, false)
}

/// The same; a probe does not count as use.
pub(crate) fn ask<'a>(
    app: &App,
    endpoint: &'static str,
    headers: &HeaderMap,
    required: impl Iterator<Item = &'a str>,
    from: impl FnOnce() -> Option<IpAddr>,
    is_probe: bool,
) -> Admission {
    let began = Instant::now();
    let unasked = |code, response| {
        app.metrics.answered(endpoint, "refused", code, began.elapsed());
        Admission { response, identity: None }
    };
    let text = match shown(headers) {
        Shown::Key(text) => text,
        Shown::Nothing => return unasked("no_credential", problem::no_credential()),
        Shown::Doubled => return unasked("doubled_credential", problem::doubled_credential()),
    };
    let scopes: Vec<&str> = required.flat_map(split).collect();
    let answered = app.ask(endpoint, text, &Asks { scopes: &scopes, from: from(), is_probe });
    let response = match &answered.outcome {
        Ok(identity) => allowed(identity),
        Err(refusal) => problem::refused(*refusal),
    };
    Admission { response: mark(response, answered.stale_for), identity: answered.outcome.ok() }
}

fn split(list: &str) -> impl Iterator<Item = &str> {
    list.split([' ', ',']).filter(|scope| !scope.is_empty())
}

/// 200 with an empty body. All identity headers, every time: a gateway overwrites with them what a
/// client may have forged.
fn allowed(identity: &Identity) -> Response {
    let mut response = Response::default();
    let headers = response.headers_mut();
    headers.reserve(8);
    let mut put = |name: HeaderName, text: &str| {
        // Names, ids and scopes have no character that a header could not carry.
        let value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("?"));
        headers.insert(name, value);
    };
    put(TENANT, identity.tenant());
    put(CLIENT, identity.client());
    put(KID, identity.kid().as_str());
    put(KEY_VERSION, &identity.version.0.to_string());
    put(KEY_STATE, identity.state);
    put(SCOPES, identity.joined_scopes());
    if let Some(end) = identity.retires_at {
        put(RETIRES_AT, &moment(end));
    }
    response
}
