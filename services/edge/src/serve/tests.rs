//! Bounds on connections, over real sockets.

use super::*;
use crate::http::tests::Site;
use crate::place::{Mode, Place};
use std::time::Instant;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

const HEAD_TIME: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(20);

struct Served {
    site: Site,
    place: Place,
    stop: Shutdown,
    serving: JoinHandle<()>,
}

impl Served {
    async fn at(place: &str) -> Served {
        let site = Site::fresh();
        let listener = Listener::bind(&Place::parse(place).unwrap(), Mode::default()).await.unwrap();
        let (place, stop) = (listener.place().unwrap(), Shutdown::new());
        let serving = serve(listener, Speaks::Http, site.app.clone(), HEAD_TIME, stop.clone(), PATIENCE);
        Served { site, place, stop, serving: tokio::spawn(serving) }
    }

    async fn on_a_port() -> Served {
        Self::at("127.0.0.1:0").await
    }

    async fn connect(&self) -> TcpStream {
        let Place::Port(address) = self.place else { unreachable!() };
        TcpStream::connect(address).await.unwrap()
    }

    fn head(&self) -> String {
        format!("GET /v1/check HTTP/1.1\r\nhost: e\r\nx-api-key: {}\r\n\r\n", self.site.scene.key("active"))
    }
}

/// One answer without a body.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time");
        text.push(byte.expect("an answer"));
    }
    String::from_utf8(text).unwrap()
}

/// What comes until the other side closes.
async fn rest<S: AsyncRead + Unpin>(stream: &mut S) -> String {
    let mut text = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut text)).await.expect("an end in time");
    // A close with something unread arrives as a reset.
    let _ = read;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_connection_is_kept_and_may_idle_longer_than_a_head_may_take() {
    let served = Served::on_a_port().await;
    let mut stream = served.connect().await;
    for _ in 0..3 {
        stream.write_all(served.head().as_bytes()).await.unwrap();
        let got = answer(&mut stream).await;
        assert!(got.starts_with("HTTP/1.1 200 ") && !got.contains("connection: close"), "{got}");
        tokio::time::sleep(HEAD_TIME * 2).await;
    }
}

#[tokio::test]
async fn a_head_that_dribbles_is_cut_off_also_on_a_kept_connection() {
    let served = Served::on_a_port().await;
    for is_kept in [false, true] {
        let mut stream = served.connect().await;
        if is_kept {
            stream.write_all(served.head().as_bytes()).await.unwrap();
            answer(&mut stream).await;
        }
        let began = Instant::now();
        let dribble = async {
            loop {
                if stream.write_all(b"G").await.is_err() || stream.read_u8().await.is_err() {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, dribble).await.expect("cut off");
        assert!(began.elapsed() >= HEAD_TIME, "{:?}", began.elapsed());
    }
}

#[tokio::test]
async fn a_head_is_bounded_and_others_are_served_meanwhile() {
    let served = Served::on_a_port().await;
    let mut stream = served.connect().await;
    let large = format!("GET /v1/check HTTP/1.1\r\nx-api-key: {}\r\n\r\n", "k".repeat(2 * HEADER_BYTES_MAX));
    let _ = stream.write_all(large.as_bytes()).await;
    let got = rest(&mut stream).await;
    assert!(got.is_empty() || got.starts_with("HTTP/1.1 431 "), "{got}");
    let mut other = served.connect().await;
    other.write_all(served.head().as_bytes()).await.unwrap();
    assert!(answer(&mut other).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_socket_is_served_like_a_port_and_goes_when_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge.sock");
    let served = Served::at(&format!("unix:{}", path.display())).await;
    let mut stream = UnixStream::connect(&path).await.unwrap();
    let bound = served.site.scene.key("bound");
    for (forwarded, status) in [("x-forwarded-for: 10.1.2.3\r\n", "200"), ("", "403")] {
        let head = format!("HEAD /v1/check HTTP/1.1\r\nhost: e\r\nx-api-key: {bound}\r\n{forwarded}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(answer(&mut stream).await.split(' ').nth(1), Some(status), "{forwarded}");
    }
    served.stop.trigger();
    served.serving.await.unwrap();
    assert!(rest(&mut stream).await.is_empty() && !path.exists());
}
