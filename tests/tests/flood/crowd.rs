//! Who is in the way: each connection begins anew when it is closed.

use keywheel_tests::hostile::chance::Chance;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const PAUSE: Duration = Duration::from_millis(50);
const DRIBBLE: Duration = Duration::from_millis(500);
/// How many follow one another on a connection that nobody closes.
const MUCH: usize = 1 << 18;

/// Many connections; closed on drop.
pub struct Flood {
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    closed: AtomicUsize,
    sent: AtomicUsize,
}

/// What they do with a connection.
#[derive(Clone)]
enum Way {
    Idle,
    Dribble,
    Garbage { seed: u64, samples: Arc<[Vec<u8>]> },
}

impl Flood {
    /// Connections that say nothing.
    pub fn of_idle(edge: SocketAddr, many: usize) -> Flood {
        Flood::of(edge, many, &Way::Idle)
    }

    /// Connections on which a head comes byte by byte.
    pub fn of_heads(edge: SocketAddr, many: usize) -> Flood {
        Flood::of(edge, many, &Way::Dribble)
    }

    /// Connections that send what is nearly a request, and nearly another after it.
    pub fn of_garbage(edge: SocketAddr, many: usize, seed: u64) -> Flood {
        let samples = [
            &b"GET /v1/check HTTP/1.1\r\nhost: e\r\nx-api-key: kw_live_x\r\n\r\n"[..],
            b"POST /v1/verify HTTP/1.1\r\nhost: e\r\ncontent-length: 14\r\n\r\n{\"key\":\"kw_x\"}",
            b"POST /v1/verify HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            &[0xff; 9000],
        ];
        Flood::of(edge, many, &Way::Garbage { seed, samples: samples.map(<[u8]>::to_vec).into() })
    }

    fn of(edge: SocketAddr, many: usize, way: &Way) -> Flood {
        let (counts, mut tasks) = (Arc::new(Counts::default()), JoinSet::new());
        for number in 0..many as u64 {
            let (counts, way) = (Arc::clone(&counts), way.clone());
            tasks.spawn(async move {
                for round in 0.. {
                    if let Ok(mut stream) = TcpStream::connect(edge).await {
                        way.disturb(number << 32 | round, &mut stream, &counts).await;
                        counts.closed.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Flood { counts, _tasks: tasks }
    }

    /// How many connections were closed so far.
    pub fn closed(&self) -> usize {
        self.counts.closed.load(Ordering::Relaxed)
    }

    /// How many bytes of garbage were sent so far.
    pub fn sent(&self) -> usize {
        self.counts.sent.load(Ordering::Relaxed)
    }
}

impl Way {
    /// Until the connection is closed.
    async fn disturb(&self, number: u64, stream: &mut TcpStream, counts: &Counts) {
        match self {
            Way::Idle => {
                let _ = stream.read_u8().await;
            }
            Way::Dribble => dribble(stream).await,
            Way::Garbage { seed, samples } => send(Chance::new(seed + number), samples, stream, counts).await,
        }
    }
}

async fn dribble(stream: &mut TcpStream) {
    for byte in b"GET /v1/check HTTP/1.1\r\nx-slow: ".iter().chain(std::iter::repeat(&b'x')) {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        if let Ok(read) = tokio::time::timeout(DRIBBLE, stream.read_u8()).await {
            assert!(read.is_err(), "nothing is answered before the head is whole");
            return;
        }
    }
}

async fn send(mut chance: Chance, samples: &[Vec<u8>], stream: &mut TcpStream, counts: &Counts) {
    let (mut answers, mut garbage) = stream.split();
    let mut nowhere = tokio::io::sink();
    let sending = async {
        for _ in 0..MUCH {
            let bytes = chance.nearly(samples);
            if garbage.write_all(&bytes).await.is_err() {
                return;
            }
            counts.sent.fetch_add(bytes.len(), Ordering::Relaxed);
        }
    };
    tokio::select! {
        _ = tokio::io::copy(&mut answers, &mut nowhere) => {}
        () = sending => {}
    }
}
