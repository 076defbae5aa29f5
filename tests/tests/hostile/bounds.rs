//! Each bound of what comes from outside, just inside and just outside.

use keywheel_domain::EdgeId;
use keywheel_runtime::config;
use keywheel_tests::hostile::http::{ACTIVE, Edge};
use keywheel_wire::event::{self, EVENT_BYTES_MAX};
use keywheel_wire::signers::Installation;
use keywheel_wire::subject::Service;
use keywheel_wire::subject::Verb;
use keywheel_wire::{command, delivery, notice, outcome, pulse, usage};
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    let path = format!("{}/../schemas/golden/v1/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The document with blanks after it, up to so many bytes.
fn padded(document: &[u8], bytes: usize) -> Vec<u8> {
    [document, &b" ".repeat(bytes - document.len())].concat()
}

#[test]
fn documents_on_the_bus() {
    let edge = EdgeId::parse("edge-a").unwrap();
    type Reads<'a> = Box<dyn Fn(&[u8]) -> bool + 'a>;
    let rows: [(&str, usize, Reads<'_>); 7] = [
        ("command-issue.json", 64 * 1024, Box::new(|bytes| command::read(Verb::Issue, bytes).is_ok())),
        ("pulse.json", 4096, Box::new(|bytes| pulse::read(bytes).is_ok())),
        ("report.json", 900 * 1024, Box::new(|bytes| usage::read(&edge, bytes).is_ok())),
        ("outcome-rejected.json", 16 * 1024, Box::new(|bytes| outcome::read(bytes).is_ok())),
        ("notice-receipt.json", 900 * 1024, Box::new(|bytes| notice::read(bytes).is_ok())),
        ("notice-alarm.json", 900 * 1024, Box::new(|bytes| notice::read(bytes).is_ok())),
        ("delivery.json", 4096, Box::new(|bytes| delivery::read(bytes).is_ok())),
    ];
    for (name, bytes_max, reads) in rows {
        assert!(reads(&padded(&golden(name), bytes_max)), "{name} of {bytes_max}");
        assert!(!reads(&padded(&golden(name), bytes_max + 1)), "{name} of one more than {bytes_max}");
    }
}

#[test]
fn an_event() {
    let event = golden("KeyIssued.msgpack");
    // One more field, which a later version may add, as long as it takes.
    let grown = |bytes: usize| {
        let length = bytes - event.len() - 9;
        let head = [&[event[0] + 1][..], &event[1..], b"\xa3pad\xdb"].concat();
        [&head[..], &u32::try_from(length).unwrap().to_be_bytes(), &vec![b'x'; length]].concat()
    };
    let subject = "kw.evt.acme.billing";
    assert_eq!(grown(EVENT_BYTES_MAX).len(), 256 * 1024);
    assert!(event::read(subject, &grown(EVENT_BYTES_MAX)).is_ok());
    assert!(event::read(subject, &grown(EVENT_BYTES_MAX + 1)).is_err());
}

#[test]
fn versions_in_a_report() {
    let edge = EdgeId::parse("edge-a").unwrap();
    let mut report = usage::read(&edge, &golden("report.json")).unwrap();
    let one = report.uses[0].clone();
    for (versions, reads) in [(usage::REPORT_USES_MAX, true), (usage::REPORT_USES_MAX + 1, false)] {
        report.uses = vec![one.clone(); versions];
        assert_eq!(usage::read(&edge, &serde_json::to_vec(&report).unwrap()).is_ok(), reads, "{versions}");
    }
}

const SIGNERS: &str = "installation = \"0b5e55ed-0000-4000-8000-000000000001\"\n[signers]\n\
                       UDVEU3DD4KOFECV66VIHWEZOYX4ZKR3WV27L464SIIPOU2IUI3JCYSJF = \"issuer\"\n";

#[test]
fn a_signers_file() {
    use keywheel_wire::signers::{FILE_BYTES_MAX, SIGNERS_MAX, Signers};
    let long = |bytes: usize| format!("{SIGNERS}#{}", "x".repeat(bytes - SIGNERS.len() - 1));
    assert!(
        Signers::parse(&long(FILE_BYTES_MAX)).is_ok() && Signers::parse(&long(FILE_BYTES_MAX + 1)).is_err()
    );
    let keys = |count: usize| {
        let fresh = |_| (keywheel_token::Credential::fresh().public().to_owned(), Service::Issuer);
        Signers::of(Installation(1), (0..count).map(fresh))
    };
    assert!(keys(SIGNERS_MAX).is_ok() && keys(SIGNERS_MAX + 1).is_err());
}

#[test]
fn a_configuration() {
    let signers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(signers.path(), SIGNERS).unwrap();
    let bus = format!("[bus]\nurl = \"nats://h:1\"\ncredentials = \"c\"\nsigners = {:?}\n", signers.path());
    let text = &format!("instance = 2\ndata_dir = \"d\"\n{bus}");
    let load = |text: &str, value: &str| {
        let variables = [("KEYWHEEL_DATA_DIR".to_owned(), value.to_owned())];
        config::parse::<keywheel_issuer::Config>(Path::new("x.toml"), text, variables).is_ok()
    };
    let bytes_max = config::FILE_BYTES_MAX;
    let long = |bytes: usize| String::from_utf8(padded(text.as_bytes(), bytes)).unwrap();
    assert!(load(&long(bytes_max), "d") && !load(&long(bytes_max + 1), "d"));
    let bytes_max = config::VALUE_BYTES_MAX;
    assert!(load(text, &"d".repeat(bytes_max)) && !load(text, &"d".repeat(bytes_max + 1)));

    let file = tempfile::NamedTempFile::new().unwrap();
    for (bytes, reads) in [(config::FILE_BYTES_MAX, true), (config::FILE_BYTES_MAX + 1, false)] {
        std::fs::write(file.path(), long(bytes)).unwrap();
        let read = config::load::<keywheel_issuer::Config>(Some(file.path()), []);
        assert_eq!(read.is_ok(), reads, "{bytes}");
    }
}

/// The status that a request's head and body are answered with.
fn status(edge: &Edge, request: &str) -> u16 {
    let answer = String::from_utf8(edge.answers(request.as_bytes())).unwrap();
    answer
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("{answer:?} to {request:.80}"))
}

fn check(edge: &Edge, target: &str, headers: &str) -> u16 {
    let head = format!("GET /v1/check{target} HTTP/1.1\r\nhost: e\r\nx-api-key: {ACTIVE}\r\n{headers}\r\n");
    status(edge, &head)
}

#[test]
fn a_request_to_an_edge() {
    let edge = Edge::listening();
    assert_eq!(check(&edge, "", ""), 200);
    // 100 headers, two of which are there already.
    assert_eq!(check(&edge, "", &"a: b\r\n".repeat(98)), 200);
    assert_eq!(check(&edge, "", &"a: b\r\n".repeat(99)), 431);
    // 32 KiB in all are taken. What is read at once may be twice that; more never is.
    assert_eq!(check(&edge, "", &format!("a: {}\r\n", "b".repeat(31_000))), 200);
    assert_eq!(check(&edge, "", &format!("a: {}\r\n", "b".repeat(66_000))), 431);
    assert_eq!(check(&edge, &format!("/{}", "b".repeat(31_000)), ""), 200);
    assert_eq!(check(&edge, &format!("/{}", "b".repeat(66_000)), ""), 431);
    // No chain of proxies is that long, and none is believed that cannot be read to its end.
    let chain = |hops: usize| format!("x-forwarded-for: 6.6.6.6{}\r\n", ", 127.0.0.1".repeat(hops));
    assert_eq!(check(&edge, "", &chain(2000)), 200);
    assert_eq!(check(&edge, "", &chain(6500)), 431);
}

#[test]
fn scopes_that_are_asked_for() {
    let edge = Edge::listening();
    let required =
        |scopes: usize| format!("x-keywheel-require-scope: {}\r\n", vec!["read"; scopes].join(" "));
    assert_eq!(check(&edge, "", &required(64)), 200);
    assert_eq!(check(&edge, "", &required(65)), 403);
    let query = |scopes: usize| format!("?scope={}", vec!["read"; scopes].join("+"));
    assert_eq!((check(&edge, &query(64), ""), check(&edge, &query(65), "")), (200, 403));
}

#[test]
fn a_question_to_an_edge() {
    let edge = Edge::listening();
    let ask = |bytes: usize| {
        let document = padded(format!(r#"{{"key":"{ACTIVE}"}}"#).as_bytes(), bytes);
        let body = String::from_utf8(document).unwrap();
        status(
            &edge,
            &format!("POST /v1/verify HTTP/1.1\r\nhost: e\r\ncontent-length: {bytes}\r\n\r\n{body}"),
        )
    };
    assert_eq!((ask(16 * 1024), ask(16 * 1024 + 1)), (200, 413));
}
