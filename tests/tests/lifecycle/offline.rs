//! Edges without the bus, and edges that were paused: what they say, also after a cold start.

use crate::process::await_gone;
use crate::scene::{Scene, address, keyring, tenant, until};
use keywheel_tests::stack::{binary, keywheel};
use keywheel_token::KeyText;
use keywheel_wire::subject::Verb;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What an edge says of each key: the status, the code, and whether it tells its age.
async fn said(scene: &Scene, edge: &str, key: &KeyText) -> (u16, String, bool) {
    let answer = scene.http.get(format!("{edge}/v1/check")).bearer_auth(key.expose()).send().await.unwrap();
    let code = answer.headers().get("x-keywheel-error").map_or("", |code| code.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), code, answer.headers().contains_key("x-keywheel-stale-age"))
}

async fn text(scene: &Scene, edge: &str, path: &str) -> String {
    scene.http.get(format!("{edge}{path}")).send().await.unwrap().text().await.unwrap()
}

async fn age_ms(scene: &Scene, edge: &str) -> u64 {
    let info: Value = serde_json::from_str(&text(scene, edge, "/v1/info").await).unwrap();
    assert_eq!(info["lease"]["fresh"], false, "{info}");
    info["lease"]["age_ms"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bus_each_key_is_answered_for_as_its_class_says_also_after_a_cold_start() {
    let scene = Scene::with(|options| options.restart = false).await;
    scene.operator.policy(&address("strict"), json!({ "class": "strict" })).await.unwrap();
    scene.operator.policy(&address("short"), json!({ "stale_max": "9s" })).await.unwrap();
    let mut keys = Vec::new();
    for client in ["open", "strict", "short", "revoked", "retired"] {
        keys.push(scene.operator.issue(&keyring(client)).await.unwrap().1);
    }
    scene.operator.issue(&keyring("retired")).await.unwrap();
    let reason = json!({ "version": 1, "reason": "leaked" });
    scene.operator.accepted(&address("revoked"), Verb::Revoke, reason).await.unwrap();
    scene.operator.accepted(&address("retired"), Verb::Retire, json!({ "version": 1 })).await.unwrap();
    let edge = scene.stack.edge("e1").unwrap().to_owned();
    until("the edge has applied both", Duration::from_secs(20), || async {
        said(&scene, &edge, &keys[3]).await.0 == 401 && said(&scene, &edge, &keys[4]).await.1 == "retired"
    })
    .await;
    let unknown = keywheel_token::mint(&keywheel_token::Brand::default()).text;
    assert_eq!(said(&scene, &edge, &unknown).await, (401, "unknown".to_owned(), false));

    scene.stack.signal("nats", Signal::SIGKILL).unwrap();
    until("the lease has run out", Duration::from_secs(20), || async {
        said(&scene, &edge, &keys[1]).await == (503, "stale".to_owned(), true)
    })
    .await;
    assert_eq!(said(&scene, &edge, &keys[2]).await.0, 200, "until its stale_max");
    let before = age_ms(&scene, &edge).await;
    let check = async || {
        let stale = (503, "stale".to_owned(), true);
        assert_eq!(said(&scene, &edge, &keys[0]).await, (200, String::new(), true), "available");
        assert_eq!(said(&scene, &edge, &keys[1]).await, stale, "strict");
        assert_eq!(said(&scene, &edge, &keys[3]).await, (401, "revoked".to_owned(), true));
        assert_eq!(said(&scene, &edge, &keys[4]).await, stale, "retired: it may have been revived");
        assert_eq!(said(&scene, &edge, &unknown).await, stale, "unknown");
        assert_eq!(scene.http.get(format!("{edge}/readyz")).send().await.unwrap().status().as_u16(), 503);
        assert!(text(&scene, &edge, "/metrics").await.contains("keywheel_edge_fresh 0"));
    };
    check().await;
    until("its stale_max has passed", Duration::from_secs(20), || async {
        said(&scene, &edge, &keys[2]).await == (503, "stale".to_owned(), true)
    })
    .await;

    let pid = scene.stack.pid("edge-e1").unwrap();
    scene.stack.signal("edge-e1", Signal::SIGKILL).unwrap();
    await_gone(&[("edge-e1", pid)]);
    let config = scene.stack.home().join("config/edge-e1.toml");
    let mut child =
        keywheel(&binary().unwrap()).args(["run", "edge", "--config"]).arg(config).spawn().unwrap();
    until("it listens", Duration::from_secs(20), || async {
        scene.http.get(format!("{edge}/livez")).send().await.is_ok()
    })
    .await;
    until("its table is loaded", Duration::from_secs(20), || async {
        said(&scene, &edge, &keys[0]).await.0 == 200
    })
    .await;
    check().await;
    assert_eq!(said(&scene, &edge, &keys[2]).await.0, 503, "a restart gives it no new time");
    assert!(age_ms(&scene, &edge).await > before, "nor makes it younger");
    child.kill().unwrap();
    child.wait().unwrap();
}

const TRIALS: usize = 5;
const WAITING: usize = 25;

fn stands_still(scene: &Scene, process: &str) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", scene.stack.pid(process).unwrap())).unwrap();
    let mut stats =
        threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap());
    stats.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
}

