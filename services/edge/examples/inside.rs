//! A service that verifies keys by itself: `inside CONFIG ADDRESS`, with the configuration that `keywheel edge add` wrote.

use anyhow::Context as _;
use axum::extract::ConnectInfo;
use axum::routing::{get, post};
use axum::{Router, serve};
use keywheel_edge::{AuthorizeLayer, Config, Identity, Verifier};
use keywheel_runtime::Shutdown;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

const USAGE: &str = "usage: inside CONFIG ADDRESS";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (config, address) = arguments.next().zip(arguments.next()).context(USAGE)?;
    let verifier = Verifier::open(Config::read(Path::new(&config))?).await?;
    verifier.ready(Duration::from_secs(30)).await?;

    let listener = TcpListener::bind(&address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = Shutdown::on_signals()?;
    let service = routes(&verifier).into_make_service_with_connect_info::<SocketAddr>();
    serve(listener, service).with_graceful_shutdown(async move { stop.requested().await }).await?;

    println!("everything reported: {}", verifier.close().await);
    Ok(())
}

fn routes(verifier: &Verifier) -> Router {
    let key = AuthorizeLayer::new(verifier)
        .require("read")
        .peer(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip()));
    let write = key.clone().require("write");
    let (asked, shown) = (verifier.clone(), verifier.clone());
    Router::new()
        .route("/notes", get(read).merge(post(write_note).layer(write)))
        .layer(key)
        .route("/readyz", get(async move || asked.unready().unwrap_or("ready")))
        .route("/metrics", get(async move || shown.metrics()))
}

async fn read(whose: Identity) -> String {
    format!("notes of {}/{}, version {}\n", whose.tenant(), whose.client(), whose.version.0)
}

async fn write_note(whose: Identity) -> String {
    format!("written for {}/{}\n", whose.tenant(), whose.client())
}
