//! Quiet proofs, for the versions to whose retirement nothing else is missing.

use super::record::as_use;
use super::{Failure, Tracker};
use crate::ledger::Snapshot;
use crate::quiet::{Asked, Blocked, prove};
use crate::witness::Witnesses;
use keywheel_bus::BusError;
use keywheel_domain::event::{QuietProof, Use};
use keywheel_domain::key::Seen;
use keywheel_domain::{Address, At, EdgeId, Event, Fact, KeyringId, Span, State, Version, wants_quiet_proof};
use keywheel_wire::text;
use std::collections::BTreeSet;

/// Most keyrings that are looked at in one round.
const LOOKS_MAX: usize = 256;
/// How soon a keyring that was not proved quiet is looked at again.
const AGAIN: Span = Span::secs(1);

/// What one look needs of the fold.
struct Looked {
    address: Address,
    state: State,
    tenant: State,
}

impl Tracker<'_> {
    /// Looks at the keyrings that are due. The order is the proof's own: the bus's time, coverage and uses in one
    /// reading, then the log up to its head, so that no edge and no policy of that time is missing, then pulses.
    /// This process's own clock says only what is looked at when: set forward, it would have all edges look silent.
    pub(super) async fn prove(&mut self) -> Result<(), Failure> {
        let now = self.gate.now();
        let due = self.agenda.lock().due(now, LOOKS_MAX);
        if due.is_empty() {
            return Ok(());
        }
        let bus_time = self.bus.clock().await?;
        let snapshot = self.ledger.lock().snapshot(&due)?;
        self.catch_up().await?;
        let Some(roster) = self.roster(bus_time).await? else {
            self.postpone(&due, now);
            return Ok(());
        };
        let removed = self.removals.witnesses(|edge| roster.contains(edge), &snapshot.coverage);
        let mut witnesses = Witnesses::new(self.bus, bus_time, self.lease, &snapshot, &roster, removed);
        for keyring in &due {
            match self.look(keyring, &snapshot, &mut witnesses, now).await {
                Ok(()) => {}
                Err(Failure::Bus(error @ (BusError::Malformed(_) | BusError::Frozen(_)))) => {
                    tracing::warn!(%keyring, %error, "cannot tell whether it is quiet");
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// The edges on the roster, with those noticed that were removed from it; none while it is not
    /// certain which they are.
    async fn roster(&mut self, bus_time: At) -> Result<Option<BTreeSet<EdgeId>>, Failure> {
        let open = self.gate.fold().lock().pending()?;
        for (seq, address) in open {
            if self.removals.knows(seq) {
                continue;
            }
            match self.bus.event_stored_at(seq, &address).await? {
                Some((Event { fact: Fact::EdgeRemoved(edge), .. }, at)) => {
                    self.removals.notice(seq, edge, at)
                }
                Some(_) | None => self.gate.fold().lock().settle(seq)?,
            }
        }
        let fold = self.gate.fold().lock();
        for seq in self.removals.forget(bus_time) {
            fold.settle(seq)?;
        }
        let installation = fold.load(&Address::Installation, None)?;
        Ok(installation.frozen.is_none().then(|| installation.state.edges.into_keys().collect()))
    }

    fn postpone(&self, keyrings: &[KeyringId], now: At) {
        let mut agenda = self.agenda.lock();
        for keyring in keyrings {
            agenda.look(keyring, Some(now.after(AGAIN)));
        }
    }

    async fn look(
        &self,
        keyring: &KeyringId,
        snapshot: &Snapshot,
        witnesses: &mut Witnesses<'_>,
        now: At,
    ) -> Result<(), Failure> {
        // Set before anything is appended: what is appended sets it anew.
        self.postpone(std::slice::from_ref(keyring), now);
        let Some(looked) = self.load(keyring)? else { return Ok(()) };
        let mut next = crate::agenda::next_look(&looked.state, now).filter(|at| *at > now);
        let wanted = wants_quiet_proof(&looked.state, now);
        for (version, quiet) in &wanted {
            let used = snapshot.uses.get(keyring).and_then(|uses| uses.get(version)).copied();
            match witness(&looked, *version, *quiet, used, witnesses).await? {
                Ok(proof) => {
                    self.looks.proved();
                    let what = format!("quiet {}", text::moment(proof.complete_through));
                    let seen = Use { quiet: Some(proof), ..as_use(used) };
                    self.say(&looked.address, *version, &what, seen).await?;
                    return Ok(());
                }
                Err(blocked) => {
                    self.looks.blocked(&blocked);
                    tracing::debug!(%keyring, %version, ?blocked, "no quiet proof yet");
                    let again = now.after(AGAIN).max(blocked.used.map_or(now, |last| last.after(*quiet)));
                    next = Some(next.map_or(again, |next| next.min(again)));
                }
            }
        }
        self.agenda.lock().look(keyring, next);
        Ok(())
    }

    /// The keyring and its tenant; none while either cannot be understood.
    fn load(&self, keyring: &KeyringId) -> Result<Option<Looked>, Failure> {
        let fold = self.gate.fold().lock();
        let address = Address::Keyring(keyring.clone());
        let own = fold.load(&address, None)?;
        let tenant = fold.load(&Address::Tenant(keyring.tenant.clone()), None)?;
        let is_certain = own.frozen.is_none() && tenant.frozen.is_none();
        Ok(is_certain.then_some(Looked { address, state: own.state, tenant: tenant.state }))
    }
}

/// Tries by coverage alone; where edges block, by their silence as well.
async fn witness(
    looked: &Looked,
    version: Version,
    quiet: Span,
    used: Option<Seen>,
    witnesses: &mut Witnesses<'_>,
) -> Result<Result<QuietProof, Blocked>, BusError> {
    let logged = looked.state.keys.get(&version).and_then(|key| key.seen);
    let last_use = used.map(|seen| seen.last).max(logged.map(|seen| seen.last));
    let now = witnesses.bus_time();
    let blocked = match prove(&Asked { quiet, last_use, now, edges: witnesses.covered() }) {
        Err(blocked) if blocked.used.is_none() && !blocked.edges.is_empty() => blocked,
        settled => return Ok(settled),
    };
    let blocking: BTreeSet<&EdgeId> = blocked.edges.iter().map(|(edge, _)| edge).collect();
    let edges = witnesses.with_silence(&blocking, &looked.state, &looked.tenant).await?;
    Ok(prove(&Asked { quiet, last_use, now, edges: &edges }))
}
