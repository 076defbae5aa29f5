//! Group commit: commands of different keyrings that were taken together are decided together, and their
//! intents, sealed secrets, events and outcomes go out as one atomic batch each, in the same order as singly:
//! a sync for all of them instead of one for each. Every condition is the one that a single command has.
//! What a batch does not carry is left to the single way, which stays the reference and starts from
//! what is stored.

use crate::gate::Decided;
use crate::intake::Handler;
use crate::queue::side_by_side;
use crate::{Gate, intake};
use keywheel_domain::event::CommandId;
use keywheel_domain::state::Done;
use keywheel_domain::{Address, Event, Kid};
use keywheel_table::Loaded;
use keywheel_wire::command::Request;
use keywheel_wire::delivery::Sealed;
use keywheel_wire::outcome::{Intent, Outcome, Word};
use keywheel_wire::subject::Verb;
use keywheel_wire::text::Id;
use std::collections::BTreeSet;

/// A command that is to be accepted.
struct Member {
    /// Its place among those asked.
    place: usize,
    id: CommandId,
    verb: Verb,
    event: Box<Event>,
    loaded: Loaded,
    sealed: Option<Sealed>,
}

/// A member whose intent lies at `intent` in the stream of results.
struct Intended {
    member: Member,
    intent: u64,
}

/// Carries out those of `asked`, each about another address, that can be accepted right away. Says of each whether
/// it is finished, with its outcome stored; the others are to be handled singly.
pub(crate) async fn carry_out(
    gate: &Gate,
    handler: &impl Handler,
    asked: &[(Address, Request)],
) -> Vec<bool> {
    let mut finished = vec![false; asked.len()];
    let proposals = asked
        .iter()
        .enumerate()
        .map(|(place, (address, request))| propose(gate, handler, place, address, request))
        .collect();
    let members = side_by_side(proposals).await.into_iter().flatten().collect();
    let intended = intend(gate, of_different_ids(members)).await;
    let staged = stage(gate, intended).await;
    let appended = append(gate, staged).await;
    let last = appended.iter().map(|(_, done)| done.seq).max();
    for place in announce(gate, &appended).await {
        finished[place] = true;
    }
    if let Some(last) = last
        && let Err(error) = gate.applied(last).await
    {
        tracing::warn!(%error, "what follows is decided on an older state, and again where that is refused");
    }
    finished
}

/// The event by which a command is accepted; nothing where it is finished, refused or cannot be decided now.
async fn propose(
    gate: &Gate,
    handler: &impl Handler,
    place: usize,
    address: &Address,
    request: &Request,
) -> Option<Member> {
    let before = gate.load(address, request.id).ok()?;
    if before.state.done.contains_key(&request.id) {
        return None;
    }
    let prepared = handler.prepare(address, request, &before.state).await.ok()?;
    let decision = gate.decide(address, request.id, &request.actor, prepared.act).ok()?;
    match decision.outcome {
        Decided::Append(event) => {
            let (id, verb, loaded) = (request.id, request.ask.verb(), decision.loaded);
            Some(Member { place, id, verb, event, loaded, sealed: prepared.sealed })
        }
        Decided::Settled(_) => None,
    }
}

/// One id has one effect, also where it was sent to two keyrings.
fn of_different_ids(members: Vec<Member>) -> Vec<Member> {
    let mut ids = BTreeSet::new();
    members.into_iter().filter(|member| ids.insert(member.id)).collect()
}

/// Writes all intents where nothing lies yet, which is also how it is known that nothing does (SAFETY 12).
async fn intend(gate: &Gate, members: Vec<Member>) -> Vec<Intended> {
    let intent = |member: &Member| {
        let id = member.id;
        (id, 0, Intent { command_id: Id(id.0), intent: member.loaded.seq })
    };
    let entries: Vec<_> = members.iter().map(intent).collect();
    match gate.bus.put_results(&entries).await {
        Some(first) => (first..).zip(members).map(|(intent, member)| Intended { member, intent }).collect(),
        None => Vec::new(),
    }
}

fn parcel(member: &Member) -> Option<(Kid, &Sealed)> {
    member.event.fact.issues().zip(member.sealed.as_ref())
}

/// Stages every sealed secret before anything is appended (SAFETY 7).
async fn stage(gate: &Gate, intended: Vec<Intended>) -> Vec<Intended> {
    let parcels: Vec<_> = intended.iter().filter_map(|one| parcel(&one.member)).collect();
    if gate.bus.stage_batch(&parcels).await {
        return intended;
    }
    let singly = intended.into_iter().map(|one| stage_one(gate, one)).collect();
    side_by_side(singly).await.into_iter().flatten().collect()
}

async fn stage_one(gate: &Gate, one: Intended) -> Option<Intended> {
    let staged = match parcel(&one.member) {
        Some((kid, sealed)) => gate.bus.stage(kid, sealed).await,
        None => Ok(()),
    };
    staged.is_ok().then_some(one)
}

/// Appends all events. Where a keyring's condition failed, its secret is withdrawn.
async fn append(gate: &Gate, staged: Vec<Intended>) -> Vec<(Intended, Done)> {
    let events: Vec<_> = staged.iter().map(|one| (one.member.event.as_ref(), &one.member.loaded)).collect();
    let results = gate.append_all(&events).await;
    let mut appended = Vec::new();
    for (one, result) in staged.into_iter().zip(results) {
        match result {
            Ok(Some(done)) => appended.push((one, done)),
            Ok(None) => withdraw(gate, &one.member).await,
            Err(error) => tracing::warn!(%error, address = %one.member.event.address, "an append is unclear"),
        }
    }
    appended
}

async fn withdraw(gate: &Gate, member: &Member) {
    let Some((kid, _)) = parcel(member) else { return };
    if let Err(error) = gate.bus.withdraw(kid).await {
        tracing::warn!(%kid, %error, "a sealed secret lies on that no key has");
    }
}

/// Writes the outcomes over the intents, and gives the places of those that are stored.
async fn announce(gate: &Gate, appended: &[(Intended, Done)]) -> Vec<usize> {
    let entry = |(one, done): &(Intended, Done)| {
        let id = one.member.id;
        (id, one.intent, Outcome::accepted(id.0, done))
    };
    let entries: Vec<_> = appended.iter().map(entry).collect();
    let places: Vec<usize> = appended.iter().map(|(one, _)| one.member.place).collect();
    let verbs = appended.iter().map(|(one, _)| one.member.verb);
    if gate.bus.put_results(&entries).await.is_some() {
        verbs.for_each(|verb| gate.bus.counts().settled(Some(verb), Word::Accepted));
        return places;
    }
    let singly =
        verbs.zip(&entries).map(|(verb, (_, _, outcome))| intake::announce(gate, verb, outcome)).collect();
    let announced = side_by_side(singly).await.into_iter();
    announced
        .zip(places)
        .filter(|(announced, _)| matches!(announced, Ok(true)))
        .map(|(_, place)| place)
        .collect()
}
