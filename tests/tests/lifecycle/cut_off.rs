//! Edges that are cut off, silent or paused: passed over, waited for, named in receipts.

use crate::scene::{Scene, address, holder, keyring, tenant, until};
use keywheel_domain::event::OverBasis;
use keywheel_domain::{Fact, Version};
use keywheel_tests::link::Link;
use keywheel_tests::operator::word;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::traffic::{self, Traffic};
use keywheel_token::KeyText;
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use serde_json::json;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// An edge outside of `up`, whose connection to the bus can be cut.
pub struct Remote {
    pub child: Child,
    link: Link,
    port: u16,
    pub http: String,
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Remote {
    pub async fn join(scene: &Scene) -> Remote {
        let home = scene.stack.home().to_owned();
        let added = keywheel(&binary().unwrap())
            .args(["edge", "add", "remote", "--output", "json", "--home"])
            .arg(&home)
            .output()
            .unwrap();
        assert!(added.status.success(), "edge add: {}", String::from_utf8_lossy(&added.stderr));
        let target = scene.stack.context.nats_url.trim_start_matches("nats://").to_owned();
        let link = Link::to(&target).unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = start(&home, &link, port);
        let remote = Remote { child, link, port, http: format!("http://127.0.0.1:{port}") };
        remote.until_ready(scene).await;
        remote
    }

    /// Ends it without warning, has something done to its folder and starts it again.
    pub fn restart(&mut self, scene: &Scene, meanwhile: impl FnOnce(&Path)) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        meanwhile(&scene.stack.home().join("data/edge-remote"));
        self.child = start(scene.stack.home(), &self.link, self.port);
    }

    pub async fn until_ready(&self, scene: &Scene) {
        until("the remote edge is ready", Duration::from_secs(30), || async {
            let ready = scene.http.get(format!("{}/readyz", self.http)).send().await;
            ready.is_ok_and(|response| response.status().is_success())
        })
        .await;
    }

    /// From here on it hears nothing, and nobody hears it.
    pub fn cut(&self) {
        self.link.cut();
    }

    pub async fn says(&self, scene: &Scene, key: &KeyText) -> String {
        let answer = traffic::ask(&scene.http, &self.http, key.expose(), true).await.unwrap();
        if answer.valid { "valid".to_owned() } else { answer.code.unwrap() }
    }

    pub async fn check(&self, scene: &Scene, key: &KeyText) -> u16 {
        let check = scene.http.get(format!("{}/v1/check", self.http)).bearer_auth(key.expose());
        check.send().await.unwrap().status().as_u16()
    }
}

