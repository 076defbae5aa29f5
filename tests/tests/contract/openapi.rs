//! `schemas/openapi.json`: an answer over HTTP is held against it, and it against the answers.

use crate::schemas::{Schemas, read_json, wrong};
use keywheel_domain::verdict::Refusal;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const FILE: &str = "openapi.json";

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The description of the edge.
pub struct OpenApi {
    schemas: Schemas,
}

impl OpenApi {
    pub fn load() -> OpenApi {
        OpenApi { schemas: Schemas::load() }
    }

    fn document(&self) -> &Value {
        &self.schemas.documents[FILE]
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        self.document().pointer(pointer)
    }

    /// Where something really stands that may be a reference.
    fn resolved(&self, pointer: String) -> String {
        let target = self.at(&pointer).and_then(|value| value["$ref"].as_str()?.strip_prefix('#'));
        target.map(str::to_owned).unwrap_or(pointer)
    }

    /// The path as the document has it, with the place of the response.
    fn find(&self, method: &str, path: &str, status: u16) -> Option<(String, String)> {
        let below = path.strip_prefix("/v1/check/").is_some_and(|rest| !rest.is_empty());
        let path = if below { "/v1/check/{rest}" } else { path };
        let item = format!("/paths/{}", path.replace('~', "~0").replace('/', "~1"));
        let place = if self.at(&item).is_none() {
            (status == 404).then(|| "/x-other-paths".to_owned())?
        } else if self.at(&format!("{item}/{method}")).is_none() {
            (status == 405).then(|| format!("{item}/x-other-methods"))?
        } else {
            format!("{item}/{method}/responses/{status}")
        };
        self.at(&place)?;
        let shown = if place == "/x-other-paths" { "other" } else { path };
        Some((format!("{shown} {status}"), self.resolved(place)))
    }

    /// Holds an answer against the document; says which part of it that was.
    pub fn check(&self, method: &str, path: &str, answer: &Answer) -> Result<String, String> {
        let (what, place) = self
            .find(method, path, answer.status)
            .ok_or_else(|| format!("{} is not described", answer.status))?;
        self.check_headers(&place, &answer.headers)?;
        if method != "head" {
            self.check_body(&place, answer)?;
        }
        Ok(what)
    }

    fn check_headers(&self, place: &str, headers: &HeaderMap) -> Result<(), String> {
        let described = self.at(&format!("{place}/headers")).and_then(Value::as_object);
        let described: BTreeSet<String> = described.into_iter().flat_map(|map| map.keys().cloned()).collect();
        for name in &described {
            let place = self.resolved(format!("{place}/headers/{name}"));
            let required = self.at(&format!("{place}/required")) == Some(&json!(true));
            let Some(value) = headers.get(name) else {
                if required {
                    return Err(format!("{name} is missing"));
                }
                continue;
            };
            let validator = self.schemas.at(&format!("{FILE}#{place}/schema"));
            let text = value.to_str().map_err(|error| format!("{name}: {error}"))?;
            wrong(&validator, &json!(text)).map_or(Ok(()), |error| Err(format!("{name}: {error}")))?;
        }
        let usual = ["content-type", "content-length", "date", "connection", "transfer-encoding"];
        let known =
            |name: &str| usual.contains(&name) || described.iter().any(|it| it.eq_ignore_ascii_case(name));
        match headers.keys().find(|name| !known(name.as_str())) {
            Some(name) => Err(format!("{name} is not described")),
            None => Ok(()),
        }
    }

    fn check_body(&self, place: &str, answer: &Answer) -> Result<(), String> {
        let Some(content) = self.at(&format!("{place}/content")).and_then(Value::as_object) else {
            return if answer.body.is_empty() { Ok(()) } else { Err("a body is not described".to_owned()) };
        };
        let kind = answer.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let media = content.get(kind).ok_or_else(|| format!("`{kind}` is not described"))?;
        assert!(media["schema"].is_object(), "{place}");
        let body = if kind.contains("json") {
            serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?
        } else {
            json!(String::from_utf8_lossy(&answer.body))
        };
        let escaped = kind.replace('~', "~0").replace('/', "~1").replace(' ', "%20");
        let validator = self.schemas.at(&format!("{FILE}#{place}/content/{escaped}/schema"));
        wrong(&validator, &body).map_or(Ok(()), |error| Err(format!("{error}: {body}")))
    }

