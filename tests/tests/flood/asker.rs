//! One that has a good key and shows it again and again.

use keywheel_token::KeyText;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(20);
const ENOUGH: usize = 100;

/// How long each answer took.
#[derive(Default)]
pub struct Answers(Vec<Duration>);

/// What it was answered.
#[derive(Default)]
pub struct Asked {
    pub answers: Answers,
    pub refused: Vec<String>,
    pub failed: Vec<String>,
}

/// It asks until it is stopped.
pub struct Asker {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    asking: JoinHandle<Asked>,
}

impl Asker {
    /// On one connection, or each time on a new one.
    pub fn start(edge: SocketAddr, key: &KeyText, is_kept: bool) -> Asker {
        let head = format!("GET /v1/check HTTP/1.1\r\nhost: e\r\nx-api-key: {}\r\n\r\n", key.expose());
        let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&count));
        let asking = tokio::spawn(async move {
            let (mut asked, mut kept) = (Asked::default(), None);
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                match ask(edge, &head, kept.take()).await {
                    Ok((stream, answer)) => {
                        if !answer.starts_with("HTTP/1.1 200 ") {
                            asked.refused.push(answer);
                        }
                        asked.answers.0.push(began.elapsed());
                        kept = is_kept.then_some(stream);
                    }
                    Err(error) => asked.failed.push(error.to_string()),
                }
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(PAUSE).await;
            }
            asked
        });
        Asker { stop, count, asking }
    }

    /// Waits until it is so, and it has asked often.
    pub async fn until(&self, is_so: impl Fn() -> bool) {
        let waiting = async {
            while !is_so() || self.count.load(Ordering::Relaxed) < ENOUGH {
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("it came about in time");
    }

    /// What it was answered.
    pub async fn stop(self) -> Asked {
        while self.count.load(Ordering::Relaxed) < ENOUGH {
            tokio::time::sleep(PAUSE).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.asking.await.unwrap()
    }
}

/// Status line and headers of an answer that has no body.
async fn ask(edge: SocketAddr, head: &str, kept: Option<TcpStream>) -> std::io::Result<(TcpStream, String)> {
    let asking = async {
        let mut stream = match kept {
            Some(stream) => stream,
            None => TcpStream::connect(edge).await?,
        };
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        Ok((stream, String::from_utf8_lossy(&answer).into_owned()))
    };
    tokio::time::timeout(PATIENCE, asking).await?
}

/// One request on a connection that the edge closes; head and body.
pub async fn once(edge: SocketAddr, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

impl Answers {
    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
        write!(f, "p50 {:?}, p99 {:?}", at(50), at(99))
    }
}
