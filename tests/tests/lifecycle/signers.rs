//! A service's signing key is replaced under traffic: nobody is refused, no reader is restarted, and whoever has the old
//! seed says nothing any more that counts.

use crate::cli::{document, refusal};
use crate::cut_off::Remote;
use crate::forged::{alarmed, issued, reached};
use crate::forger::{Forger, seed, stored};
use crate::scene::{Scene, address, assert_nobody_was_refused, holder, keyring, until};
use keywheel_domain::{State, Version};
use keywheel_table::fold::{Fold, Options};
use keywheel_tests::operator::word;
use keywheel_tests::stack::{binary, keywheel};
use keywheel_tests::traffic::{self, Traffic};
use keywheel_wire::signature::Signer;
use keywheel_wire::subject::Service;
use keywheel_wire::text::hex;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// The bus lets in the new key beside the old one, as while a key is replaced.
async fn let_in(scene: &Scene, old: &str, new: &str, seed: &Path) {
    let file = scene.stack.home().join("nats.conf");
    let mut text = std::fs::read_to_string(&file).unwrap();
    let (begin, end) = ("      # issuer\n", "\n      }\n");
    let from = text.find(begin).unwrap();
    let to = from + text[from..].find(end).unwrap() + end.len();
    let user = text[from..to].replace(old, new);
    assert!(user.contains(new));
    text.insert_str(to, &user);
    std::fs::write(&file, text).unwrap();
    scene.stack.signal("nats", Signal::SIGHUP).unwrap();
    let seed = std::fs::read_to_string(seed).unwrap();
    until("the bus knows the new key", SOON, async || {
        let options = async_nats::ConnectOptions::with_nkey(seed.trim().to_owned());
        options.connect(&scene.stack.context.nats_url).await.is_ok()
    })
    .await;
}

/// What an issuer with this seed says when it does not start.
fn refused_start(scene: &Scene, seed: &Path) -> String {
    let mut command = keywheel(Path::new("timeout"));
    command
        .arg("60")
        .arg(binary().unwrap())
        .args(["run", "issuer", "--config"])
        .arg(scene.stack.home().join("config/issuer.toml"))
        .env("KEYWHEEL_BUS__CREDENTIALS", seed)
        .env("KEYWHEEL_DATA_DIR", scene.stack.home().join("data/stranger"))
        .env("KEYWHEEL_OBSERVE__HTTP", "127.0.0.1:0");
    let ended = tokio::task::block_in_place(|| command.output()).unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
    // Whoever restarts it has it running once its key is introduced.
    assert_eq!(ended.status.code(), Some(1), "{said}");
    said
}

/// Where the log ends, with the running hash and the table digest that a fold of our own makes of it by the signers file
/// alone, and what it did not believe.
async fn folded(scene: &Scene) -> (Value, Vec<u64>) {
    let options = Options { commands: false, pending: |_| false, doubts: false };
    let signers = Arc::new(scene.operator.bus.signers().alone());
    let mut fold = Fold::open(Path::new(":memory:"), options, signers).unwrap();
    let (mut from, mut doubted) = (1, Vec::new());
    loop {
        let page = scene.operator.bus.page(from, None).await.unwrap();
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        doubted.extend(fold.apply(&page, &[]).unwrap().alarms.iter().map(|(seq, _)| *seq));
    }
    let head = fold.head();
    let stands =
        json!({ "watermark": head.watermark, "chain": hex(&head.chain.0), "digest": hex(&head.digest) });
    (stands, doubted)
}

async fn stands(scene: &Scene, edge: &str) -> Value {
    let info = scene.http.get(format!("{edge}/v1/info")).send().await.unwrap();
    let info: Value = info.json().await.unwrap();
    json!({ "watermark": info["watermark"], "chain": info["chain"], "digest": info["digest"] })
}

/// Who signed a keyring's first event.
async fn author(scene: &Scene, client: &str) -> String {
    let (_, events) = scene.operator.history(&address(client)).await.unwrap();
    stored(scene, &address(client), events[0].seq).await.signed.unwrap().by
}

/// Introduces a key by the word of the old one, as an operator does, and has the issuer sign with it.
async fn replace(scene: &Scene, old: &str) -> (String, PathBuf) {
    let home = scene.stack.home().to_owned();
    let file = home.join("issuer-2.nk");
    let made = document(scene, &format!("signer new issuer --file {}", file.display()), "");
    let new = made["key"].as_str().unwrap().to_owned();
    let_in(scene, old, &new, &file).await;
    let said = refused_start(scene, &file);
    assert!(said.contains(&format!("keywheel signer add issuer --key {new}")), "{said}");

    let own = home.join("credentials/issuer.nk");
    let add = format!("signer add issuer --key {new} --sign-with {}", own.display());
    let added = document(scene, &add, "");
    assert_eq!((added["outcome"].as_str(), added["by"].as_str()), (Some("accepted"), Some(old)));
    assert_eq!(document(scene, &add, "")["outcome"], "unchanged");
    std::fs::copy(&file, &own).unwrap();
    tokio::task::block_in_place(|| scene.stack.kill_and_await("issuer")).unwrap();
    (new, own)
}

