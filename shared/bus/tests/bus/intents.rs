//! One outcome per command id, also when a replica pauses between its intent and its append (SAFETY 12).

use crate::intake::{Tiny, document, outcome, serve};
use crate::server::Server;
use crate::stage::{Replica, Writer, eventually, fresh_id, keyring, plain_event, server};
use keywheel_bus::Bus;
use keywheel_bus::log::Appended;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, Event};
use keywheel_wire::event::Link;
use keywheel_wire::outcome::{Intent, Outcome, Result as Entry, Word};
use keywheel_wire::subject::{self, Verb};
use keywheel_wire::text::Id;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tempfile::TempDir;

/// A replica that would refuse every rotation, beside one that wrote an intent to accept `id` and paused.
struct Paused {
    server: Server,
    bus: Bus,
    _folder: TempDir,
    replica: Replica,
    tiny: Tiny,
    writer: Writer,
    id: u128,
    /// What the paused one will append.
    event: Event,
    link: Link,
    on: u64,
}

impl Paused {
    async fn new() -> Paused {
        let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
        let (mut writer, id) = (Writer::default(), fresh_id());
        let on = writer.append(&bus, &keyring(0)).await;
        let replica = Replica::start(&server, 1, folder.path()).await;
        replica.reaches(on).await;
        let loaded = replica.gate.load(&keyring(0), CommandId(id)).unwrap();
        let link = Link { revision: loaded.state.revision + 1, prev: loaded.prev };
        let event = Event { command: CommandId(id), ..plain_event(&keyring(0)) };
        let paused = Paused {
            server,
            bus,
            _folder: folder,
            replica,
            tiny: Tiny::default(),
            writer,
            id,
            event,
            link,
            on,
        };
        paused.write(&Intent { command_id: Id(id), intent: on }).await;
        paused
    }

    async fn write(&self, entry: &impl serde::Serialize) {
        let payload = serde_json::to_vec(entry).unwrap();
        let context = self.server.stranger().await;
        context.publish(subject::result(self.id), payload.into()).await.unwrap().await.unwrap();
    }

    async fn send(&self, address: &Address, verb: Verb, id: u128) {
        self.bus.send_command(address, verb, &document(id, json!({}))).await.unwrap();
    }

    /// The paused replica wakes up and does what it intended.
    async fn wake(&self) -> Appended {
        self.bus.append(&self.event, self.link, self.on).await.unwrap()
    }

    async fn entry(&self) -> Entry {
        self.bus.result(CommandId(self.id)).await.unwrap().unwrap().entry
    }

