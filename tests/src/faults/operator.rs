//! An operator who issues, rotates, retires, revokes and rolls back at random, and sends much of it several times.

use super::ledger::Entry;
use super::ring::{Book, Ring};
use super::scene::{Part, Scene};
use super::watch::Watched;
use crate::hostile::chance::Chance;
use keywheel_bus::Bus;
use keywheel_domain::Address;
use keywheel_domain::event::CommandId;
use keywheel_wire::outcome::{Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const GAP_MS: (u64, u64) = (150, 550);
/// How many of a hundred commands are sent again at once, and how many once more later.
const DOUBLED: u64 = 25;
const LATE: u64 = 12;
const LATE_MS: (u64, u64) = (2000, 15000);
/// What a person does who heard nothing.
const AGAIN: Duration = Duration::from_millis(500);
const LOOK: Duration = Duration::from_secs(5);

/// Commands without an outcome, and receipts that are awaited.
#[derive(Default)]
pub struct Open {
    /// Acknowledged commands whose outcome was not read yet.
    pub outcomes: AtomicUsize,
    /// Accepted revocations whose receipt was not seen yet.
    pub receipts: AtomicUsize,
}

/// Who sends.
#[derive(Clone)]
pub struct Operator {
    /// The scene.
    pub scene: Arc<Scene>,
    /// What is seen on the bus.
    pub watched: Arc<Watched>,
    /// A connection that faults are done to.
    pub bus: Bus,
    /// What is still awaited.
    pub open: Arc<Open>,
}

/// A command as it is sent, each time the same.
struct Command {
    id: u128,
    ring: Arc<Ring>,
    verb: Verb,
    version: Option<u32>,
    document: Value,
}

impl Operator {
    /// Issues every keyring's first key; ends when each has an outcome.
    pub async fn issue_all(&self) {
        let mut tasks = JoinSet::new();
        for ring in &self.scene.rings {
            let command = Command::new(ring, Verb::Issue, None, json!({ "recipient": ring.opener.public() }));
            let operator = self.clone();
            tasks.spawn(async move { operator.carry_out(command, Chance::new(0), false).await });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Commands at random until that part ends, then until each has its outcome.
    pub async fn work(self, mut chance: Chance) {
        let mut tasks = JoinSet::new();
        while !self.scene.is_over(Part::Operator) {
            tokio::time::sleep(Duration::from_millis(chance.within(GAP_MS.0, GAP_MS.1))).await;
            while tasks.try_join_next().is_some() {}
            let command = choose(self.pick(&mut chance), &mut chance);
            let (operator, chance) = (self.clone(), chance.branch());
            tasks.spawn(async move { operator.carry_out(command, chance, true).await });
        }
        while tasks.join_next().await.is_some() {}
    }

    /// A keyring; rather one that has no key any more.
    fn pick(&self, chance: &mut Chance) -> &Arc<Ring> {
        let rings = &self.scene.rings;
        let without: Vec<&Arc<Ring>> = rings.iter().filter(|ring| ring.book().is_without()).collect();
        match without.get(chance.index(without.len())) {
            Some(ring) if chance.percent(50) => ring,
            Some(_) | None => &rings[chance.index(rings.len())],
        }
    }

    async fn carry_out(&self, command: Command, mut chance: Chance, again: bool) {
        let mut copy = 1;
        while !self.send(&command, copy).await {
            copy += 1;
            tokio::time::sleep(AGAIN).await;
        }
        self.open.outcomes.fetch_add(1, Ordering::SeqCst);
        if again && chance.percent(DOUBLED) {
            copy += 1;
            self.send(&command, copy).await;
        }
        let outcome = self.outcome(&command).await;
        self.open.outcomes.fetch_sub(1, Ordering::SeqCst);
        note(&command.ring, command.verb, &outcome);
        if again && chance.percent(LATE) {
            tokio::time::sleep(Duration::from_millis(chance.within(LATE_MS.0, LATE_MS.1))).await;
            self.send(&command, copy + 1).await;
            tokio::time::sleep(AGAIN).await;
            self.outcome(&command).await;
        }
        if let (Verb::Revoke, Some(event)) = (command.verb, &outcome.event) {
            self.open.receipts.fetch_add(1, Ordering::SeqCst);
            while !self.watched.has_receipt(event.seq) && !self.scene.is_over(Part::Everybody) {
                tokio::time::sleep(AGAIN).await;
            }
            self.open.receipts.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Publishes a copy; tells whether the bus has said that it is durable.
    async fn send(&self, command: &Command, copy: u32) -> bool {
        let sent = self.scene.moments.now();
        let address = Address::Keyring(command.ring.id.clone());
        let stored = self.bus.send_command(&address, command.verb, &command.document).await;
        let acknowledged = stored.is_ok().then(|| self.scene.moments.now());
        self.scene.write(&Entry::Command {
            sent,
            acknowledged,
            id: text::id(command.id),
            keyring: command.ring.name.clone(),
            verb: command.verb.word().to_owned(),
            version: command.version,
            copy,
        });
        acknowledged.is_some()
    }

    /// Waits for the outcome, for as long as that takes.
    async fn outcome(&self, command: &Command) -> Outcome {
        loop {
            let found = self.scene.bus.await_outcome(CommandId(command.id), LOOK).await;
            let Ok(Some(outcome)) = found else { continue };
            self.scene.write(&Entry::Outcome {
                read: self.scene.moments.now(),
                id: text::id(command.id),
                outcome: word(outcome.outcome).to_owned(),
                code: outcome.rejection.as_ref().map(|rejection| rejection.code.clone()),
                sequence: outcome.event.as_ref().map(|event| event.seq),
                version: outcome.version,
            });
            return outcome;
        }
    }
}

impl Command {
    fn new(ring: &Arc<Ring>, verb: Verb, version: Option<u32>, mut fields: Value) -> Command {
        let id = keywheel_token::id::fresh();
        if let Some(document) = fields.as_object_mut() {
            document.insert("id".to_owned(), json!(text::id(id)));
            document.insert("actor".to_owned(), json!("campaign"));
        }
        Command { id, ring: Arc::clone(ring), verb, version, document: fields }
    }
}

/// What to do with a keyring next.
fn choose(ring: &Arc<Ring>, chance: &mut Chance) -> Command {
    let recipient = json!({ "recipient": ring.opener.public() });
    let book = ring.book();
    let (active, retiring) = (book.in_state("active"), book.in_state("retiring"));
    if book.is_without() {
        return Command::new(ring, Verb::Issue, None, recipient);
    }
    let mut of = |versions: &[u32]| versions.get(chance.index(versions.len())).copied();
    let (an_active, an_old) = (of(&active), of(&retiring));
    let (verb, version, fields) = match chance.within(0, 100) {
        0..58 => (Verb::Rotate, None, recipient),
        58..64 => (Verb::Issue, None, recipient),
        64..74 => match an_old.or(an_active) {
            Some(version) => (Verb::Retire, Some(version), json!({ "version": version })),
            None => (Verb::Rotate, None, recipient),
        },
        74..86 => match if chance.percent(50) { an_old.or(an_active) } else { an_active.or(an_old) } {
            Some(version) => {
                (Verb::Revoke, Some(version), json!({ "version": version, "reason": "campaign" }))
            }
            None => (Verb::Rotate, None, recipient),
        },
        86..88 => (Verb::Revoke, None, json!({ "all": true, "reason": "campaign" })),
        _ => match rollback(&book, chance) {
            Some(fields) => (Verb::Rollback, None, fields),
            None => (Verb::Rotate, None, recipient),
        },
    };
    Command::new(ring, verb, version, fields)
}

/// To before a rotation, or to a position, now and then with the newer keys ended at once.
fn rollback(book: &Book, chance: &mut Chance) -> Option<Value> {
    let back = |length: usize, chance: &mut Chance| length.checked_sub(1 + chance.index(length.min(3)));
    let mut fields = if chance.percent(60) {
        let index = back(book.rotations.len(), chance)?;
        json!({ "rotation_id": book.rotations.get(index)? })
    } else {
        let index = back(book.positions.len(), chance)?;
        json!({ "to_seq": book.positions.get(index)? })
    };
    if chance.percent(25) {
        fields.as_object_mut()?.insert("revoke_new".to_owned(), json!(true));
    }
    Some(fields)
}

/// What an outcome tells the operator and the client.
fn note(ring: &Ring, verb: Verb, outcome: &Outcome) {
    let mut book = ring.book();
    if let Some(event) = &outcome.event {
        book.positions.push(event.seq);
    }
    if let (Verb::Issue | Verb::Rotate, Some(version)) = (verb, outcome.version) {
        book.announced = book.announced.max(version);
    }
    if let (Verb::Rotate, Some(rotation)) = (verb, &outcome.rotation_id) {
        book.rotations.push(text::id(rotation.0));
    }
}

fn word(word: Word) -> &'static str {
    match word {
        Word::Accepted => "accepted",
        Word::Unchanged => "unchanged",
        Word::Rejected => "rejected",
    }
}