/// Questions that lie in the sockets of paused edges are answered first of all when they go on: before
/// any of them has been in contact with anything.
#[tokio::test(flavor = "multi_thread")]
async fn what_lay_before_a_paused_edge_is_not_accepted_after_its_lease() {
    let scene = Scene::with(|options| (options.edges, options.lease) = (4, "1500ms")).await;
    scene.operator.policy(&tenant(), json!({ "class": "strict" })).await.unwrap();
    let (mut refused, mut unanswered) = (0, 0);
    for trial in 0..TRIALS {
        let client = format!("c{trial}");
        let (_, key) = scene.operator.issue(&keyring(&client)).await.unwrap();
        assert!(scene.everywhere(&key).await.iter().all(|said| said == "valid"));
        let mut asked = Vec::new();
        for n in 1..=4 {
            scene.stack.signal(&format!("edge-e{n}"), Signal::SIGSTOP).unwrap();
        }
        // The signal takes effect thread by thread: until then a worker may still answer.
        until("each edge stands still", Duration::from_secs(10), || async {
            (1..=4).all(|n| stands_still(&scene, &format!("edge-e{n}")))
        })
        .await;
        let paused = std::time::Instant::now();
        let request = format!(
            "GET /v1/check HTTP/1.1\r\nhost: e\r\nconnection: close\r\nx-api-key: {}\r\n\r\n",
            key.expose()
        );
        for edge in scene.edges() {
            for _ in 0..WAITING {
                let mut stream = TcpStream::connect(edge.trim_start_matches("http://")).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                asked.push(stream);
            }
        }
        let fields = json!({ "all": true, "reason": "leaked" });
        scene.operator.accepted(&address(&client), Verb::Revoke, fields).await.unwrap();
        // Its last handshake began before it was paused.
        tokio::time::sleep(Duration::from_millis(1550).saturating_sub(paused.elapsed())).await;
        for n in 1..=4 {
            scene.stack.signal(&format!("edge-e{n}"), Signal::SIGCONT).unwrap();
        }
        for mut stream in asked {
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            match answer.get(9..12) {
                Some("503" | "401") => refused += 1,
                Some(status) => panic!("trial {trial}: {status} after its lease, with the key revoked"),
                None => unanswered += 1,
            }
        }
    }
    println!("{TRIALS} pauses of 4 edges: {refused} refused, {unanswered} unanswered, none accepted");
    assert!(refused > TRIALS * WAITING * 4 * 9 / 10, "{unanswered} were not answered");
    scene.stop().await;
}
