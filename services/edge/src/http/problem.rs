//! Refusals as responses: RFC 9457 documents, with what RFC 6750 wants beside them.

use super::{NO_STORE, Response};
use hyper::StatusCode;
use hyper::header::{self, HeaderName, HeaderValue};
use keywheel_domain::verdict::Refusal;

const ERROR: HeaderName = HeaderName::from_static("x-keywheel-error");
const DOCUMENT: HeaderValue = HeaderValue::from_static("application/problem+json");
const CHALLENGE: HeaderValue = HeaderValue::from_static(r#"Bearer realm="keywheel""#);
const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="keywheel", error="invalid_token""#);
const INSUFFICIENT_SCOPE: HeaderValue =
    HeaderValue::from_static(r#"Bearer realm="keywheel", error="insufficient_scope""#);
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// No key was shown.
pub fn no_credential() -> Response {
    let detail = "show a key in `Authorization: Bearer` or `X-API-Key`";
    with(problem(StatusCode::UNAUTHORIZED, "no_credential", detail), header::WWW_AUTHENTICATE, CHALLENGE)
}

/// More than one key was shown.
pub fn doubled_credential() -> Response {
    let detail = "show one key, in one header, once";
    with(
        problem(StatusCode::UNAUTHORIZED, "doubled_credential", detail),
        header::WWW_AUTHENTICATE,
        INVALID_TOKEN,
    )
}

/// A key was shown and is not accepted.
pub fn refused(refusal: Refusal) -> Response {
    let (status, header) = match refusal {
        Refusal::Malformed | Refusal::Unknown | Refusal::Retired | Refusal::Revoked | Refusal::Expired => {
            (StatusCode::UNAUTHORIZED, Some((header::WWW_AUTHENTICATE, INVALID_TOKEN)))
        }
        Refusal::InsufficientScope => {
            (StatusCode::FORBIDDEN, Some((header::WWW_AUTHENTICATE, INSUFFICIENT_SCOPE)))
        }
        Refusal::ForbiddenAddress => (StatusCode::FORBIDDEN, None),
        Refusal::Stale | Refusal::NotReady => {
            (StatusCode::SERVICE_UNAVAILABLE, Some((header::RETRY_AFTER, RETRY_AFTER)))
        }
    };
    let response = problem(status, refusal.code(), detail(refusal));
    match header {
        Some((name, value)) => with(response, name, value),
        None => response,
    }
}

fn detail(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => "this text is no key",
        Refusal::Unknown => "no such key",
        Refusal::Retired => "this key is retired",
        Refusal::Revoked => "this key is revoked",
        Refusal::Expired => "this key has expired",
        Refusal::InsufficientScope => "this key lacks a scope that is required",
        Refusal::ForbiddenAddress => "this key may not be used from this address",
        Refusal::Stale => "this edge has lost contact with the log and cannot say",
        Refusal::NotReady => "this edge does not serve yet, or no longer",
    }
}

/// The request itself cannot be understood. `field` is empty where no one field is to blame.
pub fn bad_request(field: &str, detail: &str) -> Response {
    let detail = if field.is_empty() { detail.to_owned() } else { format!("`{field}`: {detail}") };
    problem(StatusCode::BAD_REQUEST, "bad_request", &detail)
}

/// The body is larger than any question is.
pub fn too_large(bytes_max: usize) -> Response {
    let detail = format!("a request has at most {bytes_max} bytes");
    problem(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &detail)
}

/// The request did not come in time.
pub fn too_slow() -> Response {
    problem(StatusCode::REQUEST_TIMEOUT, "too_slow", "the request was not complete in time")
}

/// Somebody asks whose key it is where nobody looked at it: a layer is missing before the route.
#[cfg(feature = "axum")]
pub(crate) fn unguarded() -> Response {
    let detail = "this route asks for an identity and no `AuthorizeLayer` stands before it";
    problem(StatusCode::INTERNAL_SERVER_ERROR, "unguarded", detail)
}

/// No such path.
pub fn not_found() -> Response {
    problem(StatusCode::NOT_FOUND, "not_found", "nothing is served here")
}

/// Not with this method, but with those of `allow`.
pub fn method_not_allowed(allow: &'static str) -> Response {
    // The method is not repeated: any word can be one, a key too.
    let detail = format!("use {allow}");
    let response = problem(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &detail);
    with(response, header::ALLOW, HeaderValue::from_static(allow))
}

fn problem(status: StatusCode, code: &'static str, detail: &str) -> Response {
    let document = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
    });
    let mut response = Response::new(document.to_string().into());
    *response.status_mut() = status;
    let response = with(response, header::CONTENT_TYPE, DOCUMENT);
    let response = with(response, header::CACHE_CONTROL, NO_STORE);
    with(response, ERROR, HeaderValue::from_static(code))
}

fn with(mut response: Response, name: HeaderName, value: HeaderValue) -> Response {
    response.headers_mut().insert(name, value);
    response
}
