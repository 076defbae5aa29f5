//! Commands: from their queue to their outcomes. Nothing that somebody publishes can block the queue,
//! and one id has one effect and one outcome, however many replicas work (SAFETY 7, 12).

use crate::batch::BATCH_MAX;
use crate::error::Trying;
use crate::gate::{Decided, Executed};
use crate::overtake::{self, Progress};
use crate::queue::side_by_side;
use crate::results::Last;
use crate::{BusError, Gate, group, queue};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use keywheel_domain::event::CommandId;
use keywheel_domain::rejection::redacted;
use keywheel_domain::{Act, Address, Fact, Kid, Rejection, State};
use keywheel_wire::command::{self, BadCommand, Request};
use keywheel_wire::delivery::Sealed;
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::outcome::{Outcome, Result as Entry};
use keywheel_wire::subject::{self, Service, Verb};
use keywheel_wire::{Malformed, text};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Commands of so many bytes are decided together, so that what they become fits into memory at once.
const ROUND_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long one pull waits for commands, and so how long a stop may have to wait for it.
const PULL: Duration = Duration::from_secs(1);
const ATTEMPTS: u32 = 16;

/// What a service adds to a command before it is decided.
pub struct Prepared {
    /// What is to be decided.
    pub act: Act,
    /// The sealed secret to be staged before the event is appended.
    pub sealed: Option<Sealed>,
}

/// Why a service refuses a command before it is decided.
#[derive(Debug)]
pub enum Refusal {
    /// For the publisher: code and detail of the outcome.
    Rejected {
        /// For programs.
        code: &'static str,
        /// For people.
        detail: String,
    },
    /// It could not be prepared now; it is tried again.
    Later(BusError),
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        Refusal::Later(error)
    }
}

impl From<Malformed> for Refusal {
    fn from(error: Malformed) -> Self {
        Refusal::Rejected { code: "malformed", detail: error.to_string() }
    }
}

/// A service's part in handling commands.
pub trait Handler: Send + Sync {
    /// Adds what the decision needs: a freshly minted key, the policy that holds, the target of a rollback.
    fn prepare(
        &self,
        address: &Address,
        request: &Request,
        state: &State,
    ) -> impl Future<Output = Result<Prepared, Refusal>> + Send;
}

