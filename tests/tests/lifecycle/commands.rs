//! Commands on the bus: refused with the field named, never blocking the queue.

use crate::scene::{Scene, address, keyring};
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::Verb;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn broken_commands_are_refused_by_name_and_block_nobody() {
    let scene = Scene::open().await;
    let refused = async |verb, fields, code: &str, named: &str| {
        let outcome = scene.operator.command(&address("odd"), verb, fields).await.unwrap();
        let rejection = outcome.rejection.unwrap();
        assert_eq!((outcome.outcome, rejection.code.as_str()), (Word::Rejected, code), "{rejection:?}");
        assert!(rejection.detail.contains(named), "{rejection:?} does not name {named}");
    };
    refused(Verb::Issue, json!({ "scopes": "all" }), "malformed", "scopes").await;
    refused(Verb::Issue, json!({ "colour": "red" }), "malformed", "colour").await;
    refused(Verb::Issue, json!({}), "no_recipient", "recipient").await;
    refused(Verb::Rotate, json!({ "recipient": scene.operator.recipient() }), "no_key", "issue").await;
    refused(Verb::Retire, json!({}), "malformed", "version").await;
    refused(Verb::Retire, json!({ "version": 9 }), "unknown_version", "v9").await;
    refused(Verb::Revoke, json!({ "version": 1, "all": true, "reason": "x" }), "malformed", "version").await;
    refused(Verb::Rollback, json!({ "to_seq": 1 }), "no_key", "key").await;

    let (version, key) = scene.operator.issue(&keyring("odd")).await.unwrap();
    assert_eq!(version.0, 1, "what was refused had no effect");
    assert_eq!(scene.everywhere(&key).await, ["valid", "valid"]);
    refused(Verb::Retire, json!({ "version": 1 }), "last_active", "v1").await;
    scene.stop().await;
}
