//! Many commands at once: sent in batches, a few of them under way at a time so that others' commands do not wait
//! behind all of it, each until its outcome is known. Killed anywhere and started again nothing happens twice,
//! because each command's id follows from what it says.

use crate::deadline::Deadline;
use crate::document::Document;
use crate::failure::Failure;
use crate::outage::Outage;
use crate::screen::Live;
use crate::session::{PATIENCE, Session};
use keywheel_bus::batch::BATCH_MAX;
use keywheel_domain::event::CommandId;
use keywheel_domain::{Address, KeyringId};
use keywheel_wire::outcome::Outcome;
use keywheel_wire::subject::Verb;
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::time::Duration;

/// How many batches are under way at once.
const UNDER_WAY: usize = 4;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often what found no room in the queue is sent again.
const ROOM_EVERY: Duration = Duration::from_millis(250);

/// A command about a keyring whose outcome is not known yet; `about` is the caller's own.
pub(crate) struct Asked<T> {
    pub id: CommandId,
    pub keyring: KeyringId,
    pub fields: Map<String, Value>,
    pub about: T,
}

/// An outcome, and whether what it tells of happened in this run.
pub(crate) struct Settled<'a> {
    pub outcome: &'a Outcome,
    pub is_fresh: bool,
}

/// Sends every command whose outcome is not known, and waits for all; `count` is told each outcome once.
pub(crate) async fn send_all<T>(
    session: &Session<'_>,
    verb: Verb,
    asked: Vec<Asked<T>>,
    mut count: impl FnMut(Asked<T>, Settled<'_>),
) -> Result<(), Failure> {
    let total = asked.len();
    let mut sender =
        Sender { session, verb, live: session.screen.progress(total), outage: Outage::default(), before: 0 };
    sender.before = sender.head().await?;
    let mut waiting = asked.into_iter();
    let (mut under_way, mut deadline) = (VecDeque::new(), session.deadline());
    loop {
        while under_way.len() < UNDER_WAY && waiting.len() > 0 {
            let batch = waiting.by_ref().take(BATCH_MAX).collect();
            let batch = sender.settle(batch, &mut count).await?;
            sender.send(&batch).await?;
            deadline = session.deadline();
            under_way.push_back(batch);
        }
        let Some(oldest) = under_way.pop_front() else { return Ok(()) };
        let before = oldest.len();
        let left = sender.settle(oldest, &mut count).await?;
        if left.len() < before {
            deadline = session.deadline();
        }
        let known = total - waiting.len() - under_way.iter().map(Vec::len).sum::<usize>() - left.len();
        sender.live.at(known);
        if !left.is_empty() {
            under_way.push_front(left);
            if deadline.has_passed() {
                return Err(unfinished(verb, known, total));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn unfinished(verb: Verb, known: usize, total: usize) -> Failure {
    let service = verb.decided_by().name();
    Failure::unfinished(format!(
        "nothing was decided for {PATIENCE}; {known} of {total} are done. The rest is stored and goes on by itself; \
         check that the {service} runs, and repeat the same command: nothing has two effects"
    ))
}

struct Sender<'a> {
    session: &'a Session<'a>,
    verb: Verb,
    live: Live,
    outage: Outage,
    /// Where the log ended when this run began.
    before: u64,
}

impl Sender<'_> {
    async fn head(&mut self) -> Result<u64, Failure> {
        loop {
            let asked = self.session.bus.head().await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            if let Some(head) = self.outage.bridge(asked, deadline, &self.live).await? {
                return Ok(head.seq);
            }
        }
    }

    /// Counts those whose outcome is known, and gives the others back.
    async fn settle<T>(
        &mut self,
        asked: Vec<Asked<T>>,
        count: &mut impl FnMut(Asked<T>, Settled<'_>),
    ) -> Result<Vec<Asked<T>>, Failure> {
        let ids: Vec<CommandId> = asked.iter().map(|asked| asked.id).collect();
        let outcomes = loop {
            let found = self.session.bus.outcomes(&ids).await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            if let Some(found) = self.outage.bridge(found, deadline, &self.live).await? {
                break found;
            }
        };
        let mut left = Vec::new();
        for asked in asked {
            match outcomes.get(&asked.id) {
                Some(outcome) => {
                    let is_fresh = outcome.event.as_ref().is_some_and(|event| event.seq > self.before);
                    count(asked, Settled { outcome, is_fresh });
                }
                None => left.push(asked),
            }
        }
        Ok(left)
    }

    async fn send<T>(&mut self, batch: &[Asked<T>]) -> Result<(), Failure> {
        let actor = self.session.actor();
        let command = |asked: &Asked<T>| {
            let document = Document::new(asked.id.0, &actor).with_all(asked.fields.clone());
            (Address::Keyring(asked.keyring.clone()), self.verb, document.into_value())
        };
        let mut commands: Vec<_> = batch.iter().map(command).collect();
        let mut room = self.session.deadline();
        loop {
            let sent = self.session.bus.send_commands(&commands).await.map_err(Failure::from);
            let deadline = Deadline::within_or_never(None);
            let Some(refused) = self.outage.bridge(sent, deadline, &self.live).await? else {
                room = self.session.deadline();
                continue;
            };
            if refused.is_empty() {
                return Ok(());
            }
            if refused.len() < commands.len() {
                room = self.session.deadline();
            } else if room.has_passed() {
                return Err(crowded(refused.len(), room));
            }
            // Only these again: what was stored must not take more of the room.
            commands = refused.into_iter().map(|place| commands[place].clone()).collect();
            self.live.say(&format!("the queue is full; {} commands wait for room", commands.len()));
            tokio::time::sleep(ROOM_EVERY).await;
        }
    }
}

fn crowded(commands: usize, waited: Deadline) -> Failure {
    let detail = format!(
        "the queue has been full for {}, and {commands} commands found no room; repeat the same command later: \
         nothing has two effects",
        waited.given()
    );
    Failure::refused("too_many_waiting", detail)
}
