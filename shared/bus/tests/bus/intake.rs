//! Commands from their queue to their outcomes.

use crate::server::Server;
use crate::stage::{Replica, actor, eventually, fresh_id, keyring, server};
use keywheel_bus::batch::BATCH_MAX;
use keywheel_bus::intake::{self, Handler, Prepared, Refusal};
use keywheel_bus::survey::Seen;
use keywheel_bus::{Bus, BusError, Gate, topology};
use keywheel_domain::command::{Minted, SpecAsked};
use keywheel_domain::event::{CommandId, RotationId};
use keywheel_domain::{Act, Address, Digest, Kid, Policy, State};
use keywheel_wire::command::{Ask, Request};
use keywheel_wire::delivery::Sealed;
use keywheel_wire::notice::Notice;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::{self, Service, Verb};
use keywheel_wire::text;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A service in its smallest form. It refuses every rotation.
#[derive(Clone, Default)]
pub struct Tiny {
    pub asked: Arc<AtomicU64>,
    /// Who holds this makes it pause after it has looked under the command's id.
    pub pause: Arc<tokio::sync::Mutex<()>>,
}

impl Handler for Tiny {
    async fn prepare(&self, _: &Address, request: &Request, _: &State) -> Result<Prepared, Refusal> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        drop(self.pause.lock().await);
        match &request.ask {
            Ask::Policy(change) => Ok(Prepared {
                act: Act::SetPolicy { change: change.clone(), beneath: Policy::default() },
                sealed: None,
            }),
            Ask::Issue { spec, .. } => {
                let id = fresh_id();
                let kid = format!("{:010}", id >> 64);
                let digest = [id.to_be_bytes(), id.to_le_bytes()].concat().try_into().unwrap();
                let kid = Kid::parse(&kid).unwrap();
                let minted = Minted { kid, digest: Digest(digest), rotation: RotationId(id) };
                let sealed = Sealed::new(kid.as_str(), 0, b"box", "XSENDER");
                let policy = Policy { max_active: 1000, ..Policy::default() };
                Ok(Prepared { act: Act::Issue { minted, spec: spec.clone(), policy }, sealed: Some(sealed) })
            }
            Ask::Rotate { .. } => Err(Refusal::Rejected { code: "closed", detail: "not today".to_owned() }),
            Ask::Activate { .. }
            | Ask::Retire { .. }
            | Ask::Revoke { .. }
            | Ask::Rollback { .. }
            | Ask::Import { .. }
            | Ask::SignerAdd(_)
            | Ask::SignerWithdraw(_)
            | Ask::EdgeAdd(_)
            | Ask::EdgeRemove(_) => panic!("{:?} is asked by no test", request.ask),
        }
    }
}

/// Takes commands until the test ends.
pub fn serve(gate: &Gate, handler: &Tiny) -> JoinHandle<Result<(), BusError>> {
    let (gate, handler) = (gate.clone(), handler.clone());
    tokio::spawn(async move { intake::run(&gate, Service::Issuer, &handler, std::future::pending()).await })
}

async fn one() -> (Server, Bus, TempDir, Replica, Tiny) {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let (replica, tiny) = (Replica::start(&server, 1, folder.path()).await, Tiny::default());
    serve(&replica.gate, &tiny);
    (server, bus, folder, replica, tiny)
}

pub fn document(id: u128, fields: Value) -> Value {
    let mut document = json!({ "id": text::id(id), "actor": "dana" });
    document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    document
}

pub async fn outcome(bus: &Bus, id: u128) -> Outcome {
    let outcome = bus.await_outcome(CommandId(id), Duration::from_secs(20)).await.unwrap();
    outcome.unwrap_or_else(|| panic!("no outcome of {}", text::id(id)))
}

