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
const GRACE: Duration = Duration::from_millis(100);
const ENOUGH: usize = 100;

struct Served {
    site: Site,
    place: Place,
    stop: Shutdown,
    serving: JoinHandle<()>,
}

impl Served {
    async fn at(place: &str) -> Served {
        Self::with(place, ENOUGH).await
    }

    async fn with(place: &str, connections: usize) -> Served {
        let site = Site::fresh();
        let listener = Listener::bind(&Place::parse(place).unwrap(), Mode::default()).await.unwrap();
        let (place, stop) = (listener.place().unwrap(), Shutdown::new());
        let bounds = Bounds { connections, grace: GRACE, head_time: HEAD_TIME, drain: PATIENCE };
        let serving = serve(listener, Speaks::Http, site.app.clone(), bounds, stop.clone());
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

#[tokio::test]
async fn where_all_places_are_taken_idle_ones_are_given_away_and_busy_ones_are_not() {
    let served = Served::with("127.0.0.1:0", 3).await;
    let mut kept = served.connect().await;
    let (mut silent, mut dribbling) = (served.connect().await, served.connect().await);
    dribbling.write_all(b"GET /v1").await.unwrap();
    for _ in 0..20 {
        kept.write_all(served.head().as_bytes()).await.unwrap();
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 "));
        tokio::time::sleep(GRACE / 10).await;
    }
    for _ in 0..2 {
        let mut other = served.connect().await;
        other.write_all(served.head().as_bytes()).await.unwrap();
        assert!(answer(&mut other).await.starts_with("HTTP/1.1 200 "));
        kept.write_all(served.head().as_bytes()).await.unwrap();
        assert!(answer(&mut kept).await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!([rest(&mut silent).await, rest(&mut dribbling).await], ["", ""]);
}

#[test]
fn connections_fit_into_the_descriptors_that_there_are() {
    for (descriptors, http, grpc) in [(0, 1, 1), (256, 32, 100), (1024, 800, 100), (u64::MAX, 4000, 100)] {
        let most = [Speaks::Http, Speaks::Grpc].map(|speaks| speaks.connections_max(descriptors));
        assert_eq!(most, [http, grpc], "{descriptors}");
    }
}
