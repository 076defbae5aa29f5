//! The edge as a witness: signed heads of the log are held against its own history, and kept beside the watermark.

use crate::follow::{Doubt, Replica};
use crate::note;
use crate::turn::Turn;
use keywheel_bus::heads::{Heads, Heard, SharedHeads};
use keywheel_bus::{Bus, BusError};
use keywheel_runtime::Shutdown;
use keywheel_wire::chain::Chain;
use keywheel_wire::notice::SignedHead;
use keywheel_wire::pulse::Agrees;
use keywheel_wire::text::Hex32;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often the newest head is asked for.
const LOOK: Duration = Duration::from_secs(1);
/// How often in a row the log must end before a signed head: a server that was just deposed may say so once.
const SHORT_MAX: u32 = 3;

/// What is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsNote {
    newest: Option<Agrees>,
    agreed: Option<Agrees>,
    /// Why the log is refused, once it is.
    refused: Option<String>,
}

/// Shared by the follower, the pulses and who asks for heads.
#[derive(Clone, Default)]
pub struct Witness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    heads: SharedHeads,
    refused: Mutex<Option<String>>,
    kept: Mutex<HeadsNote>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn chained(head: Agrees) -> (u64, Chain) {
    (head.seq, Chain(head.chain.0))
}

fn told((seq, chain): (u64, Chain)) -> Agrees {
    Agrees { seq, chain: Hex32(chain.0) }
}

impl Witness {
    /// Of a table that stands at `watermark`, with what an earlier process kept.
    pub fn restored(watermark: u64, kept: HeadsNote) -> Self {
        let HeadsNote { newest, agreed, refused } = kept.clone();
        let heads = Heads::restored(watermark, newest.map(chained), agreed.map(chained));
        let (heads, refused) = (SharedHeads::new(heads), Mutex::new(refused));
        Self(Arc::new(Inner { heads, refused, kept: Mutex::new(kept) }))
    }

    /// What the follower holds its steps against.
    pub fn heads(&self) -> SharedHeads {
        self.0.heads.clone()
    }

    /// The newest head that its own history agrees with.
    pub fn agreed(&self) -> Option<Agrees> {
        self.0.heads.agreed().map(told)
    }

    /// Why the log is refused, if it is: also after a restart, until the database is set aside.
    pub fn refused(&self) -> Option<String> {
        let refused = lock(&self.0.refused).clone();
        refused.or_else(|| self.0.heads.contradiction())
    }

    /// The log is refused from now on.
    pub fn refuse(&self, reason: &str) {
        lock(&self.0.refused).get_or_insert_with(|| reason.to_owned());
    }

    /// What is to be committed with the next rows, when it has changed.
    pub fn note(&self) -> Option<(&'static str, Vec<u8>)> {
        let newest = self.0.heads.newest().map(told);
        let now = HeadsNote { newest, agreed: self.agreed(), refused: self.refused() };
        let mut kept = lock(&self.0.kept);
        if *kept == now {
            return None;
        }
        *kept = now;
        Some((note::HEADS, note::write(&*kept)))
    }

    /// Has the same given again: it was not committed.
    pub fn unnote(&self) {
        *lock(&self.0.kept) = HeadsNote::default();
    }
}

/// Asks for the newest head every now and then, until `stop`; has the log read anew in its `turn` where the table differs.
pub async fn run(bus: Bus, replica: Replica, mut turn: Turn, stop: Shutdown) {
    let (mut heard, mut short) = (None, 0);
    while stop.pause(LOOK).await {
        if !bus.is_connected() || replica.witness.refused().is_some() {
            continue;
        }
        let looked = tokio::select! {
            () = stop.requested() => return,
            looked = look(&bus, &replica, &mut heard) => looked,
        };
        let ends_early = looked.unwrap_or_else(|error| {
            tracing::debug!(%error, "cannot ask for the head of the log now");
            None
        });
        short = if ends_early.is_some() { short + 1 } else { 0 };
        if let Some(reason) = ends_early.filter(|_| short >= SHORT_MAX) {
            replica.witness.refuse(&reason);
            replica.doubt(Doubt::Log(reason));
        }
        let odd = replica.witness.0.heads.odd().filter(|_| !replica.table.is_rebuilding());
        if turn.has_come(odd.is_some(), Instant::now())
            && let Some(seq) = odd
        {
            let why = format!("a signed head says that the same history makes another table at {seq}");
            replica.doubt(Doubt::Table(why));
        }
    }
}

/// Asks before anything is applied, so that what comes is held against the newest head from the first message on.
pub async fn begin(bus: &Bus, replica: &Replica) {
    if let Err(error) = look(bus, replica, &mut None).await {
        tracing::warn!(%error, "cannot ask for the head of the log now");
    }
}

/// Hears of the newest head; says so when the log ends before it.
async fn look(
    bus: &Bus,
    replica: &Replica,
    heard: &mut Option<SignedHead>,
) -> Result<Option<String>, BusError> {
    let Some(head) = bus.newest_head().await? else { return Ok(None) };
    let newest = || replica.witness.0.heads.newest().map_or(0, |(seq, _)| seq);
    let is_new = heard.as_ref() != Some(&head);
    if !is_new && newest() <= replica.fold.head().watermark {
        return Ok(None);
    }
    let log = bus.head().await?;
    if replica.fold.log_created()?.is_some_and(|known| known != log.created) {
        // Where another stream stands in its place, its end says nothing of the log.
        return Ok(None);
    }
    if is_new {
        let said = replica.witness.0.heads.hear(&head, &replica.fold.lock(), log.created);
        if let Heard::Contradicts(reason) = said {
            replica.doubt(Doubt::Log(reason));
        }
        *heard = Some(head);
    }
    let newest = newest();
    let is_short = log.seq < newest && newest > replica.fold.head().watermark;
    Ok(is_short.then(|| format!("the log ends at {}, before a signed head at {newest}", log.seq)))
}
