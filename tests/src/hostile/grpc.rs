//! What Envoy asks an edge: a gRPC message, or what is none, at the service that answers on each connection.

use super::http::{ACTIVE, RETIRED, SECRET, app};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::service::Service as _;
use hyper::{Request, StatusCode};
use keywheel_edge::address::Peer;
use keywheel_edge::envoy::{Service, service};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
const PATIENCE: Duration = Duration::from_secs(20);
/// Ahead of each message: that it is not packed, and its length.
const FRAME: usize = 5;

/// The first byte says whether the rest is framed as a message, or stands for all that is sent.
pub fn grpc(data: &[u8]) {
    thread_local! {
        static EDGE: (Runtime, Service) = (
            Builder::new_current_thread().enable_all().build().unwrap(),
            service(app(), Peer::At([127, 0, 0, 1].into())),
        );
    }
    let Some((first, asked)) = data.split_first() else { return };
    let answer = EDGE.with(|(runtime, service)| runtime.block_on(answer(service, first % 2 == 0, asked)));
    let has = |text: &str| answer.windows(text.len()).any(|window| window == text.as_bytes());
    for key in [ACTIVE, RETIRED] {
        assert!(!has(&key[SECRET]), "an answer repeats a key: {}", answer.escape_ascii());
    }
    // Who is accepted has shown the key, every byte of it.
    let is_shown = asked.windows(ACTIVE.len()).any(|window| window == ACTIVE.as_bytes());
    assert!(is_shown || !has("x-keywheel-tenant"), "{}", answer.escape_ascii());
    if !answer.is_empty() {
        let length = u32::try_from(answer.len() - FRAME).unwrap().to_be_bytes();
        assert_eq!((answer[0], &answer[1..FRAME]), (0, &length[..]), "one whole message");
    }
}

async fn answer(service: &Service, is_framed: bool, asked: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if is_framed {
        body.push(0);
        body.extend(u32::try_from(asked.len()).unwrap().to_be_bytes());
    }
    body.extend(asked);
    let request = Request::post(CHECK).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Full::new(Bytes::from(body))).unwrap();
    let answered = tokio::time::timeout(PATIENCE, service.call(request)).await.expect("an answer in time");
    let response = answered.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "gRPC tells of mistakes otherwise");
    let has_status = response.headers().contains_key("grpc-status");
    let collected = response.into_body().collect().await.unwrap();
    let in_trailers = collected.trailers().is_some_and(|trailers| trailers.contains_key("grpc-status"));
    assert!(has_status || in_trailers, "it ends without a status");
    collected.to_bytes().to_vec()
}
