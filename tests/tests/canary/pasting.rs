//! Keys and seeds pasted by mistake into commands, where another field or nothing at all belongs. Whoever
//! publishes that has put it on the bus; but nobody writes it anywhere else or says it back.

use keywheel_domain::Address;
use keywheel_tests::Operator;
use keywheel_wire::outcome::Word;
use keywheel_wire::subject::Verb;
use serde_json::{Value, json};

/// Sends commands with `key` where it does not belong: each must be refused without being repeated.
pub async fn paste(operator: &Operator, ring: &Address, key: &str) {
    let commands: Vec<(Verb, Value)> = vec![
        (Verb::Issue, json!({ "recipient": key })),
        (Verb::Issue, json!({ key: 1 })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "expires_in": key })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "cidrs": [key] })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "scopes": [key] })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "scopes": key })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "meta": { key: 1 } })),
        (Verb::Issue, json!({ "recipient": operator.recipient(), "meta": [key] })),
        (Verb::Retire, json!({ "version": key })),
        (Verb::Revoke, json!({ "version": 1, "all": key, "reason": "drill" })),
        (Verb::Rotate, json!({ "supersedes": [key] })),
        (Verb::Rotate, json!({ "policy": { key: "1s" } })),
        (Verb::Rollback, json!({ "rotation_id": key })),
        (Verb::Rollback, json!({ "to_time": key })),
        (Verb::Policy, json!({ "policy": { "class": key } })),
        (Verb::Policy, json!({ "policy": { "quiet": key } })),
        (Verb::Policy, json!({ "policy": { "recipient": key } })),
        (Verb::Import, json!({ "digest": key })),
        (Verb::Import, json!({ "digest": "00", "label": format!("{key}\n") })),
    ];
    for (verb, fields) in commands {
        let outcome = operator.command(ring, verb, fields.clone()).await.unwrap();
        assert_eq!(outcome.outcome, Word::Rejected, "{} with {fields}", verb.word());
        let told = format!("{outcome:?}");
        assert!(!told.contains(&key[20..36]), "an outcome repeats what was pasted: {told}");
    }
}
