//! Keys shown to edges over plain connections: rightly, wrongly, and in places where none belongs.

use crate::minting::Owners;
use crate::needles::secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PATIENCE: Duration = Duration::from_secs(20);
/// A connection is left open, and another one used, after so many keys.
const KEYS_A_CONNECTION: usize = 12;
/// Wrong shapes in which each key is shown, in turn.
const WRONG_A_KEY: usize = 4;

/// What traffic there was.
#[derive(Default)]
pub struct Tally {
    pub requests: AtomicUsize,
    pub accepted: AtomicUsize,
    pub refused: AtomicUsize,
    pub closed: AtomicUsize,
}

/// Clients that show every key that its owners have, as soon as they have it.
pub struct Showing {
    pub tally: Arc<Tally>,
    done: Arc<AtomicBool>,
    workers: JoinSet<Vec<TcpStream>>,
}

impl Showing {
    /// One client for each edge (`host:port`).
    pub fn start(owners: &Owners, from: usize, edges: &[String]) -> Showing {
        let (tally, done) = (Arc::new(Tally::default()), Arc::new(AtomicBool::new(false)));
        let mut workers = JoinSet::new();
        for edge in edges.iter().cloned() {
            workers.spawn(show_all(owners.clone(), from, edge, Arc::clone(&tally), Arc::clone(&done)));
        }
        Showing { tally, done, workers }
    }

    /// Shows what is left, then stops. The connections stay open for as long as they are kept.
    pub async fn stop(mut self) -> (Arc<Tally>, Vec<TcpStream>) {
        self.done.store(true, Ordering::Relaxed);
        let mut open = Vec::new();
        while let Some(ended) = self.workers.join_next().await {
            open.extend(ended.unwrap());
        }
        (self.tally, open)
    }
}

