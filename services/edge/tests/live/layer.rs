//! The layer before the routes of a service, and the extractor behind it.

use crate::process::config;
use crate::{begin, reports};
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use axum::routing::{get, post};
use axum::{Router, extract::ConnectInfo};
use keywheel_domain::KeySpec;
use keywheel_edge::{AuthorizeLayer, Identity, Verifier};
use std::net::SocketAddr;
use std::time::Duration;
use tower::ServiceExt as _;

const PATIENCE: Duration = Duration::from_secs(20);

fn routes(verifier: &Verifier) -> Router {
    let key = AuthorizeLayer::new(verifier)
        .require("read")
        .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    let write = key.clone().require("write");
    Router::new()
        .route("/", get(async |whose: Identity| whose.client().to_owned()))
        .route("/write", post(async |whose: Identity| whose.version.0.to_string()).layer(write))
        .route("/headers", get(async |headers: HeaderMap| format!("{headers:?}")))
        .layer(key)
        .route("/bare", get(async |whose: Identity| whose.client().to_owned()))
}

struct Asker(Router);

impl Asker {
    /// Status and body; a refusal's is its code.
    async fn ask(&self, line: &str, key: &str, peer: Option<&str>, forwarded: &str) -> (StatusCode, String) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(path).header("x-api-key", key);
        if !forwarded.is_empty() {
            request = request.header("x-forwarded-for", forwarded);
        }
        let mut request = request.body(Body::empty()).unwrap();
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo::<SocketAddr>(peer.parse().unwrap()));
        }
        let (head, body) = self.0.clone().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(to_bytes(body, 4096).await.unwrap().to_vec()).unwrap();
        let code = head.headers.get("x-keywheel-error").map(|code| code.to_str().unwrap().to_owned());
        (head.status, code.unwrap_or(text))
    }
}

#[tokio::test]
async fn a_layer_lets_nobody_through_without_a_good_key_and_counts_a_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some((server, admin, mut history)) = begin(folder.path()).await else { return };
    history.add_edge().await;
    let spec = |scopes: &[&str], cidrs: &[&str]| KeySpec {
        scopes: scopes.iter().map(ToString::to_string).collect(),
        cidrs: cidrs.iter().map(ToString::to_string).collect(),
        ..KeySpec::default()
    };
    let writes = history.issue_with("writes", spec(&["read", "write"], &[])).await;
    let reads = history.issue_with("reads", spec(&["read"], &[])).await;
    let bound = history.issue_with("bound", spec(&["read"], &["10.0.0.0/8"])).await;
    let verifier = Verifier::open(config(&server, folder.path(), "5s")).await.unwrap();
    verifier.ready(PATIENCE).await.unwrap();
    let asker = Asker(routes(&verifier));

    let (near, proxy, far) = (Some("10.1.2.3:1"), Some("127.0.0.1:1"), Some("192.0.2.1:1"));
    let ok = |text: &str| (StatusCode::OK, text.to_owned());
    let no = |status, code: &str| (status, code.to_owned());
    for (line, key, peer, forwarded, expected) in [
        ("GET /", &writes, None, "", ok("writes")),
        ("POST /write", &writes, None, "", ok("1")),
        ("GET /", &reads, None, "", ok("reads")),
        ("POST /write", &reads, None, "", no(StatusCode::FORBIDDEN, "insufficient_scope")),
        ("GET /", &bound, None, "", no(StatusCode::FORBIDDEN, "forbidden_address")),
        ("GET /", &bound, far, "", no(StatusCode::FORBIDDEN, "forbidden_address")),
        ("GET /", &bound, far, "10.1.2.3", no(StatusCode::FORBIDDEN, "forbidden_address")),
        ("GET /", &bound, near, "", ok("bound")),
        ("GET /", &bound, proxy, "10.1.2.3", ok("bound")),
        ("GET /", &"kw_live_x".to_owned(), None, "", no(StatusCode::UNAUTHORIZED, "malformed")),
        ("GET /bare", &writes, None, "", no(StatusCode::INTERNAL_SERVER_ERROR, "unguarded")),
    ] {
        let got = asker.ask(line, key, peer, forwarded).await;
        assert_eq!(got, expected, "{line} from {peer:?} {forwarded}");
    }
    let (_, headers) = asker.ask("GET /headers", &writes, None, "").await;
    assert!(headers.contains("x-api-key") && !headers.contains(&writes), "{headers}");

    assert!(verifier.close().await);
    let uses: Vec<_> = reports(&admin).await.into_iter().flat_map(|report| report.uses).collect();
    let sum = |client| uses.iter().filter(|each| each.client == client).map(|each| each.uses).sum::<u64>();
    // What the outer layer lets through and the inner one does not was shown all the same.
    assert_eq!(["writes", "reads", "bound"].map(sum), [3, 2, 2], "{uses:?}");
}
