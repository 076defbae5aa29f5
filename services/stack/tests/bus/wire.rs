//! A client that is nothing but the protocol: it tries subjects by the thousand and hears which were denied.

use keywheel_token::Credential;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Not empty and no JSON: no request of ours is ever carried out.
const PAYLOAD: &str = "{";

/// A connection under one credential.
pub struct Wire {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// What the server refused to one connection.
#[derive(Debug, Default)]
pub struct Denied {
    pub publish: BTreeSet<String>,
    pub subscribe: BTreeSet<String>,
    pub reply: BTreeSet<String>,
}

impl Wire {
    /// Signs in with the seed in `file`.
    pub async fn open(port: u16, file: &Path) -> Wire {
        let credential = Credential::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
        let (reader, writer) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        let mut wire = Wire { reader: BufReader::new(reader), writer };
        let info = wire.line().await;
        let info: Value = serde_json::from_str(info.strip_prefix("INFO ").unwrap()).unwrap();
        let signature = credential.sign(info["nonce"].as_str().unwrap().as_bytes());
        let connect = json!({
            "verbose": false, "pedantic": false, "headers": true, "no_responders": true, "lang": "test", "version": "0",
            "nkey": credential.public(), "sig": base64url(&signature),
        });
        wire.send(&format!("CONNECT {connect}\r\n")).await;
        let denied = wire.settle().await;
        assert!(denied.publish.is_empty() && denied.subscribe.is_empty());
        wire
    }

    /// Publishes to and subscribes to each subject; says what was denied of that.
    pub async fn try_all(&mut self, publish: &[String], subscribe: &[String]) -> Denied {
        let mut all = Denied::default();
        // A few at a time, so that neither side waits for the other to read.
        for subjects in publish.chunks(50) {
            let text: String =
                subjects.iter().map(|subject| format!("PUB {subject} 1\r\n{PAYLOAD}\r\n")).collect();
            self.send(&text).await;
            all.publish.append(&mut self.settle().await.publish);
        }
        for subjects in subscribe.chunks(50) {
            let text: String = subjects
                .iter()
                .enumerate()
                .map(|(at, subject)| format!("SUB {subject} {at}\r\nUNSUB {at}\r\n"))
                .collect();
            self.send(&text).await;
            all.subscribe.append(&mut self.settle().await.subscribe);
        }
        all
    }

    /// Publishes requests, each with a subject to which it is to be answered; says what was denied of that.
    pub async fn ask_for_others(&mut self, requests: &[(String, String, String)]) -> Denied {
        let mut all = Denied::default();
        for some in requests.chunks(50) {
            let text: String = some
                .iter()
                .map(|(subject, reply, payload)| {
                    format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len())
                })
                .collect();
            self.send(&text).await;
            let mut denied = self.settle().await;
            all.publish.append(&mut denied.publish);
            all.reply.append(&mut denied.reply);
        }
        all
    }

    /// Asks for itself, and waits for the answer: what was asked before is answered then.
    pub async fn ask(&mut self, subject: &str, inbox: &str, payload: &str) -> String {
        let length = payload.len();
        self.send(&format!("SUB {inbox} 9\r\nPUB {subject} {inbox} {length}\r\n{payload}\r\n")).await;
        loop {
            let line = self.line().await;
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("MSG ") || line.starts_with("HMSG ") {
                let length: usize = line.rsplit(' ').next().unwrap().parse().unwrap();
                let mut payload = vec![0; length + 2];
                self.reader.read_exact(&mut payload).await.unwrap();
                self.send("UNSUB 9\r\n").await;
                return String::from_utf8_lossy(&payload).into_owned();
            }
        }
    }

    async fn send(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    /// Everything that the server says to what was sent before.
    async fn settle(&mut self) -> Denied {
        self.send("PING\r\n").await;
        let mut denied = Denied::default();
        loop {
            let line = self.line().await;
            let quoted = |prefix: &str| line.strip_prefix(prefix)?.split('"').next().map(str::to_owned);
            if line == "PONG" {
                return denied;
            } else if line == "PING" {
                self.send("PONG\r\n").await;
            } else if let Some(subject) = quoted("-ERR 'Permissions Violation for Publish to \"") {
                // An account without streams maps what is called before it looks whether that is permitted.
                denied.publish.insert(subject.replace("kw.api.", "$JS.API."));
            } else if let Some(subject) = quoted("-ERR 'Permissions Violation for Subscription to \"") {
                denied.subscribe.insert(subject);
            } else if let Some(subject) = quoted("-ERR 'Permissions Violation for Publish with Reply of \"") {
                denied.reply.insert(subject);
            } else {
                assert!(!line.starts_with("-ERR"), "{line}");
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line).await.unwrap();
        assert!(read > 0, "the server closed the connection");
        line.trim_end().to_owned()
    }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