/// A file that may not grow any more is an error there, not its end.
fn start(home: &Path, link: &Link, port: u16) -> Child {
    let run = r#"trap "" XFSZ; exec "$0" run edge --config "$1""#;
    let mut shell = keywheel(Path::new("sh"));
    shell
        .args(["-c", run])
        .arg(binary().unwrap())
        .arg(home.join("config/edge-remote.toml"))
        .env("KEYWHEEL_BUS__URL", format!("nats://{}", link.address()))
        .env("KEYWHEEL_HTTP__LISTEN", format!("127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(log(home))
        .spawn()
        .unwrap()
}

fn log(home: &Path) -> std::fs::File {
    std::fs::File::create(home.join("logs/edge-remote.log")).unwrap()
}

pub async fn receipt(scene: &Scene, client: &str, seq: u64) -> Receipt {
    for _ in 0..600 {
        let notices = scene.operator.bus.notices(&address(client), "receipt").await.unwrap();
        let found = notices.into_iter().find_map(|(notice, _)| match notice {
            Notice::Receipt(receipt) if receipt.seq == seq => Some(receipt),
            Notice::Receipt(_) | Notice::Alarm(_) | Notice::Head(_) => None,
        });
        if let Some(receipt) = found {
            return receipt;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no receipt for {seq}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_off_edge_is_passed_over_and_answers_503_to_what_it_does_not_know() {
    let scene = Scene::open().await;
    let remote = Remote::join(&scene).await;
    let ring = keyring("far");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert_eq!(remote.says(&scene, &first).await, "valid");

    remote.link.cut();
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    let (_, events) = scene.operator.history(&address("far")).await.unwrap();
    let barrier = events
        .iter()
        .find_map(|recorded| match &recorded.event.fact {
            Fact::KeyActivated(activated) if activated.version == version => Some(&activated.barrier),
            _ => None,
        })
        .unwrap();
    let over: Vec<_> = barrier.passed_over.iter().map(|over| over.edge.as_str()).collect();
    assert_eq!((over, barrier.edges.len()), (vec!["remote"], 2), "{barrier:?}");
    assert!(
        barrier
            .passed_over
            .iter()
            .all(|over| { matches!(over.basis, OverBasis::Silent | OverBasis::LeaseWaited) })
    );
    // From its delivery on no edge gives a definite no: this one does not know the key, and says so.
    assert_eq!(remote.says(&scene, &second).await, "stale");
    assert_eq!(remote.check(&scene, &second).await, 503);
    assert_eq!(remote.says(&scene, &first).await, "valid", "an available keyring is served on");

    remote.link.mend();
    until("the edge has caught up", Duration::from_secs(20), || async {
        remote.says(&scene, &second).await == "valid"
    })
    .await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_edge_blocks_retirement_until_it_speaks() {
    let scene = Scene::open().await;
    let remote = Remote::join(&scene).await;
    let ring = keyring("mute");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(first);
    let clients = vec![("mute".to_owned(), Arc::clone(&held))];
    let running = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));
    remote.link.cut();
    let version = scene.operator.rotate(&ring).await.unwrap();
    traffic::swap(&held, scene.operator.delivered(&ring, version).await.unwrap());
    // Everybody else has shown the old key unused for long; the available keyring's horizon is a day.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let (state, _) = scene.operator.history(&address("mute")).await.unwrap();
    assert_eq!(word(&state, Version(1)), "retiring", "retired although one edge said nothing");
    remote.link.mend();
    scene.operator.until(&ring, "retired", |state| word(state, Version(1)) == "retired").await.unwrap();
    running.stop().await;
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strict_keyring_is_refused_by_a_cut_off_edge_and_its_receipt_says_by_when() {
    let scene = Scene::open().await;
    scene.operator.policy(&tenant(), json!({ "class": "strict" })).await.unwrap();
    let remote = Remote::join(&scene).await;
    let (_, key) = scene.operator.issue(&keyring("strict")).await.unwrap();
    assert_eq!(remote.says(&scene, &key).await, "valid");
    remote.link.cut();
    let fields = json!({ "version": 1, "reason": "leaked" });
    let outcome = scene.operator.accepted(&address("strict"), Verb::Revoke, fields).await.unwrap();
    let receipt = receipt(&scene, "strict", outcome.event.unwrap().seq).await;
    assert_eq!((receipt.edges, receipt.applied_on.len()), (3, 2), "{receipt:?}");
    assert_eq!(receipt.unreached.iter().map(|edge| edge.edge.as_str()).collect::<Vec<_>>(), ["remote"]);
    assert_eq!(scene.everywhere(&key).await, ["revoked", "revoked"]);
    let by = receipt.unreached[0].refuses_by.0.0;
    while keywheel_runtime::clock::wall_ms() < by {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(remote.says(&scene, &key).await, "stale", "its lease has run out");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_edge_accepts_nothing_after_its_lease() {
    let scene = Scene::open().await;
    scene.operator.policy(&tenant(), json!({ "class": "strict" })).await.unwrap();
    let (_, key) = scene.operator.issue(&keyring("paused")).await.unwrap();
    let edge = scene.stack.edge("e2").unwrap().to_owned();
    assert!(scene.ask(&edge, &key).await.valid);
    scene.stack.signal("edge-e2", Signal::SIGSTOP).unwrap();
    let fields = json!({ "all": true, "reason": "leaked" });
    let outcome = scene.operator.accepted(&address("paused"), Verb::Revoke, fields).await.unwrap();
    let receipt = receipt(&scene, "paused", outcome.event.unwrap().seq).await;
    assert_eq!(receipt.unreached.len(), 1, "{receipt:?}");
    while keywheel_runtime::clock::wall_ms() < receipt.unreached[0].refuses_by.0.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The question lies in its socket while it sleeps; what it answers comes from after its lease.
    let (http, text) = (scene.http.clone(), key.expose().to_owned());
    let asked = tokio::spawn(async move { traffic::ask(&http, &edge, &text, false).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    scene.stack.signal("edge-e2", Signal::SIGCONT).unwrap();
    assert!(!asked.await.unwrap().unwrap().valid, "accepted after its receipt");
    scene.stop().await;
}
