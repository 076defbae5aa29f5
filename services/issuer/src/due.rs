//! Rotations by schedule: what the log says is due is carried out as if somebody had published a rotate
//! command. Nothing is remembered; a replica that comes late, or again, finds it done.

use crate::agenda::Looked;
use crate::diary::{ACTOR, Diary, Task};
use crate::prepare::Issuer;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use keywheel_bus::intake::{self, Handler, Prepared, Refusal};
use keywheel_bus::results::Last;
use keywheel_bus::{BusError, Gate};
use keywheel_domain::command::SpecAsked;
use keywheel_domain::event::CommandId;
use keywheel_domain::policy::PolicyChange;
use keywheel_domain::schedule::{Scheduled, scheduled};
use keywheel_domain::{Actor, Address, At, KeyringId, Recorded, State};
use keywheel_runtime::Shutdown;
use keywheel_token::id::derived;
use keywheel_wire::command::{Ask, Request};
use keywheel_wire::notice::{Alarm, Notice};
use keywheel_wire::outcome::Result as Entry;
use keywheel_wire::subject;
use keywheel_wire::text::{Moment, id, moment};
use std::time::Duration;
use tokio::time::Instant;

/// How many keyrings are in hand at most: far fewer than commands are worked on at once, so that those
/// are not kept waiting by a burst after an outage.
const AT_ONCE: usize = 4;
/// At least this long between taking up two pieces of work.
const PACE: Duration = Duration::from_millis(5);

/// Starts what is due.
pub struct Starter {
    /// What mints and decides.
    pub issuer: Issuer,
    /// What is to be done when.
    pub diary: Diary,
}

impl Starter {
    /// Works until `shutdown`, then finishes what is in hand.
    ///
    /// # Errors
    /// When the database fails; the bus being away is waited for.
    pub async fn run(&self, shutdown: &Shutdown) -> Result<(), BusError> {
        self.catch_up(shutdown).await;
        self.take_up(shutdown).await?;
        let mut in_hand = FuturesUnordered::new();
        let mut not_before = Instant::now();
        while !shutdown.is_requested() {
            let at = not_before.max(Instant::now() + self.diary.pause(self.gate().now()));
            tokio::select! {
                () = shutdown.requested() => break,
                Some(worked) = in_hand.next(), if !in_hand.is_empty() => worked?,
                () = self.diary.changed() => {}
                () = tokio::time::sleep_until(at), if in_hand.len() < AT_ONCE => {
                    not_before = Instant::now() + PACE;
                    in_hand.extend(self.diary.take(self.gate().now()).map(|task| self.work(task)));
                }
            }
        }
        while let Some(worked) = in_hand.next().await {
            worked?;
        }
        Ok(())
    }

    fn gate(&self) -> &Gate {
        &self.issuer.gate
    }

    /// What happened while this was away is known before anything is started, so that secrets are not
    /// minted in vain.
    async fn catch_up(&self, shutdown: &Shutdown) {
        while !shutdown.is_requested() {
            let caught_up = async {
                let head = self.gate().bus().head().await?;
                self.gate().applied(head.seq).await
            };
            match caught_up.await {
                Ok(()) => return,
                Err(error) => tracing::info!(%error, "schedules wait until the log is caught up with"),
            }
            shutdown.pause(Duration::from_millis(500)).await;
        }
    }

    /// Outcomes that may be missing since this stopped.
    async fn take_up(&self, shutdown: &Shutdown) -> Result<(), BusError> {
        let pending = self.gate().fold().lock().pending()?;
        for (seq, address) in pending {
            while !shutdown.is_requested() {
                match self.gate().bus().event_at(seq, &address).await {
                    Ok(Some(recorded)) => {
                        self.diary.begun().push_back(recorded);
                        break;
                    }
                    Ok(None) => {
                        self.gate().fold().lock().settle(seq)?;
                        break;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot read a rotation that was begun; trying again");
                        shutdown.pause(Duration::from_millis(500)).await;
                    }
                }
            }
        }
        Ok(())
    }

    async fn work(&self, task: Task) -> Result<(), BusError> {
        match task {
            Task::Outcome(recorded) => self.see_to_outcome(recorded).await,
            Task::Look(keyring) => self.look(keyring).await,
        }
    }