/// What a thief may not have done with the old seed, and what the right key may not do alone.
fn nobody_else_changes_signers(scene: &Scene, stolen: &Path, own: &Path, new: &str) {
    let mine = document(scene, &format!("signer new issuer --file {}.thief", stolen.display()), "");
    let mine = mine["key"].as_str().unwrap();
    for (line, why) in [
        (format!("add issuer --key {mine} --sign-with {}", stolen.display()), "not_entitled"),
        (format!("add retirer --key {mine} --sign-with {}", own.display()), "not_entitled"),
        (format!("withdraw {new} --reason mine --yes --root {}", stolen.display()), "not_entitled"),
        (format!("withdraw {new} --reason alone --yes"), "last_signer"),
        (format!("withdraw {mine} --reason unknown --yes"), "unknown_signer"),
    ] {
        assert_eq!(refusal(scene, &format!("signer {line}")), (1, why.to_owned()), "{line}");
    }
    let unasked = refusal(scene, &format!("signer withdraw {new} --reason unasked"));
    assert_eq!(unasked, (2, "usage".to_owned()), "there is nobody to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leaked_issuers_key_is_replaced_under_traffic_and_says_nothing_any_more() {
    let scene = Scene::open().await;
    let ring = keyring("held");
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    let held = holder(first);
    let clients = vec![("held".to_owned(), Arc::clone(&held))];
    let traffic = Traffic::start(clients, &scene.edges(), Duration::from_millis(20));
    let thief = Forger::with(&scene, Service::Issuer).await;
    let stolen = scene.stack.home().join("stolen.nk");
    std::fs::write(&stolen, seed(&scene, Service::Issuer)).unwrap();
    let old = Signer::from_seed(&seed(&scene, Service::Issuer)).unwrap().public().to_owned();

    let (new, own) = replace(&scene, &old).await;
    let withdrawn = document(&scene, &format!("signer withdraw {old} --reason leaked --yes"), "");
    let over = withdrawn["event"]["seq"].as_u64().unwrap();
    let listed = document(&scene, "signer list", "");
    let issuers: Vec<_> = listed["signers"].as_array().unwrap().iter().take(2).collect();
    assert_eq!((&issuers[0]["key"], &issuers[0]["withdrawn_at"]), (&json!(old), &json!(over)), "{listed}");
    assert_eq!((&issuers[1]["key"], &issuers[1]["introduced_by"]), (&json!(new), &json!(old)), "{listed}");
    nobody_else_changes_signers(&scene, &stolen, &own, &new);

    let version = scene.operator.rotate(&ring).await.unwrap();
    traffic::swap(&held, scene.operator.delivered(&ring, version).await.unwrap());
    let (_, other) = scene.operator.issue(&keyring("later")).await.unwrap();
    assert_eq!(scene.everywhere(&other).await, ["valid", "valid"]);
    assert_eq!((author(&scene, "held").await, author(&scene, "later").await), (old, new));
    let is = |state: &State| word(state, Version(1)) == "retired";
    scene.operator.until(&ring, "retired", is).await.unwrap();

    // The bus still lets the thief in.
    let (before, events) = scene.operator.history(&address("held")).await.unwrap();
    let forged = thief.forge(&scene, &address("held"), issued(&events)).await;
    reached(&scene, forged).await;
    let (after, _) = scene.operator.history(&address("held")).await.unwrap();
    assert_eq!(before.keys, after.keys);
    until("it is told of", SOON, async || {
        alarmed(&scene, "not_believed", &address("held")).await == [forged]
    })
    .await;

    let version = scene.operator.rotate(&ring).await.unwrap();
    traffic::swap(&held, scene.operator.delivered(&ring, version).await.unwrap());
    let fresh = Remote::join(&scene).await;
    assert_nobody_was_refused(&traffic.stop().await);
    until("every edge has what our own fold has", SOON, async || {
        let (wanted, doubted) = folded(&scene).await;
        assert_eq!(doubted, [forged]);
        let mut all = scene.edges();
        all.push(fresh.http.clone());
        let mut agree = true;
        for edge in all {
            agree &= stands(&scene, &edge).await == wanted;
        }
        agree
    })
    .await;
    scene.stop().await;
}
