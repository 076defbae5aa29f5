//! Asks an edge about a key, as a probe: it does not count as use.

use crate::context::{Context, EdgeAddress};
use crate::failure::Failure;
use bytes::Bytes;
use keywheel_domain::{KeyringId, Version};
use keywheel_token::KeyText;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long an edge may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The question (PROTOCOL 4).
#[derive(Serialize)]
struct Question<'a> {
    key: &'a str,
    scopes: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ip: Option<&'a str>,
    probe: bool,
}

/// What is required of the key beside being accepted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Required<'a> {
    pub scopes: &'a [String],
    pub ip: Option<&'a str>,
}

/// An edge's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who answered.
    pub edge: String,
    /// The document as it came.
    pub document: Value,
    /// The part that is read here.
    pub verdict: Verdict,
}

/// What is read of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Verdict {
    pub valid: bool,
    pub code: Option<String>,
    pub tenant: Option<String>,
    pub client: Option<String>,
    pub version: Option<u32>,
    pub kid: Option<String>,
    pub state: Option<String>,
    pub scopes: Vec<String>,
    pub expires_at: Option<String>,
    pub retires_at: Option<String>,
}

impl Verdict {
    /// Whose key it is, where the edge says so.
    fn owner(&self) -> Option<(KeyringId, Version)> {
        let keyring = format!("{}/{}", self.tenant.as_deref()?, self.client.as_deref()?);
        Some((KeyringId::parse(&keyring).ok()?, Version(self.version?)))
    }
}

/// Asks the edge named, or the first of the context's that answers.
pub(crate) async fn ask(
    context: &Context,
    edge: Option<&str>,
    key: &KeyText,
    required: Required<'_>,
) -> Result<Answer, Failure> {
    let edges = candidates(&context.edges, edge)?;
    let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build();
    let client = client.map_err(Failure::unreachable)?;
    let mut reasons = Vec::new();
    for (id, url) in edges {
        match ask_one(&client, &url, key, required).await {
            Ok(document) => {
                let verdict = Verdict::deserialize(&document)
                    .map_err(|error| Failure::unreachable(format!("{id} at {url}: {error}")))?;
                return Ok(Answer { edge: id, document, verdict });
            }
            Err(reason) => reasons.push(format!("{id} at {url}: {reason}")),
        }
    }
    Err(Failure::unreachable(format!("no edge answers: {}", reasons.join("; "))))
}

/// Whose key it is, if an edge accepts it.
pub(crate) async fn owner_of(context: &Context, key: &KeyText) -> Option<(KeyringId, Version)> {
    ask(context, None, key, Required::default()).await.ok()?.verdict.owner()
}

fn candidates(edges: &[EdgeAddress], wanted: Option<&str>) -> Result<Vec<(String, String)>, Failure> {
    let address = |edge: &EdgeAddress| Some((edge.id.clone(), base_url(edge.http.as_deref()?)));
    let is_wanted = |edge: &&EdgeAddress| wanted.is_none_or(|wanted| wanted == edge.id);
    let found: Vec<_> = edges.iter().filter(is_wanted).filter_map(address).collect();
    match (found.is_empty(), wanted) {
        (false, _) => Ok(found),
        (true, Some(edge)) => Err(Failure::usage(format!("the context names no edge `{edge}`"))),
        (true, None) => Err(Failure::unreachable("the context names no edge to ask")),
    }
}

fn base_url(http: &str) -> String {
    let with_scheme = if http.contains("://") { http.to_owned() } else { format!("http://{http}") };
    with_scheme.trim_end_matches('/').to_owned()
}

async fn ask_one(
    client: &reqwest::Client,
    url: &str,
    key: &KeyText,
    required: Required<'_>,
) -> Result<Value, String> {
    let question = Question { key: key.expose(), scopes: required.scopes, ip: required.ip, probe: true };
    let body = Zeroizing::new(serde_json::to_vec(&question).map_err(|error| error.to_string())?);
    let asked = client.post(format!("{url}/v1/verify")).header(CONTENT_TYPE, "application/json");
    let sent = asked.body(Bytes::from_owner(body)).send().await;
    // The error names the address again, which the caller says already.
    let reply = sent.map_err(|error| keywheel_runtime::exit::chain(&error.without_url()))?;
    let status = reply.status();
    if !status.is_success() {
        // Whatever stands between us and the edge may say what it was sent.
        let text = reply.text().await.unwrap_or_default().replace(key.expose(), "(the key)");
        return Err(format!("{status} {}", text.chars().take(200).collect::<String>()));
    }
    reply.json().await.map_err(|error| error.without_url().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn edges() -> Vec<EdgeAddress> {
        let edge =
            |id: &str, http: Option<&str>| EdgeAddress { id: id.to_owned(), http: http.map(str::to_owned) };
        vec![edge("a", Some("127.0.0.1:8081")), edge("b", Some("http://b:1/")), edge("c", None)]
    }

    #[test]
    fn addresses_may_lack_a_scheme_and_edges_may_be_named() {
        let found = |wanted| candidates(&edges(), wanted).map_err(|failure| failure.exit);
        let (a, b) = ("http://127.0.0.1:8081".to_owned(), "http://b:1".to_owned());
        assert_eq!(found(None), Ok(vec![("a".to_owned(), a), ("b".to_owned(), b.clone())]));
        assert_eq!(found(Some("b")), Ok(vec![("b".to_owned(), b)]));
        assert_eq!(found(Some("x")), Err(2));
        assert_eq!(candidates(&[], None).map_err(|failure| failure.exit), Err(3));
    }

    #[test]
    fn an_owner_is_read_from_a_verdict_that_names_one() {
        let verdict = |value: Value| Verdict::deserialize(value).unwrap();
        let valid =
            json!({"valid": true, "tenant": "acme", "client": "app", "version": 2, "kid": "x", "scopes": []});
        let owner = verdict(valid).owner().unwrap();
        assert_eq!((owner.0.to_string(), owner.1), ("acme/app".to_owned(), Version(2)));
        assert!(verdict(json!({"valid": false, "code": "unknown"})).owner().is_none());
    }
}
