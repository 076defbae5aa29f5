//! Commands that cannot be read: each refusal says which field is wrong and what was expected.

use crate::samples::RECIPIENT;
use expect_test::expect_file;
use keywheel_domain::event::CommandId;
use keywheel_domain::policy::{Change, PolicyChange};
use keywheel_wire::command::{self, Ask, BadCommand};
use keywheel_wire::subject::Verb;
use serde_json::{Value, json};
use std::fmt::Write;

const ID: &str = "22222222-2222-4222-8222-222222222200";

fn bad(verb: Verb, payload: &str) -> BadCommand {
    *command::read(verb, payload.as_bytes()).expect_err(payload)
}

/// A command with valid `id` and `actor` and these fields beside them.
fn with(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { ", " };
    format!(r#"{{"id": "{ID}", "actor": "dana"{comma}{fields}}}"#)
}

const DOCUMENTS: [&str; 20] = [
    "",
    "null",
    "[]",
    r#"["22222222-2222-4222-8222-222222222200", "dana"]"#,
    "\"text\"",
    "{",
    "{} {}",
    "{}",
    r#"{"actor": "dana"}"#,
    r#"{"id": null, "actor": "dana"}"#,
    r#"{"id": 7, "actor": "dana"}"#,
    r#"{"id": "seven", "actor": "dana"}"#,
    r#"{"id": "22222222-2222-4222-8222-22222222220", "actor": "dana"}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200"}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "actor": 7}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "actor": ""}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "actor": "da\nna"}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "id": "22222222-2222-4222-8222-222222222201", "actor": "dana"}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "actor": "dana", "actor": "eve"}"#,
    r#"{"id": "22222222-2222-4222-8222-222222222200", "actor": "dana", "colour": "blue"}"#,
];

const FIELDS: [(Verb, &str); 63] = [
    (Verb::Issue, r#""version": 1"#),
    (Verb::Issue, r#""scopes": "a""#),
    (Verb::Issue, r#""scopes": ["a", 7]"#),
    (Verb::Issue, r#""scopes": ["a", ""]"#),
    (Verb::Issue, r#""scopes": ["a b"]"#),
    (Verb::Issue, r#""scopes": ["a,b"]"#),
    (Verb::Issue, r#""cidrs": ["10.0.0.0/8", "10.0.0.0/33"]"#),
    (Verb::Issue, r#""cidrs": ["localhost"]"#),
    (Verb::Issue, r#""cidrs": [""]"#),
    (Verb::Issue, r#""expires_in": 90"#),
    (Verb::Issue, r#""expires_in": "90""#),
    (Verb::Issue, r#""expires_in": "-1d""#),
    (Verb::Issue, r#""expires_in": "0s""#),
    (Verb::Issue, r#""expires_in": "36501d""#),
    (Verb::Issue, r#""expires_in": "99999999999999999999d""#),
    (Verb::Issue, r#""expires_at": "2027-01-31T12:00:00Z""#),
    (
        Verb::Import,
        r#""digest": "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", "expires_in": "90d", "expires_at": "2027-01-31T12:00:00Z""#,
    ),
    (Verb::Issue, r#""meta": {"team": 7}"#),
    (Verb::Issue, r#""meta": {"": "x"}"#),
    (Verb::Issue, r#""meta": {"a": ""}"#),
    (Verb::Issue, r#""meta": {"a": "1", "a": "2"}"#),
    (Verb::Issue, r#""meta": ["a"]"#),
    (Verb::Issue, r#""recipient": "X123""#),
    (Verb::Issue, r#""recipient": "UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF""#),
    (Verb::Issue, r#""policy": {"quiet": "1h"}"#),
    (Verb::Rotate, r#""supersedes": [0]"#),
    (Verb::Rotate, r#""supersedes": [-1]"#),
    (Verb::Rotate, r#""supersedes": 1"#),
    (Verb::Rotate, r#""policy": {"quite": "1h"}"#),
    (Verb::Rotate, r#""policy": {"quiet": "soon"}"#),
    (Verb::Rotate, r#""policy": {"quiet": "1h", "quiet": "2h"}"#),
    (Verb::Rotate, r#""policy": ["1h"]"#),
    (Verb::Rotate, r#""policy": null"#),
    (Verb::Activate, ""),
    (Verb::Activate, r#""version": "3""#),
    (Verb::Activate, r#""version": 0"#),
    (Verb::Activate, r#""version": 4294967296"#),
    (Verb::Activate, r#""version": 1.5"#),
    (Verb::Activate, r#""version": 1, "version": 2"#),
    (Verb::Activate, r#""version": 1, "reason": """#),
    (Verb::Retire, r#""version": 1, "reason": "why""#),
    (Verb::Revoke, r#""version": 1"#),
    (Verb::Revoke, r#""reason": "leak""#),
    (Verb::Revoke, r#""version": 1, "all": true, "reason": "leak""#),
    (Verb::Revoke, r#""all": false, "reason": "leak""#),
    (Verb::Revoke, r#""all": 1, "reason": "leak""#),
    (Verb::Rollback, ""),
    (Verb::Rollback, r#""to_seq": 1, "to_time": "2026-01-31T12:00:00Z""#),
    (Verb::Rollback, r#""rotation_id": "x""#),
    (Verb::Rollback, r#""to_time": "yesterday""#),
    (Verb::Rollback, r#""to_time": "1969-12-31T23:59:59Z""#),
    (Verb::Policy, ""),
    (Verb::Policy, r#""policy": {"max_active": -1}"#),
    (Verb::Policy, r#""policy": {"class": "loose"}"#),
    (Verb::Policy, r#""policy": {"recipient": "me"}"#),
    (Verb::Policy, r#""policy": {"stale_max": "5215w"}"#),
    (Verb::Import, ""),
    (Verb::Import, r#""digest": "5a5a""#),
    (Verb::Import, r#""digest": "zz5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a""#),
    (Verb::EdgeAdd, r#""edge": "Edge A""#),
    (Verb::SignerAdd, r#""key": "UABC", "role": "issuer", "by": "UABC", "signature": """#),
    (Verb::SignerAdd, r#""role": "issuer""#),
    (Verb::SignerWithdraw, r#""key": "UABC", "reason": "", "by": "UABC", "signature": """#),
];

#[test]
fn refusals_name_the_field() {
    let mut table = String::new();
    let mut row = |verb: Verb, shown: &str, payload: &str| {
        let BadCommand { id, error } = bad(verb, payload);
        let knows =
            if id == Some(CommandId(0x2222_2222_2222_4222_8222_2222_2222_2200)) { "" } else { " (no id)" };
        writeln!(table, "{} {shown}\n    {:?}{knows}: {error}", verb.word(), error.field).unwrap();
    };
    for document in DOCUMENTS {
        row(Verb::Issue, document, document);
    }
    for (verb, fields) in FIELDS {
        row(verb, fields, &with(fields));
    }
    expect_file!["malformed.txt"].assert_eq(&table);
}

/// Whoever reads the refusal alone must know which field is meant.
#[test]
fn every_refusal_names_its_field_in_words() {
    for (verb, fields) in FIELDS {
        let BadCommand { error, .. } = bad(verb, &with(fields));
        let last = error.field.rsplit('.').next().unwrap();
        assert!(!last.is_empty() && error.to_string().contains(last), "{fields}: {error}");
    }
}

#[test]
fn everything_is_bounded() {
    let long = |fields: Value| {
        let mut document = json!({ "id": ID, "actor": "dana" });
        document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        bad(Verb::Rotate, &document.to_string()).error.to_string()
    };
    let many = |n: usize| (0..n).map(|n| n.to_string()).collect::<Vec<_>>();
    let meta =
        |n: usize| many(n).into_iter().map(|name| (name, json!("x"))).collect::<serde_json::Map<_, _>>();
    assert_eq!(long(json!({ "scopes": many(65) })), "scopes: at most 64 entries");
    assert_eq!(long(json!({ "cidrs": vec!["10.0.0.0/8"; 65] })), "cidrs: at most 64 entries");
    assert_eq!(long(json!({ "meta": meta(65) })), "meta: at most 64 entries");
    assert_eq!(long(json!({ "supersedes": vec![1; 65] })), "supersedes: at most 64 entries");
    assert!(long(json!({ "scopes": ["s".repeat(65)] })).starts_with("scopes[0]: "));
    assert!(long(json!({ "meta": { "a": "x".repeat(257) } })).starts_with("meta \"(257 bytes)\""));
    assert!(long(json!({ "actor": "x".repeat(257) })).starts_with("actor \"(257 bytes)\""));
    let too_large = " ".repeat(command::COMMAND_BYTES_MAX + 1);
    assert_eq!(bad(Verb::Issue, &too_large).error.to_string(), "a command has at most 65536 bytes");
    let fits = format!("{}{}", with(""), " ".repeat(command::COMMAND_BYTES_MAX - with("").len()));
    assert!(command::read(Verb::Issue, fits.as_bytes()).is_ok());
}

#[test]
fn a_policy_is_kept_set_or_cleared_field_by_field() {
    let fields = format!(r#""policy": {{"quiet": "2h", "every": null, "recipient": "{RECIPIENT}"}}"#);
    let read = command::read(Verb::Policy, with(&fields).as_bytes()).unwrap();
    let expected = PolicyChange {
        quiet: Change::Set(keywheel_domain::Span::hours(2)),
        every: Change::Clear,
        recipient: Change::Set(Some(RECIPIENT.to_owned())),
        ..PolicyChange::default()
    };
    assert_eq!(read.ask, Ask::Policy(expected));
    let read = command::read(Verb::Policy, with(r#""policy": {}"#).as_bytes()).unwrap();
    assert_eq!(read.ask, Ask::Policy(PolicyChange::default()));
}

#[test]
fn an_id_can_be_read_where_nothing_else_can() {
    let id = Some(CommandId(0x2222_2222_2222_4222_8222_2222_2222_2200));
    for readable in [with(""), with(r#""colour": 1"#), format!(r#"{{"id": "{ID}"}}"#)] {
        assert_eq!(command::id_in(readable.as_bytes()), id, "{readable}");
    }
    let twice = format!(r#"{{"id": "{ID}", "id": "{ID}"}}"#);
    for unreadable in ["", "{", "{}", "[]", r#"{"id": 7}"#, &twice, &format!("{}x", with(""))] {
        assert_eq!(command::id_in(unreadable.as_bytes()), None, "{unreadable}");
    }
}

#[test]
fn null_is_absent_where_a_field_is_optional() {
    let fields = r#""recipient": null, "scopes": null, "cidrs": null, "expires_in": null, "meta": null"#;
    let (one, other) = (with(fields), with(""));
    assert_eq!(command::read(Verb::Issue, one.as_bytes()), command::read(Verb::Issue, other.as_bytes()));
}
