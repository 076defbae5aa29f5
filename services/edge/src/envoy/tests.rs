//! What Envoy asks and is answered, over a real gRPC connection.

use crate::http::tests::Site;
use crate::listen::Listener;
use crate::place::{Mode, Place};
use crate::serve::{Bounds, Speaks, serve};
use envoy_types::ext_authz::v3::pb::{Address, CheckRequest, CheckResponse, HeaderValueOption, HttpResponse};
use envoy_types::pb::envoy::config::core::v3::{self as core, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::google::protobuf::value::Kind;
use keywheel_runtime::Shutdown;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

const PATIENCE: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_millis(100);

struct Envoy {
    site: Site,
    place: Place,
    client: AuthorizationClient<Channel>,
    stop: Shutdown,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

impl Envoy {
    async fn before(site: Site) -> Envoy {
        let listener = Listener::bind(&Place::parse("127.0.0.1:0").unwrap(), Mode::default()).await.unwrap();
        let (place, stop) = (listener.place().unwrap(), Shutdown::new());
        let bounds = Bounds { connections: 2, grace: GRACE, head_time: PATIENCE, drain: PATIENCE };
        tokio::spawn(serve(listener, Speaks::Grpc, site.app.clone(), bounds, stop.clone()));
        let client = AuthorizationClient::connect(format!("http://{place}")).await.unwrap();
        Envoy { site, place, client, stop }
    }

    async fn ask(&self, asked: Asked<'_>) -> CheckResponse {
        self.client.clone().check(asked.request()).await.unwrap().into_inner()
    }

    fn key(&self, name: &str) -> (&'static str, String) {
        ("x-api-key", self.site.scene.key(name).to_owned())
    }
}

#[derive(Default)]
struct Asked<'a> {
    headers: &'a [(&'static str, String)],
    raw: &'a [(&'static str, String)],
    scope: Option<&'a str>,
    source: &'a str,
    path: &'a str,
}

impl Asked<'_> {
    fn request(&self) -> CheckRequest {
        let pair = |(name, value): &(&str, String)| ((*name).to_owned(), value.clone());
        let raw = |(name, value): &(&str, String)| core::HeaderValue {
            key: (*name).to_owned(),
            raw_value: value.clone().into_bytes(),
            ..core::HeaderValue::default()
        };
        let http = HttpRequest {
            headers: self.headers.iter().map(pair).collect(),
            header_map: (!self.raw.is_empty())
                .then(|| core::HeaderMap { headers: self.raw.iter().map(raw).collect() }),
            path: self.path.to_owned(),
            ..HttpRequest::default()
        };
        let socket = SocketAddress { address: self.source.to_owned(), ..SocketAddress::default() };
        let address = core::Address { address: Some(Address::SocketAddress(socket)) };
        let source = Peer { address: Some(address), ..Peer::default() };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: (!self.source.is_empty()).then_some(source),
                request: Some(Request { http: Some(http), ..Request::default() }),
                context_extensions: self
                    .scope
                    .map(|scope| ("scope".to_owned(), scope.to_owned()))
                    .into_iter()
                    .collect(),
                ..AttributeContext::default()
            }),
        }
    }
}

fn header(name: &'static str, value: &str) -> (&'static str, String) {
    (name, value.to_owned())
}

/// Status, headers to set, and the body or the headers to remove.
fn read(response: &CheckResponse) -> (i32, BTreeMap<String, String>, String) {
    let set = |headers: &[HeaderValueOption]| {
        let headers = headers.iter().map(|option| option.header.clone().unwrap());
        headers.map(|header| (header.key, header.value)).collect()
    };
    match response.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => (200, set(&ok.headers), ok.headers_to_remove.join(" ")),
        HttpResponse::DeniedResponse(denied) => {
            (denied.status.unwrap().code, set(&denied.headers), denied.body.clone())
        }
        HttpResponse::ErrorResponse(_) => panic!("never sent"),
    }
}

#[tokio::test]
async fn an_accepted_key_is_taken_away_and_its_identity_set() {
    let envoy = Envoy::before(Site::fresh()).await;
    let key = envoy.site.scene.key("active").to_owned();
    let bearer = [
        header("authorization", &format!("Bearer {key}")),
        header(":path", "/"),
        header("x-keywheel-admin", "1"),
    ];
    let response = envoy.ask(Asked { headers: &bearer, ..Asked::default() }).await;
    let (status, set, removed) = read(&response);
    assert_eq!((status, response.status.as_ref().unwrap().code), (200, Code::Ok as i32));
    let kid = envoy.site.scene.row("active").kid();
    let identity = [
        ("x-keywheel-tenant", "t"),
        ("x-keywheel-client", "active"),
        ("x-keywheel-kid", kid.as_str()),
        ("x-keywheel-key-version", "1"),
        ("x-keywheel-key-state", "active"),
        ("x-keywheel-scopes", "read write"),
    ];
    let identity = identity.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(set, identity.into());
    assert_eq!(
        removed,
        "authorization x-api-key x-keywheel-admin x-keywheel-retires-at x-keywheel-stale-age"
    );
    let metadata = response.dynamic_metadata.unwrap().fields;
    assert_eq!(metadata["version"].kind, Some(Kind::NumberValue(1.0)));
    for (name, value) in [("tenant", "t"), ("client", "active"), ("kid", kid.as_str())] {
        assert_eq!(metadata[name].kind, Some(Kind::StringValue(value.to_owned())));
    }

    let other_scheme = [envoy.key("retiring"), header("authorization", "Basic dTpw")];
    let (_, set, removed) = read(&envoy.ask(Asked { headers: &other_scheme, ..Asked::default() }).await);
    assert!(set.contains_key("x-keywheel-retires-at"));
    assert_eq!(removed, "x-api-key x-keywheel-stale-age");
}