    async fn asked(&self, times: u64) {
        let asked = || async { self.tiny.asked.load(Ordering::Relaxed) >= times };
        eventually("the other replica decides", asked).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_while_the_intended_append_can_succeed() {
    let paused = Paused::new().await;
    serve(&paused.replica.gate, &paused.tiny);
    paused.send(&keyring(0), Verb::Rotate, paused.id).await;
    paused.asked(2).await;
    assert!(matches!(paused.entry().await, Entry::Intent(_)), "tried twice, refused never");

    assert_eq!(paused.wake().await, Appended::Stored(2));
    let accepted = outcome(&paused.bus, paused.id).await;
    assert_eq!((accepted.outcome, accepted.event.unwrap().seq), (Word::Accepted, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_written_once_the_keyring_moved_on() {
    let mut paused = Paused::new().await;
    serve(&paused.replica.gate, &paused.tiny);
    paused.send(&keyring(0), Verb::Rotate, paused.id).await;
    paused.asked(1).await;
    assert_eq!(paused.writer.append(&paused.bus, &keyring(0)).await, 2);
    let refused = outcome(&paused.bus, paused.id).await;
    assert_eq!(refused, Outcome::rejected(paused.id, "closed", "not today"));

    assert_eq!(paused.wake().await, Appended::Conflict, "what was refused does not happen");
    assert_eq!(paused.entry().await, Entry::Final(refused));
}

/// An unreadable command of the same id must not answer for the one that is being decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_twin_does_not_answer_for_an_intended_command() {
    let paused = Paused::new().await;
    serve(&paused.replica.gate, &paused.tiny);
    let twin = document(paused.id, json!({ "colour": "blue" }));
    paused.bus.send_command(&keyring(0), Verb::Rotate, &twin).await.unwrap();
    // Commands of one keyring are handled in order: when this one is answered, the twin was looked at.
    let next = fresh_id();
    paused.send(&keyring(0), Verb::Rotate, next).await;
    outcome(&paused.bus, next).await;
    assert!(matches!(paused.entry().await, Entry::Intent(_)), "{:?}", paused.entry().await);

    assert_eq!(paused.wake().await, Appended::Stored(2));
    paused.send(&keyring(0), Verb::Rotate, paused.id).await;
    assert_eq!(outcome(&paused.bus, paused.id).await.outcome, Word::Accepted);
}

/// Whoever died after its intent leaves the command to be accepted by another.
#[tokio::test(flavor = "multi_thread")]
async fn an_intent_whose_writer_died_is_carried_out_by_another() {
    let paused = Paused::new().await;
    serve(&paused.replica.gate, &paused.tiny);
    paused.send(&keyring(0), Verb::Issue, paused.id).await;
    let accepted = outcome(&paused.bus, paused.id).await;
    assert_eq!((accepted.outcome, accepted.event.unwrap().seq), (Word::Accepted, 2));
    assert_eq!(paused.wake().await, Appended::Conflict);
    assert_eq!(paused.bus.head().await.unwrap().seq, 2);
}

/// The intent of one who decided on an older state is replaced by a new one, and then carried out.
#[tokio::test(flavor = "multi_thread")]
async fn an_outdated_intent_is_renewed() {
    let mut paused = Paused::new().await;
    let on = paused.writer.append(&paused.bus, &keyring(0)).await;
    paused.replica.reaches(on).await;
    serve(&paused.replica.gate, &paused.tiny);
    paused.send(&keyring(0), Verb::Issue, paused.id).await;
    let accepted = outcome(&paused.bus, paused.id).await;
    assert_eq!(accepted.event.unwrap().seq, 3);
    assert_eq!(paused.wake().await, Appended::Conflict);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_final_stays() {
    let paused = Paused::new().await;
    let decided = Outcome::rejected(paused.id, "closed", "by somebody else");
    paused.write(&decided).await;
    serve(&paused.replica.gate, &paused.tiny);
    paused.send(&keyring(0), Verb::Issue, paused.id).await;
    let next = fresh_id();
    paused.send(&keyring(0), Verb::Rotate, next).await;
    outcome(&paused.bus, next).await;
    assert_eq!(paused.entry().await, Entry::Final(decided));
    assert_eq!(paused.bus.head().await.unwrap().seq, 1, "and has no effect");
    let waited = paused.bus.await_outcome(CommandId(fresh_id()), Duration::from_millis(50)).await;
    assert_eq!(waited.unwrap(), None, "no outcome is no error");
}

/// A replica whose fold is behind must not answer by what is no longer so.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_replica_catches_up_before_it_answers() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    Writer::default().append(&bus, &keyring(0)).await;
    let (mut late, tiny, id) = (Replica::open(&server, 1, folder.path()).await, Tiny::default(), fresh_id());
    serve(&late.gate, &tiny);
    let clear = document(id, json!({ "policy": { "quiet": null } }));
    bus.send_command(&keyring(0), Verb::Policy, &clear).await.unwrap();
    let asked = || async { tiny.asked.load(Ordering::Relaxed) >= 1 };
    eventually("it decides that there is nothing to clear", asked).await;
    late.follow();
    assert_eq!(outcome(&bus, id).await.outcome, Word::Accepted);
}

/// A replica looks, pauses and then wants to answer; meanwhile another has answered. What lies there stays,
/// and nothing happens against it.
#[tokio::test(flavor = "multi_thread")]
async fn who_answers_second_does_not_answer() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let (replica, tiny) = (Replica::start(&server, 1, folder.path()).await, Tiny::default());
    serve(&replica.gate, &tiny);
    let context = server.stranger().await;
    for verb in [Verb::Rotate, Verb::Issue] {
        let (id, paused) = (fresh_id(), tiny.pause.clone().lock_owned().await);
        let asked = tiny.asked.load(Ordering::Relaxed);
        bus.send_command(&keyring(0), verb, &document(id, json!({}))).await.unwrap();
        let looked = || async { tiny.asked.load(Ordering::Relaxed) > asked };
        eventually("it has looked", looked).await;

        let decided = Outcome::rejected(id, "closed", "by somebody else");
        let payload = serde_json::to_vec(&decided).unwrap();
        context.publish(subject::result(id), payload.into()).await.unwrap().await.unwrap();
        drop(paused);
        let next = fresh_id();
        bus.send_command(&keyring(0), Verb::Rotate, &document(next, json!({}))).await.unwrap();
        outcome(&bus, next).await;
        assert_eq!(outcome(&bus, id).await, decided, "{verb:?}");
        assert_eq!(bus.head().await.unwrap().seq, 0, "{verb:?}: nothing was appended");
    }
}