pub async fn is_empty(server: &Server) -> bool {
    let stream = server.stranger().await.get_stream("KW_COMMANDS").await.unwrap();
    stream.cached_info().state.messages == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_command_has_one_outcome() {
    let (server, bus, _folder, replica, _) = one().await;
    let id = fresh_id();
    let issue = document(id, json!({ "scopes": ["read"] }));
    bus.send_command(&keyring(0), Verb::Issue, &issue).await.unwrap();
    let first = outcome(&bus, id).await;
    assert_eq!((first.outcome, first.version), (Word::Accepted, Some(1)));
    let event = first.event.as_ref().unwrap();
    assert_eq!((event.kind.as_str(), event.seq), ("KeyIssued", 1));
    let kid = Kid::parse(first.kid.as_ref().unwrap()).unwrap();
    assert!(bus.staged(kid).await.unwrap().is_some(), "the secret waits under the kid that the log names");

    for _ in 0..3 {
        bus.send_command(&keyring(0), Verb::Issue, &issue).await.unwrap();
    }
    eventually("all are handled", || is_empty(&server)).await;
    assert_eq!(outcome(&bus, id).await, first, "word for word");
    assert_eq!(bus.head().await.unwrap().seq, 1);

    // Also when the outcome itself is gone: the log remembers.
    server.stranger().await.get_stream("KW_RESULTS").await.unwrap().purge().await.unwrap();
    bus.send_command(&keyring(0), Verb::Issue, &issue).await.unwrap();
    assert_eq!(outcome(&bus, id).await, first);
    assert_eq!(replica.gate.bus().head().await.unwrap().seq, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_ones_own_has_one_effect_and_one_outcome() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let replica = Replica::start(&server, 1, folder.path()).await;
    let ask = Ask::Issue { recipient: None, spec: SpecAsked::default() };
    let request = Request { id: CommandId(fresh_id()), actor: actor(), ask };
    for _ in 0..2 {
        intake::carry_out(&replica.gate, &Tiny::default(), &keyring(0), &request).await.unwrap();
    }
    let done = outcome(&bus, request.id.0).await;
    assert_eq!((done.outcome, done.event.unwrap().seq), (Word::Accepted, 1));
    assert!(bus.staged(Kid::parse(&done.kid.unwrap()).unwrap()).await.unwrap().is_some());
    assert_eq!(bus.head().await.unwrap().seq, 1);
}

/// SAFETY 7: whatever fails between minting and appending, no key is in the log whose secret is nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_issued_before_its_secret_is_staged() {
    let (server, bus, _folder, _replica, tiny) = one().await;
    server.stranger().await.delete_stream("KW_STAGE").await.unwrap();
    let id = fresh_id();
    bus.send_command(&keyring(0), Verb::Issue, &document(id, json!({}))).await.unwrap();
    eventually("it was tried again", async || tiny.asked.load(Ordering::Relaxed) >= 2).await;
    assert_eq!(bus.head().await.unwrap().seq, 0, "issued without a staged secret");

    topology::ensure(&bus, 1, 2).await.unwrap();
    let accepted = outcome(&bus, id).await;
    assert_eq!(accepted.outcome, Word::Accepted);
    let kid = Kid::parse(accepted.kid.as_ref().unwrap()).unwrap();
    assert!(bus.staged(kid).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_nothing_to_do_are_outcomes_too() {
    let (server, bus, _folder, _replica, tiny) = one().await;
    let (set, again, refused, against) = (fresh_id(), fresh_id(), fresh_id(), fresh_id());
    let policy = json!({ "policy": { "quiet": "2h" } });
    bus.send_command(&keyring(0), Verb::Policy, &document(set, policy.clone())).await.unwrap();
    assert_eq!(outcome(&bus, set).await.outcome, Word::Accepted);
    bus.send_command(&keyring(0), Verb::Policy, &document(again, policy)).await.unwrap();
    assert_eq!(outcome(&bus, again).await, Outcome::unchanged(again));
    bus.send_command(&keyring(0), Verb::Rotate, &document(refused, json!({}))).await.unwrap();
    assert_eq!(outcome(&bus, refused).await, Outcome::rejected(refused, "closed", "not today"));
    let contradiction = json!({ "policy": { "overlap_min": "2h", "overlap_max": "1h" } });
    bus.send_command(&keyring(0), Verb::Policy, &document(against, contradiction)).await.unwrap();
    let rejection = outcome(&bus, against).await.rejection.unwrap();
    assert_eq!(rejection.code, "contradictory_policy");

    let asked = tiny.asked.load(Ordering::Relaxed);
    bus.send_command(&keyring(0), Verb::Rotate, &document(refused, json!({}))).await.unwrap();
    eventually("all are handled", || is_empty(&server)).await;
    assert_eq!(tiny.asked.load(Ordering::Relaxed), asked, "what was decided is not decided again");
}

/// What cannot be read is refused by name, and nothing waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_commands_block_nobody() {
    let (server, bus, _folder, _replica, _) = one().await;
    let context = server.stranger().await;
    let publish = |subject: &'static str, id: Option<u128>, payload: String| {
        let context = context.clone();
        async move {
            let mut headers = async_nats::HeaderMap::new();
            if let Some(id) = id {
                headers.insert("Nats-Msg-Id", text::id(id));
            }
            context.publish_with_headers(subject, headers, payload.into()).await.unwrap().await.unwrap();
        }
    };
    let (unknown, elsewhere, by_header) = (fresh_id(), fresh_id(), fresh_id());
    publish("kw.cmd.acme.client-0.issue", None, "no JSON at all".to_owned()).await;
    publish("kw.cmd.acme.client-0.issue", None, json!({ "id": 7 }).to_string()).await;
    publish("kw.cmd.acme.client-0.issue", Some(by_header), "{".to_owned()).await;
    publish("kw.cmd.acme.client-0.issue", None, document(unknown, json!({ "colour": 1 })).to_string()).await;
    publish("kw.cmd.ACME.client-0.issue", None, document(elsewhere, json!({})).to_string()).await;
    let good = fresh_id();
    bus.send_command(&keyring(0), Verb::Issue, &document(good, json!({}))).await.unwrap();

    assert_eq!(outcome(&bus, good).await.outcome, Word::Accepted);
    let said =
        |outcome: Outcome| outcome.rejection.map(|rejection| (rejection.code, rejection.detail)).unwrap();
    let (code, detail) = said(outcome(&bus, unknown).await);
    assert_eq!(code, "malformed");
    assert!(detail.starts_with("unknown field `colour`"), "{detail}");
    assert_eq!(said(outcome(&bus, by_header).await).0, "malformed");
    let (code, detail) = said(outcome(&bus, elsewhere).await);
    assert_eq!((code.as_str(), &detail[..13]), ("malformed", "tenant \"ACME\""));

    eventually("all are handled", || is_empty(&server)).await;
    let alarms = bus.notices(&Address::Installation, "alarm").await.unwrap();
    let details: Vec<_> = alarms
        .into_iter()
        .map(|(notice, _)| match notice {
            Notice::Alarm(alarm) => (alarm.code, alarm.detail),
            other @ (Notice::Receipt(_) | Notice::Head(_)) => panic!("{other:?}"),
        })
        .collect();
    assert!(details.iter().all(|(code, _)| code == "malformed"), "{details:?}");
    let lead = "a command at kw.cmd.acme.client-0.issue without a readable id: ";
    assert!(details.iter().all(|(_, detail)| detail.starts_with(lead)), "{details:?}");
    assert_eq!(details.len(), 2, "{details:?}");
}

/// Two replicas, a hundred commands, each sent three times, over five keyrings.
#[tokio::test(flavor = "multi_thread")]
async fn every_command_has_one_effect() {
    let ((server, bus), folder) = (server().await, tempfile::tempdir().unwrap());
    let replicas =
        [Replica::start(&server, 1, folder.path()).await, Replica::start(&server, 2, folder.path()).await];
    for replica in &replicas {
        serve(&replica.gate, &Tiny::default());
    }
    let ids: Vec<u128> = (0..100).map(|_| fresh_id()).collect();
    for _ in 0..3 {
        for (n, id) in ids.iter().enumerate() {
            let address = keyring(u32::try_from(n % 5).unwrap());
            bus.send_command(&address, Verb::Issue, &document(*id, json!({}))).await.unwrap();
        }
    }
    let mut seqs = BTreeSet::new();
    for id in &ids {
        let outcome = outcome(&bus, *id).await;
        if let Some(event) = outcome.event {
            assert!(seqs.insert(event.seq), "one event for one command");
        } else {
            assert_eq!(outcome.rejection.unwrap().code, "too_many_accepted");
        }
    }
    eventually("all are handled", || is_empty(&server)).await;
    let last = bus.head().await.unwrap().seq;
    assert_eq!(seqs, (1..=last).collect(), "no event without a command");
    assert_eq!(last, 100);
    for replica in &replicas {
        replica.reaches(last).await;
        assert!(replica.witness.seen().alarms.is_empty());
    }
    assert_eq!(replicas[0].fold.head(), replicas[1].fold.head());
    check_staged(&server, &bus, last).await;
}

/// The secret of each issued key is staged, and nothing else is.
pub async fn check_staged(server: &Server, bus: &Bus, keys: u64) {
    for message in bus.page(1, None).await.unwrap() {
        let read = keywheel_wire::event::read(&message.subject, &message.payload).unwrap();
        let keywheel_domain::Fact::KeyIssued(issued) = read.event.fact else { panic!("only keys") };
        assert!(bus.staged(issued.kid).await.unwrap().is_some());
    }
    let stage = server.stranger().await.get_stream("KW_STAGE").await.unwrap();
    assert_eq!(stage.cached_info().state.messages, keys);
}

/// Commands that one keyring and verb may have in the queue.
const OF_ONE_MAX: usize = 1000;

/// More than one batch, two of whose keyrings' commands find no room: these are named, and all others are stored, once.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_commands_those_without_room_are_named_by_their_places() {
    let (_server, bus) = server().await;
    let of = |address: Address| (address, Verb::Policy, document(fresh_id(), json!({ "policy": {} })));
    let full: Vec<_> = (0..OF_ONE_MAX).map(|_| of(keyring(0))).collect();
    assert_eq!(bus.send_commands(&full).await.unwrap(), [0; 0]);

    let places = [3, BATCH_MAX + 1];
    let keyrings = (1..).map(keyring).take(BATCH_MAX + 2).enumerate();
    let mixed: Vec<_> =
        keyrings.map(|(place, free)| of(if places.contains(&place) { keyring(0) } else { free })).collect();
    assert_eq!(bus.send_commands(&mixed).await.unwrap(), places);
    let waiting = bus.look_at_streams().await.into_iter().find(|(name, _)| name == subject::COMMANDS);
    let Some((_, Seen::Found(found))) = waiting else { panic!("{waiting:?}") };
    assert_eq!(found.messages, (OF_ONE_MAX + mixed.len() - places.len()) as u64);
}
