//! A rotation that is undone by itself, because clients still come with the version that it retired; and what is not.

use crate::scene::{Scene, address, keyring, tenant};
use keywheel_domain::event::Fact;
use keywheel_domain::{State, Version};
use keywheel_tests::operator::word;
use keywheel_token::KeyText;
use keywheel_wire::notice::Notice;
use keywheel_wire::subject::Verb;
use serde_json::json;

const REFUSED: usize = 6;

/// v1 was used, and retired by its quiet proof; v2 is in use.
async fn retired(scene: &Scene, client: &str) -> (KeyText, KeyText) {
    let ring = keyring(client);
    let (_, first) = scene.operator.issue(&ring).await.unwrap();
    assert!(scene.ask(&scene.edges()[0], &first).await.valid);
    let seen = |state: &State| state.keys[&Version(1)].seen.is_some();
    scene.operator.until(&ring, "seen", seen).await.unwrap();
    let version = scene.operator.rotate(&ring).await.unwrap();
    let second = scene.operator.delivered(&ring, version).await.unwrap();
    assert!(scene.ask(&scene.edges()[1], &second).await.valid);
    scene.operator.until(&ring, "retired", |state| word(state, Version(1)) == "retired").await.unwrap();
    (first, second)
}

/// Shows a key to an edge until the edge knows that it has ended, and then this often.
async fn show(scene: &Scene, key: &KeyText, code: &str) {
    let mut refused = 0;
    while refused < REFUSED {
        let answer = scene.ask(&scene.edges()[0], key).await;
        refused += usize::from(answer.code.as_deref() == Some(code));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_whose_old_key_clients_still_need_is_undone_once_and_said() {
    let scene = Scene::open().await;
    let auto = json!({ "refused_ratio": 0.5, "min_refused": REFUSED, "window": "1h" });
    scene.operator.policy(&tenant(), json!({ "auto_rollback": auto })).await.unwrap();
    // Beside it one whose old key is known as stolen, and one that a person retired.
    let (stolen, _) = retired(&scene, "stolen").await;
    let fields = json!({ "version": 1, "reason": "stolen" });
    scene.operator.accepted(&address("stolen"), Verb::Revoke, fields).await.unwrap();
    show(&scene, &stolen, "revoked").await;

    let ring = keyring("needed");
    let (first, second) = retired(&scene, "needed").await;
    show(&scene, &first, "retired").await;
    let back = |state: &State| word(state, Version(1)) == "active";
    scene.operator.until(&ring, "undone by itself", back).await.unwrap();
    let (state, events) = scene.operator.history(&address("needed")).await.unwrap();
    assert_eq!(word(&state, Version(2)), "retiring", "its holders keep it");
    let done: Vec<_> = events.iter().filter(|it| matches!(it.event.fact, Fact::RolledBack(_))).collect();
    assert_eq!(done.iter().map(|it| it.event.actor.as_str()).collect::<Vec<_>>(), ["usage-tracker"]);
    crate::scene::until("accepted everywhere", std::time::Duration::from_secs(20), || async {
        scene.everywhere(&first).await == ["valid", "valid"]
            && scene.everywhere(&second).await == ["valid", "valid"]
    })
    .await;
    let notices = scene.operator.bus.notices(&address("needed"), "alarm").await.unwrap();
    let told = |notice: &Notice| matches!(notice, Notice::Alarm(alarm) if alarm.code == "auto_rollback");
    assert_eq!(notices.iter().filter(|(notice, _)| told(notice)).count(), 1);

    let (state, _) = scene.operator.history(&address("stolen")).await.unwrap();
    assert_eq!(word(&state, Version(1)), "revoked");
    scene.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_policy_refusals_are_only_told() {
    let scene = Scene::open().await;
    let (first, _) = retired(&scene, "told").await;
    show(&scene, &first, "retired").await;
    let (ring, enough) = (keyring("told"), u64::try_from(REFUSED).unwrap());
    crate::scene::until("the refusals are counted", std::time::Duration::from_secs(20), || async {
        let usage = scene.operator.bus.ask_usage(&ring).await.unwrap();
        usage.refused.first().is_some_and(|one| one.version == 1 && one.refused >= enough)
    })
    .await;
    let (state, _) = scene.operator.history(&address("told")).await.unwrap();
    assert_eq!(word(&state, Version(1)), "retired");
    scene.stop().await;
}
