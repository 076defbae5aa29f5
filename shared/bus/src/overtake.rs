//! Overtaking: while a service is behind with its queue, the oldest commands of each tenant that waits are decided
//! beside it, so that who sends much holds up nobody else. What was decided so is found finished when its turn in the
//! queue comes: one id has one effect and one outcome, whoever comes first (SAFETY 12).

use crate::batch::BATCH_MAX;
use crate::error::Trying;
use crate::intake::{self, Handler};
use crate::queue::side_by_side;
use crate::{Bus, BusError, Gate};
use futures_util::TryStreamExt as _;
use keywheel_domain::Address;
use keywheel_wire::command::{self, Request};
use keywheel_wire::subject::{self, Service, Verb};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often it is looked whether the service is behind; and at least so long between two looks at what waits.
const EVERY: Duration = Duration::from_millis(250);
/// Keyrings of one tenant whose oldest command is decided at a time.
const KEYRINGS: usize = 8;

/// How far the queue's own way has come.
#[derive(Default)]
pub(crate) struct Progress {
    /// Counts beginnings and ends of what is worked off together: odd in the middle.
    steps: AtomicU64,
    /// Commands that waited behind what was taken last.
    waiting: AtomicU64,
}

impl Progress {
    /// What was taken is being worked off, and so many wait behind it.
    pub fn begin(&self, waiting: u64) {
        self.waiting.store(waiting, Ordering::Relaxed);
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// It is worked off.
    pub fn end(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether somebody would have to wait: for more than the next taking, or for the same one as at the last look.
    fn is_behind(&self, last: &mut u64) -> bool {
        let steps = self.steps.load(Ordering::Relaxed);
        let same = std::mem::replace(last, steps) == steps && steps % 2 == 1;
        same || self.waiting.load(Ordering::Relaxed) > BATCH_MAX as u64
    }
}

/// By tenant and keyring, the subjects on which commands wait.
type Waiting = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Looks for who has to wait, as long as it is polled.
pub(crate) async fn run(gate: &Gate, service: Service, handler: &impl Handler, progress: &Progress) {
    let (mut last, mut turn) = (0, 0);
    // The newest command of each keyring that was decided here and may still lie in the queue.
    let mut done: HashMap<String, u64> = HashMap::new();
    loop {
        tokio::time::sleep(EVERY).await;
        if !progress.is_behind(&mut last) {
            done.clear();
            continue;
        }
        turn += 1;
        if let Err(error) = look(gate, service, handler, turn, &mut done).await {
            tracing::debug!(%error, "cannot see now who waits");
        }
    }
}

/// Decides the oldest command of some keyrings of each tenant.
async fn look(
    gate: &Gate,
    service: Service,
    handler: &impl Handler,
    turn: usize,
    done: &mut HashMap<String, u64>,
) -> Result<(), BusError> {
    let waiting = waiting(&gate.bus, service).await?;
    let oldest = chosen(&waiting, turn).into_iter().map(|(place, subjects)| {
        let after = done.get(place).copied().unwrap_or_default();
        oldest_of(&gate.bus, place, subjects, after)
    });
    let found: Vec<Found> = side_by_side(oldest.collect()).await.into_iter().flatten().collect();
    if !found.is_empty() {
        tracing::info!(
            service = service.name(),
            commands = found.len(),
            "behind with the queue; other tenants overtake"
        );
    }
    done.extend(found.iter().map(|found| (found.place.clone(), found.seq)));
    let decided = found.iter().filter_map(|found| {
        let (address, request) = found.read.as_ref()?;
        Some(intake::carry_out(gate, handler, address, request))
    });
    for result in side_by_side(decided.collect()).await {
        if let Err(error) = result {
            tracing::debug!(%error, "a command could not overtake; its turn in the queue comes");
        }
    }
    Ok(())
}

/// By tenant and keyring, the subjects on which commands for this service wait.
async fn waiting(bus: &Bus, service: Service) -> Result<Waiting, BusError> {
    let what = "asking who waits";
    let stream = bus.stream(subject::COMMANDS).await?;
    let mut waiting = Waiting::new();
    for verb in Verb::ALL.into_iter().filter(|verb| verb.decided_by() == service) {
        let mut subjects = stream.info_with_subjects(verb.filter()).await.trying(what)?;
        while let Some((subject, _)) = subjects.try_next().await.trying(what)? {
            let Some((place, _)) = subject.rsplit_once('.') else { continue };
            let Some((tenant, _)) = place.rsplit_once('.') else { continue };
            let keyrings = waiting.entry(tenant.to_owned()).or_default();
            keyrings.entry(place.to_owned()).or_default().push(subject.clone());
        }
    }
    Ok(waiting)
}

/// Some keyrings of each tenant, others in each turn; none where only one tenant waits.
fn chosen(waiting: &Waiting, turn: usize) -> Vec<(&str, &[String])> {
    let mut chosen = Vec::new();
    for keyrings in waiting.values().filter(|_| waiting.len() > 1) {
        let from = turn.wrapping_mul(KEYRINGS) % keyrings.len().max(1);
        let keyrings = keyrings.iter().cycle().skip(from).take(KEYRINGS.min(keyrings.len()));
        chosen.extend(keyrings.map(|(place, subjects)| (place.as_str(), subjects.as_slice())));
    }
    chosen
}

struct Found {
    place: String,
    seq: u64,
    /// Nothing where it cannot be read: its turn in the queue says so to whoever sent it.
    read: Option<(Address, Request)>,
}

/// The oldest command of a keyring after this position.
async fn oldest_of(bus: &Bus, place: &str, subjects: &[String], after: u64) -> Option<Found> {
    let first = |subject: &String| {
        let request = serde_json::json!({ "batch": 1, "seq": after + 1, "next_by_subj": subject });
        async move { bus.direct_get(subject::COMMANDS, &request).await.ok()?.into_iter().next() }
    };
    let found = side_by_side(subjects.iter().map(first).collect()).await.into_iter().flatten();
    let (message, _) = found.min_by_key(|(message, _)| message.seq)?;
    let read =
        |(address, verb): (Address, Verb)| Some((address, command::read(verb, &message.payload).ok()?));
    let read = subject::parse_command(&message.subject).ok().and_then(read);
    Some(Found { place: place.to_owned(), seq: message.seq, read })
}
