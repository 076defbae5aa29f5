//! Every question that an edge can be asked, each answer held against the description of the edge.

use crate::openapi::{Answer, OpenApi};
use keywheel_tests::Stack;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// How long anything that should happen is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The edges of a stack, with what was seen of their description.
pub struct Edges {
    http: Client,
    urls: BTreeMap<String, String>,
    api: OpenApi,
    seen: Mutex<BTreeSet<String>>,
    codes: Mutex<BTreeSet<String>>,
}

pub async fn poll<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Edges {
    pub fn of(stack: &Stack, api: OpenApi) -> Edges {
        let urls = stack.context.edges.iter().map(|edge| (edge.id.clone(), edge.http.clone())).collect();
        Edges { http: Client::new(), urls, api, seen: Mutex::default(), codes: Mutex::default() }
    }

    fn took(&self, method: &str, path: &str, answer: &Answer) -> Value {
        let path = path.split('?').next().unwrap();
        let body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        match self.api.check(&method.to_lowercase(), path, answer) {
            Ok(what) => drop(self.seen.lock().unwrap().insert(what)),
            Err(error) => panic!("{method} {path} {}: {error}\n{answer:?}", answer.status),
        }
        let code = body["code"].as_str();
        self.codes.lock().unwrap().extend(code.map(str::to_owned));
        body
    }

    /// Asks, and holds the answer against the description.
    async fn request(
        &self,
        edge: &str,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (u16, Value) {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.urls[edge]));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body).send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let answer = Answer { status, headers, body: response.bytes().await.unwrap().to_vec() };
        (status, self.took(method.as_str(), path, &answer))
    }

    async fn check(&self, edge: &str, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        self.request(edge, Method::GET, path, headers, Vec::new()).await
    }

    async fn get(&self, edge: &str, path: &str) -> u16 {
        self.check(edge, path, &[]).await.0
    }

    async fn verify(&self, edge: &str, question: &Value) -> (u16, Value) {
        let kind = [("content-type", "application/json")];
        self.request(edge, Method::POST, "/v1/verify", &kind, question.to_string().into_bytes()).await
    }

    pub async fn ask(&self, edge: &str, key: &str) -> (u16, Value) {
        let shown = format!("Bearer {key}");
        self.check(edge, "/v1/check", &[("authorization", &shown)]).await
    }

    pub async fn accepted(&self, edge: &str, key: &str) {
        let (status, said) = self.ask(edge, key).await;
        assert_eq!(status, 200, "{said}");
    }

    pub async fn until_refused(&self, edge: &str, key: &str, code: &str) {
        poll(code, async || self.ask(edge, key).await.1["code"] == code).await;
        let (status, said) = self.verify(edge, &json!({ "key": key })).await;
        assert_eq!((status, said["code"].as_str()), (200, Some(code)));
        let (below, _) = self.check(edge, "/v1/check/a/b", &[("x-api-key", key)]).await;
        assert_eq!((below, self.get(edge, "/readyz").await), (503, 503));
        self.get(edge, "/v1/info").await;
    }

    /// Asks everything that a fresh edge can be asked.
    pub async fn every_answer(&self, good: &str, ended: &[(&str, &String)], bound: &str) {
        for (code, key) in ended {
            poll(code, async || self.ask("e1", key).await.1["code"] == *code).await;
            assert_eq!(self.verify("e1", &json!({ "key": key, "probe": true })).await.1["code"], *code);
        }
        let unknown = keywheel_token::mint(&keywheel_token::Brand::default());
        let cases: [(&[(&str, &str)], &str); 7] = [
            (&[("x-api-key", good)], "accepted"),
            (&[], "no_credential"),
            (&[("x-api-key", good), ("authorization", "Bearer x")], "doubled_credential"),
            (&[("x-api-key", "kw_live_nonsense")], "malformed"),
            (&[("x-api-key", unknown.text.expose())], "unknown"),
            (&[("x-api-key", good), ("x-keywheel-require-scope", "admin")], "insufficient_scope"),
            (&[("x-api-key", bound)], "forbidden_address"),
        ];
        for path in ["/v1/check", "/v1/check/any/path?scope=read"] {
            for (headers, wanted) in cases {
                // The body of an accepted one is empty.
                let (_, said) = self.check("e1", path, headers).await;
                assert_eq!(said["code"].as_str().unwrap_or("accepted"), wanted, "{path}");
            }
        }
        for method in
            [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::PATCH]
        {
            self.request("e1", method, "/v1/check/x", &[("x-api-key", good)], b"ignored".to_vec()).await;
        }
        let (status, said) = self
            .verify("e1", &json!({ "key": good, "scopes": ["read"], "ip": "10.1.2.3", "probe": true }))
            .await;
        assert_eq!((status, &said["valid"]), (200, &json!(true)), "{said}");
        for bad in [json!([]), json!({}), json!({ "key": good, "colour": 1 }), json!({ "key": 7 })] {
            assert_eq!(self.verify("e1", &bad).await.0, 400, "{bad}");
        }
        assert_eq!(self.verify("e1", &json!({ "key": "x".repeat(17_000) })).await.0, 413);
        for (path, status) in
            [("/livez", 200), ("/readyz", 200), ("/v1/info", 200), ("/metrics", 200), ("/v2/check", 404)]
        {
            assert_eq!(self.get("e1", path).await, status, "{path}");
        }
        for (method, path) in [
            (Method::GET, "/v1/verify"),
            (Method::POST, "/livez"),
            (Method::POST, "/readyz"),
            (Method::PUT, "/v1/info"),
            (Method::DELETE, "/metrics"),
        ] {
            assert_eq!(self.request("e1", method, path, &[], Vec::new()).await.0, 405, "{path}");
        }
        self.too_slow().await;
    }

    /// A body that never comes.
    async fn too_slow(&self) {
        let address = self.urls["e1"].trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"POST /v1/verify HTTP/1.1\r\nhost: e1\r\ncontent-length: 9\r\n\r\n{")
            .await
            .unwrap();
        let mut answer = vec![0; 4096];
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut answer)).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&answer[..read]).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut headers = reqwest::header::HeaderMap::new();
        for (name, value) in head.lines().skip(1).filter_map(|line| line.split_once(": ")) {
            let name: reqwest::header::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        assert!(head.starts_with("HTTP/1.1 408"), "{head}");
        self.took("post", "/v1/verify", &Answer { status: 408, headers, body: body.as_bytes().to_vec() });
    }

    /// Whatever the description promises has been answered once.
    pub fn all_was_seen(&self) {
        let (seen, codes) = (self.seen.lock().unwrap().clone(), self.codes.lock().unwrap().clone());
        let promised = self.api.promised();
        assert_eq!(promised.difference(&seen).collect::<Vec<_>>(), Vec::<&String>::new(), "never answered");
        assert_eq!(
            self.api.codes().difference(&codes).collect::<Vec<_>>(),
            Vec::<&String>::new(),
            "never said"
        );
    }
}
