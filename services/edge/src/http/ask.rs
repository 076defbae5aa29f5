//! `POST /v1/verify`: programs ask here with a JSON document and are answered with one.

use super::{App, Asks, Response, json, mark, problem};
use crate::verify::Identity;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;
use keywheel_domain::verdict::Refusal;
use keywheel_token::KeyText;
use keywheel_wire::text::Moment;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::IpAddr;

const ENDPOINT: &str = "verify";
const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    #[serde(deserialize_with = "key_text")]
    key: KeyText,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    ip: Option<IpAddr>,
    #[serde(default)]
    probe: bool,
}

fn key_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<KeyText, D::Error> {
    String::deserialize(deserializer).map(KeyText::new)
}

#[derive(Serialize)]
struct Valid<'a> {
    valid: bool,
    tenant: &'a str,
    client: &'a str,
    kid: &'a str,
    version: u32,
    state: &'static str,
    scopes: Vec<&'a str>,
    expires_at: Option<Moment>,
    retires_at: Option<Moment>,
}

#[derive(Serialize)]
struct Invalid {
    valid: bool,
    code: &'static str,
}

/// Answers a program.
pub async fn verify<B>(app: &App, body: B) -> Response
where
    B: Body,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let bytes = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return problem::too_large(BODY_BYTES_MAX),
        Err(_) => return problem::bad_request("", "the request's body could not be read to its end"),
    };
    let question = match read(&bytes) {
        Ok(question) => question,
        Err((field, detail)) => return problem::bad_request(&field, detail),
    };
    drop(bytes);
    let scopes: Vec<&str> = question.scopes.iter().map(String::as_str).collect();
    let asks = Asks { scopes: &scopes, from: question.ip, is_probe: question.probe };
    let answered = app.ask(ENDPOINT, question.key.expose().as_bytes(), &asks);
    let response = match &answered.outcome {
        Ok(identity) => valid(identity),
        Err(refusal) => invalid(*refusal),
    };
    mark(response, answered.stale_for)
}

/// Names the field that is wrong and what it should be. What was in it is not repeated: it may be a
/// key in the wrong place.
fn read(bytes: &[u8]) -> Result<Question, (String, &'static str)> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let question = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let message = error.inner().to_string();
        match quoted(&message, "unknown field `") {
            Some(name) if is_plain(name) => {
                (name.to_owned(), "is no field; there are `key`, `scopes`, `ip` and `probe`")
            }
            Some(_) => {
                (String::new(), "one of its fields is none; there are `key`, `scopes`, `ip` and `probe`")
            }
            None if message.starts_with("missing field") => ("key".to_owned(), "is missing"),
            None if path == "." || error.inner().is_syntax() || error.inner().is_eof() => {
                (String::new(), "send a JSON object with `key`, and `scopes`, `ip` and `probe` as wanted")
            }
            None => {
                (path, "key: text; scopes: a list of texts; ip: an address or null; probe: true or false")
            }
        }
    })?;
    reader.end().map_err(|_| (String::new(), "send one JSON object and nothing after it"))?;
    Ok(question)
}

/// Whether a name can be repeated: short and of small letters it is a slip of the pen, and no key.
fn is_plain(name: &str) -> bool {
    name.len() <= 16 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

fn quoted<'a>(message: &'a str, lead: &str) -> Option<&'a str> {
    message.strip_prefix(lead)?.split('`').next()
}

fn valid(identity: &Identity) -> Response {
    let kid = identity.kid();
    let document = Valid {
        valid: true,
        tenant: identity.tenant(),
        client: identity.client(),
        kid: kid.as_str(),
        version: identity.version.0,
        state: identity.state,
        scopes: identity.scopes().collect(),
        expires_at: identity.expires_at.map(Moment),
        retires_at: identity.retires_at.map(Moment),
    };
    json(&document)
}

fn invalid(refusal: Refusal) -> Response {
    json(&Invalid { valid: false, code: refusal.code() })
}
