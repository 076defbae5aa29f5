//! Clients, a gateway, an edge of a real stack with keys in each state, and a service.

use crate::upstream::{Arrived, Upstream};
use keywheel_domain::{Address, KeyringId, Version};
use keywheel_tests::gateway::{Gateway, Kind, Neighbours};
use keywheel_tests::link::Link;
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_wire::subject::Verb;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// The texts of the keys.
pub struct Keys {
    /// Has the scope `orders:read`.
    pub good: String,
    /// Has none.
    pub plain: String,
    /// May be used from 127.0.0.2 alone.
    pub bound: String,
    /// Retiring, at a time that is known.
    pub ending: String,
    pub retired: String,
    pub revoked: String,
}

/// All of it.
pub struct Site {
    pub kind: Kind,
    pub stack: Stack,
    pub gateway: Gateway,
    /// From the gateway to the edge.
    pub link: Link,
    pub upstream: Upstream,
    pub keys: Keys,
    _folder: TempDir,
}

/// What a client was answered.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Got {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap());
        assert!(values.next().is_none(), "{name} twice: {self:?}");
        first
    }

    /// What the service got; it must have got something.
    pub fn arrived(&self) -> Arrived {
        assert_eq!(self.status, StatusCode::OK, "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem document.
    pub fn code(&self) -> Value {
        let document: Value = serde_json::from_str(&self.body).unwrap_or(Value::Null);
        document["code"].clone()
    }
}

impl Site {
    pub async fn start(kind: Kind, program: &Path) -> Site {
        let folder = tempfile::tempdir().unwrap();
        let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
        options.edges = 1;
        let stack = tokio::task::block_in_place(|| Stack::start(&options).unwrap());
        let edge = &stack.context.edges[0];
        let place = match kind {
            Kind::Envoy => edge.grpc.clone().unwrap(),
            Kind::Nginx | Kind::Caddy | Kind::Haproxy => edge.http.trim_start_matches("http://").to_owned(),
        };
        let (link, upstream) = (Link::to(&place).unwrap(), Upstream::start().await);
        let neighbours = Neighbours { edge: link.address(), upstream: upstream.address };
        let keys = make_keys(&stack).await;
        let start = || Gateway::start(kind, program, folder.path(), &neighbours).unwrap();
        let gateway = tokio::task::block_in_place(start);
        Site { kind, stack, gateway, link, upstream, keys, _folder: folder }
    }

    /// A request through the gateway, from 127.0.0.1.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_from([127, 0, 0, 1], method, path)
    }

    /// The same from another address.
    pub fn request_from(&self, from: [u8; 4], method: Method, path: &str) -> RequestBuilder {
        let client = Client::builder().local_address(IpAddr::from(from)).no_proxy().timeout(PATIENCE).build();
        client.unwrap().request(method, format!("{}{path}", self.gateway.url()))
    }

    /// GET with a key in `X-API-Key`.
    pub async fn get(&self, path: &str, key: &str) -> Got {
        send(self.request(Method::GET, path).header("x-api-key", key)).await
    }

    /// Waits until a request is answered as wanted.
    pub async fn until(&self, key: &str, what: &str, wanted: impl Fn(&Got) -> bool) -> Got {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let got = self.get("/", key).await;
            if wanted(&got) {
                return got;
            }
            assert!(Instant::now() < deadline, "not {what}: {got:?}\n{}", self.gateway.printed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Sends it.
pub async fn send(request: RequestBuilder) -> Got {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Got { status, headers, body: response.text().await.unwrap() }
}

async fn make_keys(stack: &Stack) -> Keys {
    let operator = Operator::connect(&stack.context).await.unwrap();
    let issue = async |client: &str, fields: Value| {
        let keyring = KeyringId::parse(&format!("acme/{client}")).unwrap();
        let mut fields = fields;
        fields["recipient"] = operator.recipient().into();
        let outcome =
            operator.accepted(&Address::Keyring(keyring.clone()), Verb::Issue, fields).await.unwrap();
        let version = Version(outcome.version.unwrap());
        operator.delivered(&keyring, version).await.unwrap().expose().to_owned()
    };
    let change = async |client: &str, verb: Verb, fields: Value| {
        let keyring = KeyringId::parse(&format!("acme/{client}")).unwrap();
        operator.accepted(&Address::Keyring(keyring), verb, fields).await.unwrap();
    };
    let keys = Keys {
        good: issue("web", json!({ "scopes": ["orders:read", "orders:write"] })).await,
        plain: issue("plain", json!({})).await,
        bound: issue("bound", json!({ "cidrs": ["127.0.0.2/32"] })).await,
        ending: issue("ending", json!({})).await,
        retired: issue("old", json!({})).await,
        revoked: issue("leaked", json!({})).await,
    };
    let ending = KeyringId::parse("acme/ending").unwrap();
    let policy = json!({ "on_overlap_max": "retire" });
    operator.policy(&Address::Keyring(ending.clone()), policy).await.unwrap();
    let successor = operator.rotate(&ending).await.unwrap();
    operator.delivered(&ending, successor).await.unwrap();
    issue("old", json!({})).await;
    change("old", Verb::Retire, json!({ "version": 1 })).await;
    change("leaked", Verb::Revoke, json!({ "version": 1, "reason": "test" })).await;
    operator.bus.close().await;
    keys
}