    /// The log has the effect, so that carrying out the same request again only writes what is missing.
    async fn see_to_outcome(&self, recorded: Box<Recorded>) -> Result<(), BusError> {
        let request = rotate(recorded.event.command);
        match intake::carry_out(self.gate(), &self.issuer, &recorded.event.address, &request).await {
            Ok(()) => self.gate().fold().lock().settle(recorded.seq)?,
            Err(BusError::Table(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, seq = recorded.seq, "an outcome could not be written yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.diary.begun().push_back(*recorded);
            }
        }
        Ok(())
    }

    async fn look(&self, keyring: KeyringId) -> Result<(), BusError> {
        let looked = match self.start(&keyring).await {
            Ok(()) => Looked::Settled,
            Err(BusError::Table(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%keyring, %error, "a rotation by schedule waits; it is tried again");
                Looked::Failed
            }
        };
        self.diary.agenda().looked(&keyring, looked, self.gate().now());
        Ok(())
    }

    /// Starts the rotation if its time has come, or says why not.
    async fn start(&self, keyring: &KeyringId) -> Result<(), BusError> {
        let address = Address::Keyring(keyring.clone());
        let state = match self.gate().load(&address, CommandId(0)) {
            Ok(loaded) => loaded.state,
            Err(BusError::Frozen(reason)) => {
                let detail = format!("frozen: {reason}; a newer version of the services is needed");
                return self.alarm(keyring, None, "frozen", &detail).await;
            }
            Err(error) => return Err(error),
        };
        let now = self.gate().now();
        let policy = self.issuer.policy(&address, &state)?;
        match scheduled(keyring, &state, &policy, now).filter(|next| next.is_due(now)) {
            None => Ok(()),
            Some(Scheduled { due, hold: None }) => self.rotate(keyring, &address, due).await,
            Some(Scheduled { due, hold: Some(hold) }) if hold.needs_a_person() => {
                self.alarm(keyring, Some(due), hold.code(), &hold.to_string()).await
            }
            Some(Scheduled { due, hold: Some(hold) }) => {
                tracing::info!(%keyring, due = %moment(due), %hold, "a rotation by schedule waits");
                Ok(())
            }
        }
    }

    async fn rotate(&self, keyring: &KeyringId, address: &Address, due: At) -> Result<(), BusError> {
        let installation = id(self.gate().bus().signers().installation().0);
        let parts = [ACTOR, &installation, &subject::event(address), &due.0.to_string()];
        let request = rotate(CommandId(derived(&parts)));
        let on_time = OnTime { issuer: &self.issuer, keyring, due };
        intake::carry_out(self.gate(), &on_time, address, &request).await?;
        if let Some(Last { entry: Entry::Final(outcome), .. }) = self.gate().bus().result(request.id).await?
            && let Some(event) = outcome.event
        {
            self.gate().applied(event.seq).await?;
        }
        let state = self.gate().load(address, request.id)?.state;
        let policy = self.issuer.policy(address, &state)?;
        if scheduled(keyring, &state, &policy, self.gate().now()).is_none_or(|next| next.due != due) {
            tracing::info!(%keyring, due = %moment(due), "a rotation by schedule has begun");
            return Ok(());
        }
        let id = id(request.id.0);
        let why = format!("its command {id} has another outcome; rotate by hand");
        self.alarm(keyring, Some(due), "refused", &why).await
    }

    /// Says once for each due time and reason that a rotation does not start. Replicas say it under the
    /// same id, so that it is stored once.
    async fn alarm(
        &self,
        keyring: &KeyringId,
        due: Option<At>,
        code: &'static str,
        why: &str,
    ) -> Result<(), BusError> {
        if !self.diary.agenda().is_news(keyring, due, code) {
            return Ok(());
        }
        let since = due.map_or(String::new(), |due| format!(" that is due since {}", moment(due)));
        let detail = format!("{keyring}: the rotation by schedule{since} does not start: {why}");
        tracing::warn!(%keyring, code, detail, "a rotation by schedule does not start");
        let address = Address::Keyring(keyring.clone());
        let id = format!("{ACTOR}-{}-{}-{code}", subject::event(&address), due.unwrap_or_default().0);
        let at = Moment(self.gate().now());
        let alarm = Alarm { code: "schedule_held".to_owned(), detail, at, seq: None };
        self.gate().bus().notify(&address, &id, &Notice::Alarm(alarm)).await?;
        self.diary.agenda().alarmed(keyring, due, code);
        Ok(())
    }
}

/// The request that a rotation by schedule is: every active version, nothing changed.
pub fn rotate(id: CommandId) -> Request {
    let (spec, policy) = (SpecAsked::default(), PolicyChange::default());
    let ask = Ask::Rotate { recipient: None, spec, supersedes: Vec::new(), policy };
    Request { id, actor: Actor::service(ACTOR), ask }
}

/// Prepares a rotation by schedule on the very state that its event will be conditional on: one that came
/// first, by hand or by another replica, has moved the due time. A refusal is not final, so none is written.
pub struct OnTime<'a> {
    /// What mints.
    pub issuer: &'a Issuer,
    /// Whose rotation.
    pub keyring: &'a KeyringId,
    /// Since when it is due.
    pub due: At,
}

impl Handler for OnTime<'_> {
    async fn prepare(
        &self,
        address: &Address,
        request: &Request,
        state: &State,
    ) -> Result<Prepared, Refusal> {
        let now = self.issuer.gate.now();
        let policy = self.issuer.policy(address, state)?;
        let stands = scheduled(self.keyring, state, &policy, now);
        if !stands.is_some_and(|next| next.starts(now) && next.due == self.due) {
            return Err(later("it is not due any more".to_owned()));
        }
        match self.issuer.prepare(address, request, state).await {
            Err(Refusal::Rejected { detail, .. }) => Err(later(detail)),
            prepared => prepared,
        }
    }
}

fn later(detail: String) -> Refusal {
    Refusal::Later(BusError::Failed { what: "rotating by schedule", detail })
}
