//! Whom a process believes at the bus: its signers file, with what the installation's own events say. A process that
//! follows the log is told by its fold; every other one reads those few events by themselves.

use crate::log::Pages;
use crate::{Bus, BusError};
use keywheel_domain::{Address, Service};
use keywheel_table::{Message, Replay};
use keywheel_wire::signers::{Signers, When};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a process knows of signers, shared by all who use its connection.
#[derive(Clone, Debug)]
pub(crate) struct Acquaintance(Arc<Mutex<Known>>);

#[derive(Debug)]
struct Known {
    /// The newest that is known, from the fold or from reading.
    signers: Arc<Signers>,
    /// What was read of the installation's events.
    read: Replay,
    /// Where reading goes on.
    from: u64,
}

impl Acquaintance {
    /// By the signers file alone.
    pub(crate) fn new(signers: Arc<Signers>) -> Self {
        let known = Known { read: Replay::new(Arc::clone(&signers)), signers, from: 1 };
        Self(Arc::new(Mutex::new(known)))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn learn(&mut self, signers: &Arc<Signers>) {
        if signers.learned().changed() > self.signers.learned().changed() {
            self.signers = Arc::clone(signers);
        }
    }

    fn take(&mut self, message: &Message) {
        if message.seq < self.from {
            return;
        }
        self.from = message.seq + 1;
        // Who follows the log tells of what does not count.
        let _ = self.read.take(message);
        let signers = Arc::clone(self.read.signers());
        self.learn(&signers);
    }
}

impl Bus {
    /// Whose events and notices are believed, as far as this process knows the log.
    pub fn signers(&self) -> Arc<Signers> {
        Arc::clone(&self.acquaintance().lock().signers)
    }

    /// A fold has applied what says this.
    pub(crate) fn learn(&self, signers: &Arc<Signers>) {
        self.acquaintance().lock().learn(signers);
    }

    /// Reads what the log says of signers since this was asked before. Not read after write.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn meet(&self) -> Result<Arc<Signers>, BusError> {
        loop {
            let from = self.acquaintance().lock().from;
            let page = self.page_stored(from, Pages::Address(&Address::Installation)).await?;
            if page.is_empty() {
                return Ok(self.signers());
            }
            let mut known = self.acquaintance().lock();
            page.iter().for_each(|(message, _)| known.take(message));
        }
    }

    /// Refuses to work as a service that nobody would believe.
    pub(crate) async fn demand_role(&self, service: Service) -> Result<(), BusError> {
        let public = self.public();
        // A process that starts without the bus goes by what it knows, if that speaks for it.
        let met = self.meet().await;
        match (self.signers().role(public, When::Now), met) {
            (Ok(role), _) if role == service => Ok(()),
            (Ok(role), _) => {
                let name = service.name();
                Err(BusError::NotEntitled(format!("{public} is the {}'s key, not the {name}'s", role.name())))
            }
            (Err(_), Err(error)) => Err(error),
            (Err(why), Ok(_)) => Err(BusError::NotEntitled(format!(
                "{why}; introduce it with `keywheel signer add {0} --key {public} --sign-with FILE`, where FILE has the \
                 root's seed or that of a key of the role",
                service.name()
            ))),
        }
    }

    /// Whether what this process wrote at `seq` counts: its key may have been withdrawn before that.
    pub(crate) fn demand_standing(&self, seq: u64) -> Result<(), BusError> {
        let role = self.signers().role(self.public(), When::At(seq));
        role.map(drop).map_err(BusError::NotEntitled)
    }
}
