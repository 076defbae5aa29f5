//! A service that verifies keys by itself, on a whole stack: `services/edge/examples/inside.rs` with the configuration
//! that `keywheel edge add` writes. Its key's life from issue to quiet retirement passes through that service alone.
#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

mod service;

use keywheel_domain::key::Cause;
use keywheel_domain::{Address, KeyState, KeyringId, Tenant, Version};
use keywheel_tests::operator::word;
use keywheel_tests::stack::{keywheel, nats_server};
use keywheel_tests::{Operator, Stack, StackOptions};
use keywheel_token::KeyText;
use keywheel_wire::subject::Verb;
use reqwest::StatusCode;
use serde_json::{Value, json};
use service::Service;
use std::path::Path;

struct Site {
    operator: Operator,
    service: Service,
    ring: KeyringId,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_verifies_keys_by_itself() {
    if nats_server().is_none() {
        eprintln!("KEYWHEEL_TEST_NATS names no nats-server: not tested");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut options = StackOptions::for_test(&folder.path().join("home")).unwrap();
    options.edges = 1;
    let stack = tokio::task::block_in_place(|| Stack::start(&options)).unwrap();
    let operator = Operator::connect(&stack.context).await.unwrap();
    let tenant = Address::Tenant(Tenant::parse("acme").unwrap());
    operator.policy(&tenant, json!({ "overlap_min": "1s", "quiet": "2s" })).await.unwrap();
    let service = Service::start(&options.binary, stack.home()).await;
    let site = Site { operator, service, ring: KeyringId::parse("acme/notes").unwrap() };

    let first = site.issue(&["read", "write"]).await;
    site.answers(&first).await;
    site.refusals(&first).await;
    site.retires(&first).await;
    assert!(site.service.stop().contains("everything reported: true"));
    tokio::task::block_in_place(|| stack.stop()).unwrap();
    tokio::task::block_in_place(|| is_somebody_elses(&options));
}

/// `up` does not start it, but knows it: it keeps its credential, stands among the edges, and can be removed.
fn is_somebody_elses(options: &StackOptions) {
    let stack = Stack::start(options).unwrap();
    assert!(stack.pid("edge-e1").is_ok() && stack.pid("edge-notes").is_err());
    assert_eq!(stack.context.edges.iter().map(|edge| edge.id.as_str()).collect::<Vec<_>>(), ["e1"]);
    let listed = operator_says(options, stack.home(), &["edges", "--output", "json"]);
    assert!(listed.contains("\"notes\""), "{listed}");
    let seed = stack.home().join("credentials/edge-notes.nk");
    assert!(seed.is_file());
    operator_says(options, stack.home(), &["edge", "remove", "notes"]);
    assert!(!seed.exists());
    stack.stop().unwrap();
}

fn operator_says(options: &StackOptions, home: &Path, arguments: &[&str]) -> String {
    let ended = keywheel(&options.binary).args(arguments).env("KEYWHEEL_HOME", home).output().unwrap();
    assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

impl Site {
    async fn issue(&self, scopes: &[&str]) -> KeyText {
        let fields = json!({ "recipient": self.operator.recipient(), "scopes": scopes });
        let address = Address::Keyring(self.ring.clone());
        let outcome = self.operator.accepted(&address, Verb::Issue, fields).await.unwrap();
        self.operator.delivered(&self.ring, Version(outcome.version.unwrap())).await.unwrap()
    }

    async fn answers(&self, key: &KeyText) {
        let (status, _, text) = self.service.get("/notes", &[("x-api-key", key.expose())]).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "notes of acme/notes, version 1\n"));
        let bearer = format!("Bearer {}", key.expose());
        let (status, _, text) = self.service.post("/notes", &[("authorization", &bearer)]).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "written for acme/notes\n"));
        assert_eq!(self.service.get("/readyz", &[]).await.2, "ready");
    }

    /// The same refusals as an edge's, of a reader, a stranger, somebody without a key and somebody with two.
    async fn refusals(&self, key: &KeyText) {
        let reader = KeyringId::parse("acme/reader").unwrap();
        let fields = json!({ "recipient": self.operator.recipient(), "scopes": ["read"] });
        self.operator.accepted(&Address::Keyring(reader.clone()), Verb::Issue, fields).await.unwrap();
        let reads = self.operator.delivered(&reader, Version(1)).await.unwrap();
        assert_eq!(self.service.get("/notes", &[("x-api-key", reads.expose())]).await.0, StatusCode::OK);
        for (lines, status, code) in [
            (&[("x-api-key", reads.expose())][..], StatusCode::FORBIDDEN, "insufficient_scope"),
            (&[("x-api-key", "kw_live_x")], StatusCode::UNAUTHORIZED, "malformed"),
            (&[("authorization", "Bearer a-strangers-key")], StatusCode::UNAUTHORIZED, "malformed"),
            (&[], StatusCode::UNAUTHORIZED, "no_credential"),
            (
                &[("x-api-key", key.expose()), ("x-api-key", key.expose())],
                StatusCode::UNAUTHORIZED,
                "doubled_credential",
            ),
        ] {
            let (got, headers, text) = self.service.post("/notes", lines).await;
            let document: Value = serde_json::from_str(&text).unwrap();
            assert_eq!((got, document["code"].as_str()), (status, Some(code)), "{text}");
            assert_eq!(headers["x-keywheel-error"], code);
            assert_eq!(headers["content-type"], "application/problem+json");
            assert!(headers.contains_key("www-authenticate"));
        }
    }

    /// Nobody but the service has seen either key in use: its reports alone make the proof.
    async fn retires(&self, first: &KeyText) {
        let version = self.operator.rotate(&self.ring).await.unwrap();
        let second = self.operator.delivered(&self.ring, version).await.unwrap();
        for key in [first, &second] {
            assert_eq!(self.service.get("/notes", &[("x-api-key", key.expose())]).await.0, StatusCode::OK);
        }
        let retired = |state: &keywheel_domain::State| word(state, Version(1)) == "retired";
        let state = self.operator.until(&self.ring, "retired", retired).await.unwrap();
        let KeyState::Retired { cause, .. } = &state.keys[&Version(1)].state else { panic!("{state:?}") };
        assert_eq!(*cause, Cause::Superseded);
        assert!(state.keys[&Version(1)].seen.is_some() && state.keys[&version].seen.is_some(), "{state:?}");
        let (status, headers, _) = self.service.until_refused(first.expose()).await;
        assert_eq!(
            (status, &headers["x-keywheel-error"]),
            (StatusCode::UNAUTHORIZED, &"retired".parse().unwrap())
        );
        let (status, _, text) = self.service.get("/notes", &[("x-api-key", second.expose())]).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "notes of acme/notes, version 2\n"));
    }
}
