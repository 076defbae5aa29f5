//! TLS on the bus: who has a certificate of the authority gets in, and nobody else, each told what to do.

use crate::rig::{Rig, edge};
use keywheel_bus::connect::read_signers;
use keywheel_bus::{Bus, BusConfig, BusError, TlsConfig};
use keywheel_runtime::clock;
use keywheel_stack::certificates;
use keywheel_stack::home::Home;
use keywheel_stack::permissions::Role;
use keywheel_stack::settings::Server;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DAY: u64 = 24 * 3600 * 1000;

/// An authority of its own, whose certificates were made `days` ago.
fn made(days: u64) -> (TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path()).unwrap();
    certificates::ensure(&home, &[Role::Operator], clock::wall_ms() - days * DAY).unwrap();
    (folder, home)
}

async fn connect(rig: &Rig, tls: Option<TlsConfig>) -> Result<Bus, BusError> {
    let config = BusConfig {
        url: rig.settings.server.url(),
        credentials: rig.home.credential("operator"),
        signers: read_signers(&rig.home.signers()).unwrap(),
        tls,
    };
    Bus::connect(&config.options("operator", false)).await
}

async fn refused(rig: &Rig, tls: Option<TlsConfig>, words: [&str; 2]) {
    let error = connect(rig, tls).await.map(|_| ()).unwrap_err();
    assert!(matches!(error, BusError::Tls(_)), "{error}");
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
}

fn operator(rig: &Rig) -> TlsConfig {
    certificates::of_role(&rig.home, "operator")
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_of_the_home_gets_in() {
    let rig = Rig::start_with(true).await;
    assert!(rig.settings.server.url().starts_with("tls://"));
    for role in [Role::fixed(), vec![Role::Edge(edge("e1")), Role::Edge(edge("e2"))]].concat() {
        rig.connect(&role).await;
    }
    rig.connect(&Role::Operator).await.head().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_another_authority_stays_away() {
    let rig = Rig::start_with(true).await;
    let (_folder, other) = made(0);
    let ca = certificates::authority(&other);
    let words = ["bus.tls.ca: ", ca.to_str().unwrap()];
    refused(&rig, Some(TlsConfig { ca: ca.clone(), ..operator(&rig) }), words).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_certificate_of_the_authority_lets_one_in() {
    let rig = Rig::start_with(true).await;
    let none = TlsConfig { cert: None, key: None, ..operator(&rig) };
    refused(&rig, Some(none), ["bus.tls.cert: ", "asks for a client certificate"]).await;
    let (_folder, other) = made(0);
    let strange =
        TlsConfig { ca: certificates::authority(&rig.home), ..certificates::of_role(&other, "operator") };
    refused(&rig, Some(strange), ["bus.tls.cert: ", "does not accept the certificate"]).await;
    let server = certificates::files(&rig.home, certificates::SERVER);
    let servers = TlsConfig { cert: Some(server.cert), key: Some(server.key), ..operator(&rig) };
    refused(&rig, Some(servers), ["bus.tls.cert: ", "does not accept the certificate"]).await;
    let mixed = TlsConfig { key: certificates::of_role(&rig.home, "issuer").key, ..operator(&rig) };
    refused(&rig, Some(mixed), ["bus.tls.key: ", "that belong together"]).await;
    connect(&rig, Some(operator(&rig))).await.unwrap();
}

/// Moves the rig's authority into the past, where it made a certificate that has ended since.
#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_and_renewed_at_the_next_start() {
    let rig = Rig::start_with(true).await;
    rig.children.stop().await;
    std::fs::remove_dir_all(rig.home.tls()).unwrap();
    certificates::ensure(&rig.home, &[Role::Operator], clock::wall_ms() - 400 * DAY).unwrap();
    let kept = keep(&rig.home, &["operator.pem", "operator.key", "server.pem", "server.key"]);

    let rig = rig.again().await;
    let expired = TlsConfig {
        cert: Some(kept.at("operator.pem")),
        key: Some(kept.at("operator.key")),
        ..operator(&rig)
    };
    refused(&rig, Some(expired), ["bus.tls.cert: ", "has expired"]).await;
    connect(&rig, Some(operator(&rig))).await.unwrap();

    for name in ["server.pem", "server.key"] {
        std::fs::copy(kept.at(name), rig.home.tls().join(name)).unwrap();
    }
    keywheel_stack::nats::reload(&rig.home, &rig.settings.server).unwrap();
    let told = eventually(async || connect(&rig, Some(operator(&rig))).await.map(|_| ()).err()).await;
    assert!(told.to_string().contains("has expired; renew it at the server"), "{told}");
}

struct Kept(TempDir);

impl Kept {
    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn keep(home: &Home, names: &[&str]) -> Kept {
    let kept = Kept(tempfile::tempdir().unwrap());
    for name in names {
        std::fs::copy(home.tls().join(name), kept.at(name)).unwrap();
    }
    kept
}

async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_heard_in_plain_text() {
    let rig = Rig::start_with(true).await;
    refused(&rig, None, ["bus.tls.ca: ", "is not signed by the authority in nothing"]).await;

    let Server::Own { port, .. } = rig.settings.server else { panic!("it is ours") };
    let mut plain = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    plain.write_all(b"CONNECT {\"verbose\":false}\r\nPING\r\n").await.unwrap();
    let mut said = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), plain.read_to_end(&mut said)).await.unwrap();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(said.starts_with("INFO ") && said.contains("\"tls_required\":true"), "{said}");
    assert!(!said.contains("PONG"), "{end:?}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_spoken_to_by_whoever_wants_it() {
    let rig = Rig::start().await;
    let (_folder, other) = made(0);
    let certificates = certificates::of_role(&other, "operator");
    refused(&rig, Some(certificates), ["bus.tls: ", "does not speak TLS"]).await;
}