    /// Every path with every status that it may answer.
    pub fn promised(&self) -> BTreeSet<String> {
        let mut promised = BTreeSet::from(["other 404".to_owned()]);
        for (path, item) in self.document()["paths"].as_object().unwrap() {
            if item["x-other-methods"].is_object() {
                promised.insert(format!("{path} 405"));
            }
            let operations = item.as_object().unwrap().values();
            for responses in operations.filter_map(|operation| operation["responses"].as_object()) {
                promised.extend(responses.keys().map(|status| format!("{path} {status}")));
            }
        }
        promised
    }

    /// Every code that a problem may have.
    pub fn codes(&self) -> BTreeSet<String> {
        let codes = &self.schemas.schema("edge-problem")["properties"]["code"]["enum"];
        serde_json::from_value(codes.clone()).unwrap()
    }
}

#[test]
fn it_is_an_openapi_document() {
    let meta = read_json(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract/meta/openapi-3.1.json"));
    let validator = jsonschema::options().offline().build(&meta).unwrap();
    let api = OpenApi::load();
    assert_eq!(wrong(&validator, api.document()), None);
    let mut broken = api.document().clone();
    broken["paths"]["/livez"]["get"]["responses"] = json!([]);
    assert!(wrong(&validator, &broken).is_some());
}

/// What a gateway is told is a promise: each difference must be found.
#[test]
fn an_answer_that_differs_is_found() {
    let api = OpenApi::load();
    let problem = json!({ "type": "about:blank", "title": "Unauthorized", "status": 401, "code": "revoked", "detail": "x" });
    let answer = |change: &dyn Fn(&mut Answer)| {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/problem+json"),
            ("cache-control", "no-store"),
            ("x-keywheel-error", "revoked"),
            ("www-authenticate", r#"Bearer realm="keywheel", error="invalid_token""#),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        let mut answer = Answer { status: 401, headers, body: problem.to_string().into_bytes() };
        change(&mut answer);
        api.check("get", "/v1/check/a/b", &answer)
    };
    assert_eq!(answer(&|_| {}), Ok("/v1/check/{rest} 401".to_owned()));
    let refused: [&dyn Fn(&mut Answer); 7] = [
        &|answer| answer.status = 418,
        &|answer| drop(answer.headers.remove("cache-control")),
        &|answer| drop(answer.headers.insert("x-keywheel-error", "tired".parse().unwrap())),
        &|answer| drop(answer.headers.insert("x-keywheel-mood", "good".parse().unwrap())),
        &|answer| drop(answer.headers.insert("content-type", "text/html".parse().unwrap())),
        &|answer| answer.body = b"{}".to_vec(),
        &|answer| answer.body = problem.to_string().replace("revoked", "stale").into_bytes(),
    ];
    for change in refused {
        assert!(answer(change).is_err());
    }
}

#[test]
fn every_refusal_is_described() {
    let api = OpenApi::load();
    let refusals = [
        Refusal::Malformed,
        Refusal::Unknown,
        Refusal::Retired,
        Refusal::Revoked,
        Refusal::Expired,
        Refusal::InsufficientScope,
        Refusal::ForbiddenAddress,
        Refusal::Stale,
        Refusal::NotReady,
    ];
    let codes = api.codes();
    assert!(refusals.iter().all(|refusal| codes.contains(refusal.code())), "{codes:?}");
    let promised = api.promised();
    for what in ["/v1/check 200", "/v1/check/{rest} 503", "/v1/verify 408", "/metrics 405", "other 404"] {
        assert!(promised.contains(what), "{what}: {promised:?}");
    }
}
