//! Whoever watches the bus: tells what ended, and writes down receipts as they come.

use super::ledger::{Entry, Micros};
use super::ring::Ring;
use super::scene::{Part, Scene};
use anyhow::Context as _;
use keywheel_domain::key::KeyState;
use keywheel_domain::{Address, At, Fact};
use keywheel_table::{Message, Replay};
use keywheel_wire::belief;
use keywheel_wire::notice::{Notice, Receipt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(50);

/// What has been seen so far.
#[derive(Default)]
pub struct Watched {
    /// The versions that each event ended, by its position.
    ended: Mutex<BTreeMap<u64, Vec<u32>>>,
    receipts: Mutex<BTreeMap<u64, Micros>>,
}

impl Watched {
    /// Whether a receipt for the event at this position was seen.
    pub fn has_receipt(&self, position: u64) -> bool {
        self.receipts.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&position)
    }

    fn ended_at(&self, position: u64) -> Option<Vec<u32>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get(&position).cloned()
    }
}

/// Follows the log and the receipts until the campaign ends.
pub async fn watch(scene: Arc<Scene>, watched: Arc<Watched>) {
    let mut log = Log { from: 1, replays: BTreeMap::new() };
    let mut next_receipt = 1;
    while !scene.is_over(Part::Everybody) {
        // The bus may be away: it is asked again.
        let _ = log.advance(&scene, &watched).await;
        if let Ok(next) = take_receipts(&scene, &watched, next_receipt).await {
            next_receipt = next;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Log {
    from: u64,
    replays: BTreeMap<Address, Replay>,
}

impl Log {
    async fn advance(&mut self, scene: &Scene, watched: &Watched) -> anyhow::Result<()> {
        let page = scene.bus.page(self.from, None).await?;
        for message in &page {
            self.from = message.seq + 1;
            self.take(scene, watched, message);
        }
        Ok(())
    }

    fn take(&mut self, scene: &Scene, watched: &Watched, message: &Message) {
        let Ok(address) = keywheel_wire::subject::parse_event(&message.subject) else { return };
        let fresh = || Replay::new(scene.bus.signers());
        let replay = self.replays.entry(address.clone()).or_insert_with(fresh);
        let Ok(recorded) = replay.take(message) else { return };
        let versions = ended_by(&recorded.event.fact);
        watched.ended.lock().unwrap_or_else(PoisonError::into_inner).insert(message.seq, versions);
        let ring = scene.rings.iter().find(|ring| Address::Keyring(ring.id.clone()) == address);
        if let Some(ring) = ring {
            ring.book().learn(&replay.state);
        }
    }
}

fn ended_by(fact: &Fact) -> Vec<u32> {
    match fact {
        Fact::KeyRetired(ended) => {
            std::iter::once(&ended.version).chain(&ended.also).map(|version| version.0).collect()
        }
        Fact::RolledBack(restored) => {
            let is_over = |state: &KeyState| matches!(state.word(), "retired" | "revoked");
            let withdrawn = restored.withdrawn.iter().filter(|(_, state)| is_over(state));
            withdrawn.map(|(version, _)| version.0).collect()
        }
        Fact::KeyIssued(_)
        | Fact::KeyActivated(_)
        | Fact::KeySeen(_)
        | Fact::PolicySet(_)
        | Fact::EdgeAdded(_)
        | Fact::EdgeRemoved(_)
        | Fact::SignerAdded(_)
        | Fact::SignerWithdrawn(_) => Vec::new(),
    }
}

/// Writes down what is new among the receipts; gives where to go on.
async fn take_receipts(scene: &Scene, watched: &Watched, from: u64) -> anyhow::Result<u64> {
    let mut next = from;
    for message in scene.bus.notice_page("receipt", from).await? {
        let Message { seq, subject, payload, signed } = &message;
        let believed =
            belief::notice(&scene.bus.signers(), belief::Heard::Stored, subject, payload, signed.as_ref());
        if let Ok(Notice::Receipt(receipt)) = believed {
            let read = scene.moments.now();
            let ring = ring_of(scene, subject).with_context(|| format!("a receipt at {subject}"));
            // What the receipt is about is read from the log, which may come a moment later.
            let Some(versions) = watched.ended_at(receipt.seq) else { break };
            if let (Ok(ring), false) = (ring, versions.is_empty()) {
                write(scene, ring, &receipt, versions, read);
            }
            watched.receipts.lock().unwrap_or_else(PoisonError::into_inner).insert(receipt.seq, read);
        }
        next = seq + 1;
    }
    Ok(next)
}

fn write(scene: &Scene, ring: &Ring, receipt: &Receipt, versions: Vec<u32>, read: Micros) {
    let by = receipt.unreached.iter().map(|edge| edge.refuses_by.0).max();
    let open_until = by.map(|At(ms)| scene.moments.of(At(ms)));
    let (keyring, position) = (ring.name.clone(), receipt.seq);
    scene.write(&Entry::Receipt { read, keyring, versions, position, open_until });
}

/// `kw.notice.T.C.receipt`
fn ring_of<'a>(scene: &'a Scene, subject: &str) -> Option<&'a Arc<Ring>> {
    let mut parts = subject.split('.').skip(2);
    let name = format!("{}/{}", parts.next()?, parts.next()?);
    scene.rings.iter().find(|ring| ring.name == name)
}