/// Takes this service's commands until `stop`, then finishes those at hand.
///
/// # Errors
/// When the database fails; the bus being away is waited for.
pub async fn run(
    gate: &Gate,
    service: Service,
    handler: &impl Handler,
    stop: impl Future<Output = ()>,
) -> Result<(), BusError> {
    let progress = Progress::default();
    let queue = async {
        let mut stop = std::pin::pin!(stop);
        loop {
            let asked_to_stop = futures_util::poll!(&mut stop).is_ready();
            if asked_to_stop {
                return Ok(());
            }
            if let Err(error) = pull(gate, service, handler, &progress).await {
                tracing::warn!(%error, "cannot take commands now; trying again");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    };
    tokio::select! {
        ended = queue => ended,
        () = overtake::run(gate, service, handler, &progress) => Ok(()),
    }
}

async fn pull(
    gate: &Gate,
    service: Service,
    handler: &impl Handler,
    progress: &Progress,
) -> Result<(), BusError> {
    let stream = gate.bus.stream(subject::COMMANDS).await?;
    let commands: PullConsumer =
        stream.get_consumer(service.name()).await.trying("opening the queue of commands")?;
    let messages = queue::take(&commands, BATCH_MAX, PULL, "taking commands").await?;
    let waiting = left(&messages);
    gate.bus.counts().waiting(waiting);
    progress.begin(waiting);
    work(gate, handler, messages).await;
    progress.end();
    Ok(())
}

/// How many commands the queue had beside those that were taken.
fn left(messages: &[Message]) -> u64 {
    messages.last().and_then(|message| message.info().ok()).map_or(0, |info| info.pending)
}

/// Works off what was taken: different keyrings together, the commands of one keyring one after another.
async fn work(gate: &Gate, handler: &impl Handler, messages: Vec<Message>) {
    let taken = Instant::now();
    let mut by_address: BTreeMap<String, VecDeque<Message>> = BTreeMap::new();
    for message in messages {
        let address = message.subject.rsplit_once('.').map_or("", |(address, _)| address).to_owned();
        by_address.entry(address).or_default().push_back(message);
    }
    while !by_address.is_empty() {
        let (mut round, mut bytes) = (Vec::new(), 0);
        by_address.retain(|_, waiting| {
            if bytes <= ROUND_BYTES_MAX
                && let Some(message) = waiting.pop_front()
            {
                bytes += message.payload.len();
                round.push(message);
            }
            !waiting.is_empty()
        });
        settle_round(gate, handler, round, taken).await;
    }
}

/// Handles commands of different keyrings: together what can be accepted right away, singly the rest.
async fn settle_round(gate: &Gate, handler: &impl Handler, round: Vec<Message>, taken: Instant) {
    let (mut messages, mut asked, mut rest) = (Vec::new(), Vec::new(), Vec::new());
    for message in round {
        match read(&message) {
            Ok(read) if !is_forged(&message) => {
                messages.push(message);
                asked.push(read);
            }
            Ok(_) | Err(_) => rest.push(message),
        }
    }
    let finished = if asked.len() > 1 {
        group::carry_out(gate, handler, &asked).await
    } else {
        vec![false; asked.len()]
    };
    for (message, is_finished) in messages.into_iter().zip(finished) {
        if is_finished {
            gate.bus.counts().took(taken.elapsed());
            acknowledge(&message, message.ack().await);
        } else {
            rest.push(message);
        }
    }
    side_by_side(rest.iter().map(|message| settle(gate, handler, message, taken)).collect()).await;
}

/// A message whose acknowledgement would go to a subject that somebody else chose.
fn is_forged(message: &Message) -> bool {
    message.message.reply.as_ref().is_none_or(|reply| !reply.starts_with("$JS.ACK."))
}

/// Handles one message and takes it off the queue; what failed for a passing reason comes again later.
async fn settle(gate: &Gate, handler: &impl Handler, message: &Message, taken: Instant) {
    if is_forged(message) {
        return;
    }
    let acknowledged = match handle(gate, handler, message).await {
        Ok(()) => {
            gate.bus.counts().took(taken.elapsed());
            message.ack().await
        }
        Err(error) => {
            tracing::warn!(%error, subject = redacted(&message.subject), "a command waits; it is tried again");
            message.ack_with(AckKind::Nak(Some(Duration::from_secs(1)))).await
        }
    };
    acknowledge(message, acknowledged);
}

fn acknowledge(message: &Message, acknowledged: Result<(), async_nats::Error>) {
    if let Err(error) = acknowledged {
        tracing::debug!(%error, subject = redacted(&message.subject), "a command was not acknowledged; it comes again");
    }
}

async fn handle(gate: &Gate, handler: &impl Handler, message: &Message) -> Result<(), BusError> {
    match read(message) {
        Ok((address, request)) => decide(gate, handler, &address, &request).await,
        Err(bad) => refuse_unreadable(gate, message, bad.id.or_else(|| id_of(message)), &bad.error).await,
    }
}

fn read(message: &Message) -> Result<(Address, Request), Box<BadCommand>> {
    subject::parse_command(&message.subject)
        .map_err(|error| Box::new(BadCommand { id: command::id_in(&message.payload), error }))
        .and_then(|(address, verb)| Ok((address, command::read(verb, &message.payload)?)))
}

/// A document without a readable id may carry one as the message's own.
fn id_of(message: &Message) -> Option<CommandId> {
    let header = message.headers.as_ref()?.get(subject::HEADER_ID)?;
    text::parse_id("id", header.as_str()).ok().map(CommandId)
}

async fn refuse_unreadable(
    gate: &Gate,
    message: &Message,
    id: Option<CommandId>,
    error: &Malformed,
) -> Result<(), BusError> {
    let subject = redacted(&message.subject);
    tracing::warn!(subject, %error, "a malformed command");
    let Some(id) = id else {
        let detail = format!("a command at {subject} without a readable id: {error}");
        let at = text::Moment(gate.now());
        let alarm = Alarm { code: "malformed".to_owned(), detail, at, seq: None };
        let seq = message.info().map(|info| info.stream_sequence).unwrap_or_default();
        return gate
            .bus
            .notify(&Address::Installation, &format!("malformed-{seq}"), &Notice::Alarm(alarm))
            .await;
    };
    match gate.bus.result(id).await? {
        Some(Last { entry: Entry::Final(_), .. }) => Ok(()),
        Some(Last { entry: Entry::Intent(_), .. }) => Err(BusError::Failed {
            what: "refusing a command",
            detail: "another command of the same id is being decided".to_owned(),
        }),
        None => put(gate, None, &malformed(id, error), 0).await.map(|_| ()),
    }
}

fn malformed(id: CommandId, error: &Malformed) -> Outcome {
    Outcome::rejected(id.0, "malformed", &error.to_string())
}

async fn put(gate: &Gate, verb: Option<Verb>, outcome: &Outcome, expects: u64) -> Result<bool, BusError> {
    let is_put = gate.bus.put_outcome(outcome, expects).await?;
    if is_put {
        gate.bus.counts().settled(verb, outcome.outcome);
    }
    Ok(is_put)
}

/// Carries out a request that a service makes of itself, as if it had come from the queue: the same
/// steps, one effect and one outcome under its id. Nobody sends it again: after an error the service does.
///
/// # Errors
/// When it could not be carried out now; trying again is safe.
pub async fn carry_out(
    gate: &Gate,
    handler: &impl Handler,
    address: &Address,
    request: &Request,
) -> Result<(), BusError> {
    decide(gate, handler, address, request).await
}

/// From a readable command to its outcome. Every conflict begins anew with the outcome itself.
async fn decide(
    gate: &Gate,
    handler: &impl Handler,
    address: &Address,
    request: &Request,
) -> Result<(), BusError> {
    for _ in 0..ATTEMPTS {
        let last = gate.bus.result(request.id).await?;
        if last.as_ref().is_some_and(|last| matches!(last.entry, Entry::Final(_))) {
            return Ok(());
        }
        if attempt(gate, handler, address, request, last.as_ref()).await? {
            return Ok(());
        }
    }
    Err(BusError::Contended(ATTEMPTS))
}

/// One attempt; false when somebody else came first.
async fn attempt(
    gate: &Gate,
    handler: &impl Handler,
    address: &Address,
    request: &Request,
    last: Option<&Last>,
) -> Result<bool, BusError> {
    let (expects, verb) = (last.map_or(0, |last| last.seq), Some(request.ask.verb()));
    let loaded = gate.fold.lock().load(address, Some(request.id))?;
    if let Some(done) = loaded.state.done.get(&request.id) {
        return put(gate, verb, &Outcome::accepted(request.id.0, done), expects).await;
    }
    match loaded.frozen {
        // Whoever wrote an intent may know more than this version does.
        Some(reason) if last.is_some() => return Err(BusError::Frozen(reason)),
        Some(reason) => {
            let detail = format!("{reason}; a newer version of the services is needed");
            return put(gate, verb, &Outcome::rejected(request.id.0, "frozen", &detail), 0).await;
        }
        None => {}
    }
    let prepared = match handler.prepare(address, request, &loaded.state).await {
        Ok(prepared) => prepared,
        Err(Refusal::Later(error)) => return Err(error),
        Err(Refusal::Rejected { code, detail }) => {
            let outcome = Outcome::rejected(request.id.0, code, &detail);
            return refuse(gate, address, &loaded, (verb, &outcome), last).await;
        }
    };
    let decision = gate.decide(address, request.id, &request.actor, prepared.act)?;
    match decision.outcome {
        Decided::Settled(Executed::Done(done)) => {
            put(gate, verb, &Outcome::accepted(request.id.0, &done), expects).await
        }
        Decided::Settled(Executed::Unchanged) => {
            let outcome = Outcome::unchanged(request.id.0);
            refuse(gate, address, &decision.loaded, (verb, &outcome), last).await
        }
        Decided::Settled(Executed::Rejected(rejection)) => {
            let outcome = rejected(request.id, &rejection);
            refuse(gate, address, &decision.loaded, (verb, &outcome), last).await
        }
        Decided::Append(event) => {
            let on = decision.loaded.seq;
            if !intends(gate, request.id, on, last).await? {
                return Ok(false);
            }
            let staged = stage(gate, &event.fact, prepared.sealed.as_ref()).await?;
            match gate.append(&event, &decision.loaded).await? {
                Some(done) => {
                    announce(gate, request.ask.verb(), &Outcome::accepted(request.id.0, &done)).await
                }
                None => {
                    if let Some(kid) = staged {
                        gate.bus.withdraw(kid).await?;
                    }
                    Ok(false)
                }
            }
        }
    }
}

fn rejected(id: CommandId, rejection: &Rejection) -> Outcome {
    Outcome::rejected(id.0, rejection.code(), &rejection.to_string())
}

/// Promises under the command id to append on `on` and on nothing else.
async fn intends(gate: &Gate, id: CommandId, on: u64, last: Option<&Last>) -> Result<bool, BusError> {
    match last.map(|last| &last.entry) {
        Some(Entry::Intent(intent)) if intent.intent == on => Ok(true),
        Some(Entry::Intent(_) | Entry::Final(_)) | None => {
            gate.bus.put_intent(id, on, last.map_or(0, |last| last.seq)).await
        }
    }
}

async fn stage(gate: &Gate, fact: &Fact, sealed: Option<&Sealed>) -> Result<Option<Kid>, BusError> {
    let Some((kid, sealed)) = fact.issues().zip(sealed) else { return Ok(None) };
    gate.bus.stage(kid, sealed).await?;
    Ok(Some(kid))
}

/// Writes an outcome that has no event, on a state that still stands. Over an intent only when the
/// intended append can no longer succeed, because the address has moved past what it expects.
async fn refuse(
    gate: &Gate,
    address: &Address,
    loaded: &keywheel_table::Loaded,
    (verb, outcome): (Option<Verb>, &Outcome),
    last: Option<&Last>,
) -> Result<bool, BusError> {
    if !gate.is_current(address, loaded).await? {
        return Ok(false);
    }
    match last.map(|last| &last.entry) {
        Some(Entry::Intent(intent)) if intent.intent >= loaded.seq => Err(BusError::Failed {
            what: "refusing a command",
            detail: "another replica intends to accept it".to_owned(),
        }),
        Some(Entry::Intent(_) | Entry::Final(_)) | None => {
            put(gate, verb, outcome, last.map_or(0, |last| last.seq)).await
        }
    }
}

/// Writes an accepted outcome over whatever intent lies there. The event is in the log already.
pub(crate) async fn announce(gate: &Gate, verb: Verb, outcome: &Outcome) -> Result<bool, BusError> {
    let id = CommandId(outcome.command_id.0);
    for _ in 0..ATTEMPTS {
        let last = gate.bus.result(id).await?;
        if last.as_ref().is_some_and(|last| matches!(last.entry, Entry::Final(_))) {
            return Ok(true);
        }
        if put(gate, Some(verb), outcome, last.map_or(0, |last| last.seq)).await? {
            return Ok(true);
        }
    }
    Err(BusError::Contended(ATTEMPTS))
}