async fn show_all(
    owners: Owners,
    from: usize,
    edge: String,
    tally: Arc<Tally>,
    done: Arc<AtomicBool>,
) -> Vec<TcpStream> {
    let (mut open, mut at) = (Vec::new(), from);
    loop {
        let Some(key) = owners.get(at) else {
            if done.load(Ordering::Relaxed) && owners.get(at).is_none() {
                return open;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let key = key.expose();
        if at % KEYS_A_CONNECTION == 0 || open.is_empty() {
            open.push(TcpStream::connect(&edge).await.unwrap());
        }
        let wrong = wrong(key);
        let some = (0..WRONG_A_KEY).map(|n| &wrong[(at * WRONG_A_KEY + n) % wrong.len()]);
        let [first, last] = right(key);
        for request in [&first].into_iter().chain(some).chain([&last]) {
            let mut connection = open.pop().unwrap();
            let answer = exchange(&mut connection, request).await;
            tally.requests.fetch_add(1, Ordering::Relaxed);
            let text = String::from_utf8_lossy(&answer.bytes);
            assert!(!text.contains(&secret(key)[..12]), "an edge repeats a key: {text}");
            let counter = if text.starts_with("HTTP/1.1 200") { &tally.accepted } else { &tally.refused };
            counter.fetch_add(1, Ordering::Relaxed);
            if answer.is_closed {
                tally.closed.fetch_add(1, Ordering::Relaxed);
                connection = TcpStream::connect(&edge).await.unwrap();
            }
            open.push(connection);
        }
        at += 1;
    }
}

struct Answer {
    bytes: Vec<u8>,
    is_closed: bool,
}

/// Sends a request and reads one whole answer, or what comes before the end of the connection.
async fn exchange(connection: &mut TcpStream, request: &[u8]) -> Answer {
    let mut bytes = Vec::new();
    // An edge that refuses may close before it has read everything.
    let mut is_closed = connection.write_all(request).await.is_err();
    while !is_whole(&bytes) {
        let read = tokio::time::timeout(PATIENCE, connection.read_buf(&mut bytes)).await;
        match read.unwrap_or_else(|_| panic!("no answer to {}", String::from_utf8_lossy(request))) {
            Ok(0) | Err(_) => {
                is_closed = true;
                break;
            }
            Ok(_) => {}
        }
    }
    is_closed |= String::from_utf8_lossy(&bytes).to_ascii_lowercase().contains("connection: close");
    Answer { bytes, is_closed }
}

fn is_whole(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// As clients and programs should.
fn right(key: &str) -> [Vec<u8>; 2] {
    [
        get("/v1/check", &format!("Authorization: Bearer {key}\r\n")),
        verify(&format!("{{\"key\":\"{key}\",\"scopes\":[]}}")),
    ]
}

/// As they should not.
fn wrong(key: &str) -> Vec<Vec<u8>> {
    let mistyped = format!("{}x", &key[..key.len() - 1]);
    let basic = STANDARD.encode(format!("user:{key}"));
    let get_with = |header: &str| get("/v1/check", &format!("{header}\r\n"));
    let mut requests = vec![
        get_with(&format!("Authorization: Bearer {mistyped}")),
        get_with(&format!("X-API-Key: {key},{key}")),
        get_with(&format!("Authorization: Bearer {key}\r\nX-API-Key: {key}")),
        get_with(&format!("Authorization: Bearer {key}\r\nAuthorization: Bearer {key}")),
        get_with(&format!("Authorization: Basic {basic}")),
        get_with(&format!("Authorization: {key}")),
        get_with(&format!("Cookie: key={key}\r\nX-Forwarded-Uri: /a?key={key}")),
        get_with(&format!("X-API-Key: {key}\r\nX-Forwarded-For: {key}")),
        get_with(&format!("X-API-Key: {key}\r\nX-Keywheel-Require-Scope: {key}")),
        get_with(&format!("X-API-Key: {key}\r\nX-Filler: {}{key}", "f".repeat(40_000))),
        get_with(&format!("{key}: 1")),
        get_with(&format!("{key} : 1")),
        get(&format!("/v1/check?key={key}&scope={key}"), &format!("X-API-Key: {key}\r\n")),
        get(&format!("/v1/check/a/{key}?{key}"), ""),
        get(&format!("/{key}"), ""),
        format!("{key} /v1/verify HTTP/1.1\r\nHost: edge\r\n\r\n").into_bytes(),
        format!("{key} /v1/check HTTP/1.1\r\nHost: {key}\r\n\r\n").into_bytes(),
        format!("GET /v1/check HTTP/9.9 {key}\r\nHost: edge\r\n\r\n").into_bytes(),
        format!("{key}\r\n\r\n").into_bytes(),
        format!("POST /v1/verify HTTP/1.1\r\nHost: edge\r\nContent-Length: {key}\r\n\r\n").into_bytes(),
        format!("POST /v1/verify HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n{key}\r\n{key}\r\n0\r\n\r\n").into_bytes(),
    ];
    let long = "s".repeat(20_000);
    for body in [
        format!("{{\"key\":\"{key}\"x"),
        format!("{{\"key\":\"{key}\""),
        format!("{{\"key\":\"{key}\",\"{key}\":1}}"),
        format!("{{\"{key}\":\"{key}\"}}"),
        format!("{{\"key\":{{\"a\":\"{key}\"}}}}"),
        format!("{{\"key\":[\"{key}\"]}}"),
        format!("{{\"key\":\"x\",\"scopes\":\"{key}\"}}"),
        format!("{{\"key\":\"{key}\",\"ip\":\"{key}\"}}"),
        format!("{{\"key\":\"{key}\",\"probe\":\"{key}\"}}"),
        format!("{{\"key\":\"{key}\",\"scopes\":[\"{key}\"]}}"),
        format!("{{\"key\":\"\\u006b{}\"}}", &key[1..]),
        format!("[\"{key}\"]"),
        format!("\"{key}\""),
        key.to_owned(),
        format!("{{\"key\":\"{key}\"}} {key}"),
        format!("{{\"key\":\"{key}\",\"scopes\":[\"{long}\"]}}"),
    ] {
        requests.push(verify(&body));
    }
    requests
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: edge\r\n{headers}\r\n").into_bytes()
}

fn verify(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /v1/verify HTTP/1.1\r\nHost: edge\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
