//! What every gateway with its shipped configuration keeps.

use crate::site::{Got, Site, send};
use keywheel_tests::gateway::Kind;
use keywheel_token::{Brand, mint};
use nix::sys::signal::Signal;
use reqwest::Method;

const IDENTITY: [&str; 8] = [
    "x-keywheel-tenant",
    "x-keywheel-client",
    "x-keywheel-kid",
    "x-keywheel-key-version",
    "x-keywheel-key-state",
    "x-keywheel-scopes",
    "x-keywheel-retires-at",
    "x-keywheel-stale-age",
];

/// A well-formed key that nobody has.
fn unknown() -> String {
    mint(&Brand::default()).text.expose().to_owned()
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// The service gets who it is, and not the key, wherever it was shown; other schemes are its own.
pub async fn identity(site: &Site) {
    site.until(&site.keys.revoked, "revoked", |got| got.status == 401).await;
    site.until(&site.keys.retired, "retired", |got| got.status == 401).await;
    let get = || site.request(Method::GET, "/");
    for request in [
        get().header("authorization", bearer(&site.keys.good)),
        get().header("authorization", format!("bearer  {}", site.keys.good)),
        get().header("x-api-key", &site.keys.good),
        get().header("x-api-key", &site.keys.good).header("authorization", "Basic dTpw"),
    ] {
        let basic = request.try_clone().unwrap().build().unwrap().headers().len() == 2;
        let arrived = send(request).await.arrived();
        for (name, value) in [
            ("x-keywheel-tenant", "acme"),
            ("x-keywheel-client", "web"),
            ("x-keywheel-kid", &site.keys.good[8..18]),
            ("x-keywheel-key-version", "1"),
            ("x-keywheel-key-state", "active"),
            ("x-keywheel-scopes", "orders:read orders:write"),
        ] {
            assert_eq!(arrived.all(name), [value], "{name} {arrived:?}");
        }
        // Nothing more: this key has no known end, and the edge is fresh.
        let ours = arrived.headers.iter().filter(|(name, _)| name.starts_with("x-keywheel-"));
        assert_eq!(ours.count(), 6, "{arrived:?}");
        assert!(!format!("{arrived:?}").contains(&site.keys.good[18..]), "{arrived:?}");
        assert_eq!(
            arrived.all("authorization"),
            if basic { vec!["Basic dTpw"] } else { vec![] },
            "{arrived:?}"
        );
    }
    let ending = site.get("/", &site.keys.ending).await.arrived();
    assert_eq!(ending.all("x-keywheel-key-state"), ["retiring"]);
    assert!(matches!(ending.all("x-keywheel-retires-at")[..], [end] if end.starts_with("20")), "{ending:?}");
    if site.kind == Kind::Envoy {
        let kid = format!("tenant=acme client=web kid={}", &site.keys.good[8..18]);
        let printed = || site.gateway.printed().contains(&kid);
        // The access log is written when it fills or after a second.
        for _ in 0..400 {
            if printed() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("{}", site.gateway.printed());
    }
}

/// What a client writes under our names never arrives, also where the edge has nothing to put in its place.
pub async fn forgery(site: &Site) {
    let mut request = site.request(Method::GET, "/").header("x-api-key", &site.keys.plain);
    for name in IDENTITY {
        request = request.header(name, "forged").header(name.to_uppercase(), "forged again");
    }
    request = request.header("x-keywheel-error", "forged").header("X_Keywheel_Tenant", "forged");
    let arrived = send(request).await.arrived();
    assert!(!format!("{arrived:?}").contains("forged"), "{arrived:?}");
    assert_eq!(arrived.all("x-keywheel-client"), ["plain"]);
    assert!(arrived.all("x-keywheel-scopes").iter().all(|scopes| scopes.is_empty()), "{arrived:?}");
}

fn assert_refused(site: &Site, got: &Got, status: u16, code: &str, error: &str) {
    assert_eq!((got.status, got.header("x-keywheel-error")), (status, Some(code)), "{got:?}");
    assert_eq!(got.header("content-type"), Some("application/problem+json"), "{got:?}");
    assert_eq!(got.header("cache-control"), Some("no-store"), "{got:?}");
    assert_eq!(got.code(), code, "{got:?}");
    let challenge = got.header("www-authenticate").unwrap_or_default();
    match error {
        "" => assert!(!challenge.contains("error="), "{got:?}"),
        error => assert!(challenge.contains(&format!("error=\"{error}\"")), "{got:?}"),
    }
    assert!(status != 401 || challenge.starts_with("Bearer realm="), "{got:?}");
    assert!(!got.body.contains(&site.keys.good[18..]));
}

/// Each refusal has its status, its code and its challenge, and nothing reaches the service.
pub async fn refusals(site: &Site) {
    let before = site.upstream.arrived();
    assert_refused(site, &send(site.request(Method::GET, "/")).await, 401, "no_credential", "");
    let unknown = unknown();
    for (key, code) in [
        ("kw_live_x", "malformed"),
        (&unknown, "unknown"),
        (&site.keys.retired, "retired"),
        (&site.keys.revoked, "revoked"),
    ] {
        assert_refused(site, &site.get("/", key).await, 401, code, "invalid_token");
    }
    let post = site.request(Method::POST, "/").header("x-api-key", &unknown).body("refused too");
    assert_refused(site, &send(post).await, 401, "unknown", "invalid_token");
    assert_eq!(site.upstream.arrived(), before);
}

/// A credential that was shown twice, or two of them, are refused however they are written.
pub async fn doubled(site: &Site) {
    let before = site.upstream.arrived();
    let good = &site.keys.good;
    let get = || site.request(Method::GET, "/");
    let twice = || get().header("authorization", bearer(good));
    for scheme in [bearer(good), "Basic dTpw".to_owned()] {
        let got = send(twice().header("authorization", scheme)).await;
        match site.kind {
            // It refuses two such headers by itself.
            Kind::Nginx => assert_eq!(got.status, 400, "{got:?}"),
            Kind::Caddy | Kind::Haproxy | Kind::Envoy => {
                assert_refused(site, &got, 401, "doubled_credential", "invalid_token");
            }
        }
    }
    for request in [
        get().header("x-api-key", good).header("authorization", bearer(good)),
        get().header("x-api-key", good).header("x-api-key", good),
        get().header("x-api-key", "bad").header("x-api-key", good),
        get().header("x-api-key", format!("bad,{good}")),
        get().header("authorization", format!("Bearer bad, Bearer {good}")),
    ] {
        assert_refused(site, &send(request).await, 401, "doubled_credential", "invalid_token");
    }
    assert_eq!(site.upstream.arrived(), before);
}

/// A route requires its scopes; what a client writes into its query or headers requires nothing and takes nothing away.
pub async fn scopes(site: &Site) {
    let (good, plain) = (&site.keys.good, &site.keys.plain);
    site.get("/orders/7", good).await.arrived();
    for path in ["/orders", "/orders/7?scope=", "/orders?x=1"] {
        assert_refused(site, &site.get(path, plain).await, 403, "insufficient_scope", "insufficient_scope");
    }
    let own = site.request(Method::GET, "/orders").header("x-api-key", plain);
    let got = send(own.header("x-keywheel-require-scope", "")).await;
    assert_refused(site, &got, 403, "insufficient_scope", "insufficient_scope");
    let arrived = site.get("/list?scope=admin&x=%20y", plain).await.arrived();
    assert_eq!(arrived.target, "/list?scope=admin&x=%20y");
    assert_eq!(site.get("/orders?scope=admin", good).await.arrived().target, "/orders?scope=admin");
}

/// Method, path, query and body arrive as they were sent.
pub async fn requests(site: &Site) {
    let body = "x".repeat(100_000);
    for (method, path) in [(Method::POST, "/a%2Fb?q=1"), (Method::PUT, "/orders/7"), (Method::PATCH, "/c")] {
        let request = site.request(method.clone(), path).header("authorization", bearer(&site.keys.good));
        let arrived = send(request.body(body.clone())).await.arrived();
        assert_eq!((arrived.method.as_str(), arrived.target.as_str()), (method.as_str(), path));
        assert_eq!(arrived.body.len(), body.len());
    }
    let head = site.request(Method::HEAD, "/").header("x-api-key", &site.keys.good);
    assert_eq!(send(head).await.status, 200);
    let delete = site.request(Method::DELETE, "/orders/7").header("x-api-key", &site.keys.plain);
    assert_eq!(send(delete).await.status, 403);
}

/// A key with ranges is judged by the client's own address, whatever the client says of it.
pub async fn addresses(site: &Site) {
    let ask = async |from: u8, forwarded: &str| {
        let request =
            site.request_from([127, 0, 0, from], Method::GET, "/").header("x-api-key", &site.keys.bound);
        let request =
            if forwarded.is_empty() { request } else { request.header("x-forwarded-for", forwarded) };
        send(request).await
    };
    assert_eq!(ask(2, "").await.arrived().all("x-keywheel-client"), ["bound"]);
    let arrived = ask(2, "127.0.0.9").await.arrived();
    let forwarded = arrived.all("x-forwarded-for").join(",");
    assert_eq!(forwarded.rsplit(',').next().map(str::trim), Some("127.0.0.2"), "{arrived:?}");
    assert_refused(site, &ask(3, "").await, 403, "forbidden_address", "");
    assert_refused(site, &ask(3, "127.0.0.2").await, 403, "forbidden_address", "");
}

/// The gateway keeps its connections to the edge.
pub async fn kept_connections(site: &Site) {
    let before = site.link.taken();
    for _ in 0..40 {
        site.get("/", &site.keys.good).await.arrived();
    }
    let opened = site.link.taken() - before;
    assert!(opened <= 4, "{opened} connections for 40 requests");
}

/// An edge that has lost the log goes on for what it knows and says its age; what it cannot say is 503, not 401 or 500.
pub async fn stale_edge(site: &Site) {
    site.stack.signal("nats", Signal::SIGSTOP).unwrap();
    let unknown = unknown();
    let got = site.until(&unknown, "stale", |got| got.status != 401).await;
    assert_refused(site, &got, 503, "stale", "");
    assert_eq!(got.header("retry-after"), Some("1"));
    let arrived = site.get("/", &site.keys.good).await.arrived();
    assert_eq!(arrived.all("x-keywheel-stale-age").len(), 1, "{arrived:?}");
    site.stack.signal("nats", Signal::SIGCONT).unwrap();
    site.until(&unknown, "fresh again", |got| got.status == 401).await;
}

/// No edge, no entry; and when it is back, entry.
pub async fn edge_away(site: &Site) {
    let before = site.upstream.arrived();
    site.link.cut();
    for key in [&site.keys.good, &site.keys.plain] {
        let got = site.get("/", key).await;
        let wanted = if site.kind == Kind::Caddy { 502 } else { 503 };
        assert_eq!(got.status, wanted, "{got:?}");
    }
    assert_eq!(site.upstream.arrived(), before);
    site.link.mend();
    site.until(&site.keys.good, "served again", |got| got.status == 200).await;
}