#[tokio::test]
async fn a_refusal_is_the_same_as_over_http() {
    let envoy = Envoy::before(Site::fresh()).await;
    let active = envoy.key("active");
    let joined = header("x-api-key", &format!("bad,{}", active.1));
    let scope =
        |scope| Asked { headers: std::slice::from_ref(&active), scope: Some(scope), ..Asked::default() };
    let with = |headers| Asked { headers, ..Asked::default() };
    for (asked, status, code) in [
        (with(&[]), 401, "no_credential"),
        (with(std::slice::from_ref(&joined)), 401, "doubled_credential"),
        (with(&[active.clone(), header("authorization", "Bearer x")]), 401, "doubled_credential"),
        (Asked { raw: &[active.clone(), active.clone()], ..Asked::default() }, 401, "doubled_credential"),
        (with(&[header("x-api-key", "kw_live_x")]), 401, "malformed"),
        (with(&[envoy.key("revoked")]), 401, "revoked"),
        (with(&[envoy.key("bound")]), 403, "forbidden_address"),
        (scope("read,admin"), 403, "insufficient_scope"),
    ] {
        let response = envoy.ask(asked).await;
        let (got, set, body) = read(&response);
        assert_eq!((got, set["x-keywheel-error"].as_str()), (status, code));
        assert_eq!(
            (set["content-type"].as_str(), set["cache-control"].as_str()),
            ("application/problem+json", "no-store")
        );
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{body}");
        assert_eq!(set.contains_key("www-authenticate"), code != "forbidden_address", "{code}");
        assert_ne!(response.status.unwrap().code, Code::Ok as i32);
        assert!(response.dynamic_metadata.is_none());
    }
    // What the client wrote into its query or headers requires nothing.
    let client = [active.clone(), header("x-keywheel-require-scope", "admin")];
    let asked =
        Asked { headers: &client, path: "/?scope=admin", scope: Some("read write"), ..Asked::default() };
    assert_eq!(read(&envoy.ask(asked).await).0, 200);
}

#[tokio::test]
async fn an_edge_that_cannot_say_says_so_to_envoy() {
    let envoy = Envoy::before(Site::new()).await;
    let headers = [envoy.key("active")];
    let response = envoy.ask(Asked { headers: &headers, ..Asked::default() }).await;
    let (status, set, _) = read(&response);
    assert_eq!(
        (status, set["retry-after"].as_str(), set["x-keywheel-error"].as_str()),
        (503, "1", "not_ready")
    );
    assert_eq!(response.status.unwrap().code, Code::Unavailable as i32);

    let envoy = Envoy::before(Site::stale()).await;
    let headers = [envoy.key("active")];
    let (status, set, _) = read(&envoy.ask(Asked { headers: &headers, ..Asked::default() }).await);
    assert_eq!((status, set["x-keywheel-stale-age"].as_str()), (200, "60"));
}

#[tokio::test]
async fn envoy_tells_where_the_client_is() {
    let envoy = Envoy::before(Site::fresh()).await;
    let bound = envoy.key("bound");
    let forwarded = |value| [bound.clone(), header("x-forwarded-for", value)];
    for (source, headers, status) in [
        ("10.1.1.1", std::slice::from_ref(&bound), 200),
        ("11.1.1.1", std::slice::from_ref(&bound), 403),
        ("11.1.1.1", &forwarded("10.1.1.1"), 403),
        ("127.0.0.1", &forwarded("10.1.1.1"), 200),
        ("127.0.0.1", &forwarded("10.1.1.1, 11.1.1.1"), 403),
        ("", std::slice::from_ref(&bound), 403),
    ] {
        let got = read(&envoy.ask(Asked { headers, source, ..Asked::default() }).await).0;
        assert_eq!(got, status, "{source} {headers:?}");
    }
}

#[tokio::test]
async fn where_all_places_are_taken_silent_ones_are_given_away_and_an_envoy_that_asks_keeps_its_own() {
    let mut envoy = Envoy::before(Site::fresh()).await;
    let Place::Port(address) = envoy.place else { unreachable!() };
    let key = [envoy.key("active")];
    let asked = || Asked { headers: &key, ..Asked::default() };
    for _ in 0..3 {
        // One that says nothing, and not even that it speaks HTTP/2.
        let mut silent = TcpStream::connect(address).await.unwrap();
        for _ in 0..20 {
            assert_eq!(read(&envoy.ask(asked()).await).0, 200);
            tokio::time::sleep(GRACE / 10).await;
        }
        let client = AuthorizationClient::connect(format!("http://{}", envoy.place));
        let other = tokio::time::timeout(PATIENCE, client).await.expect("a place").unwrap();
        let kept = std::mem::replace(&mut envoy.client, other);
        assert_eq!(read(&envoy.ask(asked()).await).0, 200);
        let closed = async { while silent.read(&mut [0; 64]).await.is_ok_and(|read| read > 0) {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("closed");
        envoy.client = kept;
    }
}
