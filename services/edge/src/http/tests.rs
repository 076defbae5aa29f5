//! The contract's page on HTTP, asked through the router without a socket.

use super::*;
use crate::scene::{DEADLINE, EDGE, FOREIGN, Scene};
use crate::table::Clocks;
use http_body_util::{BodyExt as _, Full};
use hyper::StatusCode;
use keywheel_bus::log::LogHead;
use keywheel_domain::{At, EdgeId, Span};
use keywheel_table::fold::Head;
use keywheel_wire::text::{Id, moment};
use serde_json::{Value, json};
use std::cell::Cell;

thread_local! {
    static BOOT: Cell<u64> = const { Cell::new(0) };
}

/// An edge without a bus, its table filled by hand.
pub(crate) struct Site {
    /// What is in the table.
    pub scene: Scene,
    /// What answers.
    pub app: App,
}

impl Site {
    pub fn new() -> Self {
        BOOT.set(0);
        let clocks = Clocks {
            boot_ms: || BOOT.with(Cell::get),
            wall_ms: || 1_800_000_000_000 + BOOT.with(Cell::get),
            machine_boot: "b".to_owned(),
        };
        let edge = EdgeId::parse(EDGE).unwrap();
        let app = App {
            table: Arc::new(Table::new(edge.clone(), Span::secs(15), clocks)),
            metrics: Arc::default(),
            brand: Arc::default(),
            trusted_proxies: Arc::new(["127.0.0.1/32".parse().unwrap()]),
            origin: Arc::new(Origin { edge, boot: Id(1), version: "0.0.0" }),
        };
        Self { scene: Scene::new(), app }
    }

    /// With a table that is fresh.
    pub fn fresh() -> Self {
        let site = Self::new();
        site.refresh();
        site
    }

    fn refresh(&self) {
        let head = Head { watermark: 5, ..Head::default() };
        self.app.table.apply(&self.scene.states, head, Some(At(7)));
        let log = LogHead { seq: 5, created: At(7) };
        self.app.table.prove(self.app.table.instant(), 5, log).unwrap();
    }

