//! A rotation's proofs as an auditor gets them from a stack, and checks them far from it.

use crate::desk::{Desk, document, text};
use jsonschema::{Registry, Validator};
use keywheel_domain::{Address, KeyringId, Tenant};
use keywheel_tests::traffic;
use serde_json::{Value, json};

fn validator() -> Validator {
    let read = |name: &str| -> Value {
        let path = format!("{}/../schemas/v1/{name}.schema.json", env!("CARGO_MANIFEST_DIR"));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let entries = ["proof", "types"].map(|name| {
        let resource = jsonschema::Draft::Draft202012.create_resource(read(name));
        (format!("keywheel:/schemas/v1/{name}.schema.json"), resource)
    });
    let registry = Registry::new().extend(entries).unwrap().prepare().unwrap();
    let schema = json!({ "$ref": "keywheel:/schemas/v1/proof.schema.json" });
    // The project's own formats and keywords do not stand in what is reached from here.
    jsonschema::options().with_registry(&registry).build(&schema).unwrap()
}

/// The rotation of a keyring's newest version.
fn rotation(desk: &Desk, keyring: &str) -> String {
    let log = text(&desk.run_as("auditor.json", &["log", keyring, "--output", "json"]), 0);
    let mut events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let issued = events.rfind(|event| event["type"] == "KeyIssued").unwrap();
    issued["rotation_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_hold_far_from_the_stack() {
    let desk = Desk::open().await;
    let acme = Address::Tenant(Tenant::parse("acme").unwrap());
    desk.operator.policy(&acme, json!({ "overlap_min": "1s", "quiet": "2s" })).await.unwrap();
    let keyring = KeyringId::parse("acme/quiet").unwrap();
    desk.operator.issue(&keyring).await.unwrap();
    let version = desk.operator.rotate(&keyring).await.unwrap();
    let key = desk.operator.delivered(&keyring, version).await.unwrap();
    let edge = desk.stack.context.edges[0].http.clone();
    assert!(traffic::ask(&reqwest::Client::new(), &edge, key.expose(), false).await.unwrap().valid);
    let retired =
        |state: &keywheel_domain::State| !state.keys[&keywheel_domain::Version(1)].state.is_accepted();
    desk.operator.until(&keyring, "retired", retired).await.unwrap();
    std::fs::copy(&desk.stack.context.signers, desk.path("signers.toml")).unwrap();

    let write = |keyring: &str, dir: &str| {
        let id = rotation(&desk, keyring);
        text(&desk.run_as("auditor.json", &["audit", "proof", "--rotation", &id, "--dir", dir]), 0);
        let list = std::fs::read_dir(desk.path(dir)).unwrap();
        let mut names: Vec<String> = list.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(write("acme/quiet", "one"), ["activation.json", "quiet.json"]);
    assert_eq!(write("acme/leak", "two"), ["activation.json", "receipt.json"]);
    let Desk { stack, operator: _operator, folder } = desk;
    tokio::task::block_in_place(|| stack.stop()).unwrap();
    let path = |name: &str| folder.path().join(name);

    let validator = validator();
    for file in ["one/activation.json", "one/quiet.json", "two/receipt.json"] {
        let check = ["audit", "check", file, "--signers", "signers.toml", "--output", "json"];
        let run = |code: i32| {
            let mut command = keywheel_tests::stack::keywheel(&keywheel_tests::stack::binary().unwrap());
            document(&command.args(check).current_dir(folder.path()).output().unwrap(), code)
        };
        let said = run(0);
        assert_eq!(
            (&said["holds"], &said["documents"][0]["complete"]),
            (&json!(true), &json!(true)),
            "{said}"
        );
        let whole: Value = serde_json::from_slice(&std::fs::read(path(file)).unwrap()).unwrap();
        assert!(validator.is_valid(&whole), "{file}: {:?}", validator.iter_errors(&whole).next());
        for place in ["/summary/version", "/summary/keyring", "/evidence/0/payload"] {
            let mut bent = whole.clone();
            *bent.pointer_mut(place).unwrap() = json!("AAAA");
            std::fs::write(path(file), bent.to_string()).unwrap();
            assert_eq!(run(1)["holds"], false, "{file} {place}");
        }
        let mut other = whole.clone();
        other["summary"]["strange"] = json!(1);
        assert!(!validator.is_valid(&other), "the schema is closed");
    }
}