    /// With a table that is stale by a minute.
    pub fn stale() -> Self {
        let site = Self::fresh();
        BOOT.set(60_000);
        site
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Got {
        self.send_from(Peer::At("127.0.0.1".parse().unwrap()), request).await
    }

    async fn send_from(&self, peer: Peer, request: Request<Full<Bytes>>) -> Got {
        let (head, body) = answer(&self.app, peer, request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Got { status: head.status, headers: head.headers, text: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn check(&self, lines: &[(&str, &str)]) -> Got {
        self.get("/v1/check", lines).await
    }

    async fn get(&self, path: &str, lines: &[(&str, &str)]) -> Got {
        let mut request = Request::get(path);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        self.send(request.body(Full::default()).unwrap()).await
    }

    async fn verify(&self, body: impl Into<Bytes>) -> Got {
        self.send(Request::post("/v1/verify").body(Full::new(body.into())).unwrap()).await
    }
}

struct Got {
    status: StatusCode,
    headers: hyper::HeaderMap,
    text: String,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

#[tokio::test]
async fn an_accepted_key_is_answered_with_who_it_is_and_nothing_else() {
    let site = Site::fresh();
    let got = site.check(&[("x-api-key", site.scene.key("active"))]).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::OK, ""));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-keywheel-tenant", "t"),
        ("x-keywheel-client", "active"),
        ("x-keywheel-kid", site.scene.row("active").kid().as_str()),
        ("x-keywheel-key-version", "1"),
        ("x-keywheel-key-state", "active"),
        ("x-keywheel-scopes", "read write"),
    ] {
        assert_eq!(got.header(name), Some(value), "{name}");
    }
    assert_eq!(got.header("x-keywheel-retires-at"), None);
    assert_eq!(got.header("x-keywheel-stale-age"), None);
    let got = site.check(&[("authorization", &format!("bearer {}", site.scene.key("retiring")))]).await;
    assert_eq!(got.header("x-keywheel-retires-at"), Some(moment(At(DEADLINE)).as_str()));
}

#[tokio::test]
async fn any_method_on_any_path_below_check_is_answered() {
    let site = Site::fresh();
    for (method, path) in [
        ("GET", "/v1/check/"),
        ("HEAD", "/v1/check"),
        ("POST", "/v1/check/orders/7?x=1"),
        ("DELETE", "/v1/check/a%zz//b"),
        ("PROPFIND", "/v1/check/dav"),
        ("OPTIONS", "/v1/check"),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("x-api-key", site.scene.key("active")).body(Full::from("ignored"));
        assert_eq!(site.send(request.unwrap()).await.status, StatusCode::OK, "{method} {path}");
    }
}

#[tokio::test]
async fn an_accepted_key_without_scopes_has_the_header_all_the_same() {
    let mut site = Site::new();
    site.scene.unscope("active");
    site.refresh();
    let got = site.check(&[("x-api-key", site.scene.key("active"))]).await;
    assert_eq!((got.status, got.header("x-keywheel-scopes")), (StatusCode::OK, Some("")));
    let got = site.get("/v1/check?scope=read", &[("x-api-key", site.scene.key("active"))]).await;
    assert_eq!(got.status, StatusCode::FORBIDDEN);
}

/// Every refusal with its status, its code and its challenge.
#[tokio::test]
async fn a_refusal_has_its_status_its_code_and_its_challenge() {
    const CHALLENGE: &str = r#"Bearer realm="keywheel""#;
    let site = Site::fresh();
    let with = |error: &str| format!("{CHALLENGE}, error=\"{error}\"");
    let token = with("invalid_token");
    let active = site.scene.key("active");
    let scope = ("x-keywheel-require-scope", "admin");
    for (lines, status, code, challenge) in [
        (vec![], 401, "no_credential", Some(CHALLENGE.to_owned())),
        (vec![("x-api-key", active), ("x-api-key", active)], 401, "doubled_credential", Some(token.clone())),
        (vec![("x-api-key", "kw_live_x")], 401, "malformed", Some(token.clone())),
        (vec![("x-api-key", FOREIGN)], 401, "malformed", Some(token.clone())),
        (vec![("x-api-key", site.scene.key("unknown"))], 401, "unknown", Some(token.clone())),
        (vec![("x-api-key", site.scene.key("retired"))], 401, "retired", Some(token.clone())),
        (vec![("x-api-key", site.scene.key("revoked"))], 401, "revoked", Some(token)),
        (vec![("x-api-key", active), scope], 403, "insufficient_scope", Some(with("insufficient_scope"))),
        (vec![("x-api-key", site.scene.key("bound"))], 403, "forbidden_address", None),
    ] {
        let got = site.check(&lines).await;
        assert_eq!(got.status.as_u16(), status, "{code}");
        assert_eq!(got.header("x-keywheel-error"), Some(code));
        assert_eq!(got.header("www-authenticate"), challenge.as_deref(), "{code}");
        assert_eq!(got.header("content-type"), Some("application/problem+json"));
        assert_eq!(got.header("cache-control"), Some("no-store"));
        assert_eq!((&got.json()["status"], &got.json()["code"]), (&json!(status), &json!(code)));
        assert_eq!(got.header("x-keywheel-tenant"), None);
        assert!(!got.text.contains("kw_live_"), "{}", got.text);
    }
}

#[tokio::test]
async fn an_edge_that_cannot_say_says_so() {
    let unsynced = Site::new();
    let got = unsynced.check(&[("x-api-key", unsynced.scene.key("active"))]).await;
    assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(got.header("x-keywheel-error"), Some("not_ready"));

    let site = Site::stale();
    for (name, status, error) in [
        ("active", 200, None),
        ("strict", 503, Some("stale")),
        ("unknown", 503, Some("stale")),
        ("retired", 503, Some("stale")),
        ("revoked", 401, Some("revoked")),
    ] {
        let got = site.check(&[("x-api-key", site.scene.key(name))]).await;
        assert_eq!((got.status.as_u16(), got.header("x-keywheel-error")), (status, error), "{name}");
        assert_eq!(got.header("retry-after"), (status == 503).then_some("1"), "{name}");
        assert_eq!(got.header("x-keywheel-stale-age"), Some("60"), "{name}");
    }
}

#[tokio::test]
async fn required_scopes_add_up_from_everywhere() {
    let site = Site::fresh();
    let key = ("x-api-key", site.scene.key("active"));
    let require = "x-keywheel-require-scope";
    for (path, lines, status) in [
        ("/v1/check?scope=read", vec![key], 200),
        ("/v1/check?scope=read+write", vec![key], 200),
        ("/v1/check?scope=read%2Cwrite&x=y", vec![key], 200),
        ("/v1/check?scope=", vec![key], 200),
        ("/v1/check?scope=read&scope=admin", vec![key], 403),
        ("/v1/check", vec![key, (require, "read, write")], 200),
        ("/v1/check", vec![key, (require, "read admin")], 403),
        ("/v1/check", vec![key, (require, "read"), (require, "admin")], 403),
        ("/v1/check?scope=admin", vec![key, (require, "read")], 403),
    ] {
        assert_eq!(site.get(path, &lines).await.status.as_u16(), status, "{path} {lines:?}");
    }
}

#[tokio::test]
async fn a_bound_key_is_accepted_from_its_range_as_the_gateway_tells() {
    let site = Site::fresh();
    let key = ("x-api-key", site.scene.key("bound"));
    for (forwarded, status) in [("10.1.1.1", 200), ("6.6.6.6, 10.1.1.1", 200), ("10.1.1.1, 6.6.6.6", 403)] {
        let got = site.check(&[key, ("x-forwarded-for", forwarded)]).await;
        assert_eq!(got.status.as_u16(), status, "{forwarded}");
    }
    for (peer, status) in [(Peer::At("192.0.2.1".parse().unwrap()), 403), (Peer::Local, 200)] {
        let request = Request::get("/v1/check").header(key.0, key.1).header("x-forwarded-for", "10.1.1.1");
        let got = site.send_from(peer, request.body(Full::default()).unwrap()).await;
        assert_eq!(got.status.as_u16(), status, "{peer:?}");
    }
}

#[tokio::test]
async fn programs_are_answered_in_json() {
    let site = Site::fresh();
    let ask = async |name: &str, rest: Value| {
        let mut question = json!({ "key": site.scene.key(name) });
        question.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        let got = site.verify(question.to_string()).await;
        assert_eq!((got.status, got.header("cache-control")), (StatusCode::OK, Some("no-store")));
        got.json()
    };
    let kid = site.scene.row("retiring").kid().to_string();
    assert_eq!(
        ask("retiring", json!({ "scopes": ["read"], "ip": null, "probe": true })).await,
        json!({
            "valid": true, "tenant": "t", "client": "retiring", "kid": kid, "version": 1, "state": "retiring",
            "scopes": ["read", "write"], "expires_at": null, "retires_at": moment(At(DEADLINE)),
        })
    );
    for (name, rest, code) in [
        ("unknown", json!({}), "unknown"),
        ("retired", json!({}), "retired"),
        ("revoked", json!({}), "revoked"),
        ("active", json!({ "scopes": ["admin"] }), "insufficient_scope"),
        ("bound", json!({ "ip": "11.0.0.1" }), "forbidden_address"),
        ("bound", json!({}), "forbidden_address"),
    ] {
        assert_eq!(ask(name, rest).await, json!({ "valid": false, "code": code }), "{name}");
    }
    assert_eq!(ask("bound", json!({ "ip": "10.0.0.1" })).await["valid"], json!(true));
    let unsynced = Site::new().verify(json!({ "key": "kw_live_x" }).to_string()).await;
    assert_eq!(unsynced.json(), json!({ "valid": false, "code": "not_ready" }));
    let stale = Site::stale();
    let got = stale.verify(json!({ "key": stale.scene.key("strict") }).to_string()).await;
    assert_eq!(got.json(), json!({ "valid": false, "code": "stale" }));
}

#[tokio::test]
async fn a_question_that_is_none_names_its_field_and_repeats_nothing() {
    let site = Site::fresh();
    for (body, field) in [
        (json!({ "key": "k", "scope": [] }).to_string(), "`scope`"),
        (json!({ "scopes": [] }).to_string(), "`key`"),
        (json!({ "key": 5 }).to_string(), "`key`"),
        (json!({ "key": "k", "scopes": "secret-in-the-wrong-place" }).to_string(), "`scopes`"),
        (json!({ "key": "k", "ip": "secret-in-the-wrong-place" }).to_string(), "`ip`"),
        (json!({ "key": "k", "probe": "secret-in-the-wrong-place" }).to_string(), "`probe`"),
        (json!("secret-in-the-wrong-place").to_string(), "JSON object"),
        ("{\"key\":\"k\"".to_owned(), "JSON object"),
        ("{\"key\":\"k\"} x".to_owned(), "JSON object"),
        (String::new(), "JSON object"),
    ] {
        let got = site.verify(body.clone()).await;
        assert_eq!(got.status, StatusCode::BAD_REQUEST, "{body}");
        let detail = got.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(field), "{body}: {detail}");
        assert!(!got.text.contains("wrong-place"), "{detail}");
    }
    let large = json!({ "key": "k".repeat(17 * 1024) }).to_string();
    assert_eq!(site.verify(large).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn the_edge_says_how_it_stands() {
    let (fresh, unsynced) = (Site::fresh(), Site::new());
    let info = fresh.get("/v1/info", &[]).await.json();
    assert_eq!(
        (&info["id"], &info["watermark"], &info["serving"], &info["lease"]),
        (&json!("e1"), &json!(5), &json!(true), &json!({ "fresh": true, "age_ms": 0, "length_ms": 15_000 }))
    );
    assert_eq!((info["chain"].as_str().unwrap().len(), &info["keys"]), (64, &json!(8)));
    let info = unsynced.get("/v1/info", &[]).await.json();
    assert_eq!((&info["serving"], &info["lease"]["age_ms"]), (&json!(false), &Value::Null));

    assert_eq!(fresh.get("/readyz", &[]).await.status, StatusCode::OK);
    let got = unsynced.get("/readyz", &[]).await;
    assert_eq!((got.status.as_u16(), &got.json()["reason"]), (503, &json!("not_synced")));
    assert_eq!(unsynced.get("/livez", &[]).await.status, StatusCode::OK);
    fresh.app.table.close();
    assert_eq!(fresh.get("/readyz", &[]).await.json()["reason"], json!("stopping"));
    assert_eq!(Site::stale().get("/readyz", &[]).await.json()["reason"], json!("stale"));
}

#[tokio::test]
async fn metrics_name_reasons_and_no_keys() {
    let site = Site::fresh();
    let key = site.scene.key("active");
    site.check(&[("x-api-key", key)]).await;
    site.check(&[]).await;
    site.verify(json!({ "key": "kw_live_x" }).to_string()).await;
    let got = site.get("/metrics", &[]).await;
    assert!(got.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    for line in [
        "keywheel_edge_verdicts_total{endpoint=\"check\",outcome=\"accepted\",reason=\"ok\"} 1",
        "keywheel_edge_verdicts_total{endpoint=\"check\",outcome=\"refused\",reason=\"no_credential\"} 1",
        "keywheel_edge_verdicts_total{endpoint=\"verify\",outcome=\"refused\",reason=\"malformed\"} 1",
        "keywheel_edge_watermark 5",
        "keywheel_edge_lag 0",
        "keywheel_edge_lease_age_seconds 0",
        "keywheel_edge_keys 8",
        "keywheel_edge_check_duration_seconds_count{endpoint=\"check\"} 2",
    ] {
        assert!(got.text.contains(line), "{line} is not in\n{}", got.text);
    }
    assert!(!got.text.contains(key) && !got.text.contains(site.scene.row("active").kid().as_str()));
}

#[tokio::test]
async fn other_paths_and_methods_are_problems_too() {
    let site = Site::fresh();
    let got = site.get("/v1/verify", &[]).await;
    assert_eq!((got.status.as_u16(), got.header("x-keywheel-error")), (405, Some("method_not_allowed")));
    assert_eq!(got.header("allow"), Some("POST"));
    for path in ["/", "/v1/checks", "/v1"] {
        let got = site.get(path, &[]).await;
        assert_eq!((got.status.as_u16(), got.header("x-keywheel-error")), (404, Some("not_found")), "{path}");
    }
}
