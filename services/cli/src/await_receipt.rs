//! Waits for the receipt of an event: the evidence that every edge has applied it, or will refuse by itself.

use crate::deadline::Deadline;
use crate::failure::Failure;
use crate::fleet::{Fleet, boot_now};
use crate::outage::Outage;
use crate::session::Session;
use futures_util::{Stream, StreamExt};
use keywheel_domain::Address;
use keywheel_wire::notice::{Notice, Receipt};
use keywheel_wire::outcome::EventRef;
use keywheel_wire::text::{self, Id};
use std::time::Duration;
use tokio::time::Instant;

const LISTEN_FOR: Duration = Duration::from_millis(100);
/// How often the stored notices are read, in case one was published before anybody listened.
const READ_EVERY: Duration = Duration::from_millis(500);

type Notices = Box<dyn Stream<Item = Notice> + Send + Unpin>;

/// Listens for receipts; to be made before the command is published, so that none is missed.
pub(crate) struct ReceiptWatch {
    notices: Notices,
    fleet: Fleet,
}

impl ReceiptWatch {
    /// Begins to listen.
    pub async fn listen(session: &Session<'_>) -> Result<Self, Failure> {
        let notices: Notices = Box::new(session.bus.hear_notices().await?);
        Ok(Self { notices, fleet: Fleet::listen(&session.bus).await? })
    }

    /// Waits for the receipt of the event that a command made.
    pub async fn receipt(
        mut self,
        session: &Session<'_>,
        address: &Address,
        (command, event): (Id, &EventRef),
        deadline: Deadline,
    ) -> Result<Receipt, Failure> {
        let (live, mut outage) = (session.screen.live(), Outage::default());
        let mut read: Option<Instant> = None;
        loop {
            if let Some(receipt) = self.hear(event.id).await {
                return Ok(receipt);
            }
            if read.is_none_or(|read| read.elapsed() >= READ_EVERY) {
                let stored = stored(session, address, event.id).await;
                if let Some(receipt) = outage.bridge(stored, deadline, &live).await?.flatten() {
                    return Ok(receipt);
                }
                read = Some(Instant::now());
            }
            let waits = self.fleet.picture().waits_for(event.seq, "propagator", boot_now());
            live.say(&format!("waiting for the receipt for {address}: {waits}"));
            if deadline.has_passed() {
                return Err(unfinished(address, (command, event), deadline, &waits));
            }
        }
    }

    /// Listens for a moment, to notices and pulses.
    async fn hear(&mut self, event: Id) -> Option<Receipt> {
        let wanted = async {
            while let Some(notice) = self.notices.next().await {
                if let Some(receipt) = receipt_of(notice, event) {
                    return receipt;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            receipt = wanted => Some(receipt),
            () = self.fleet.hear(LISTEN_FOR) => None,
        }
    }
}

async fn stored(session: &Session<'_>, address: &Address, event: Id) -> Result<Option<Receipt>, Failure> {
    let notices = session.bus.notices(address, "receipt").await?;
    Ok(notices.into_iter().rev().find_map(|(notice, _)| receipt_of(notice, event)))
}

fn receipt_of(notice: Notice, event: Id) -> Option<Receipt> {
    match notice {
        Notice::Receipt(receipt) if receipt.event_id == event => Some(receipt),
        Notice::Receipt(_) | Notice::Alarm(_) | Notice::Head(_) => None,
    }
}

fn unfinished(
    address: &Address,
    (command, event): (Id, &EventRef),
    deadline: Deadline,
    waits: &str,
) -> Failure {
    Failure::unfinished(format!(
        "{} for {address} stands at position {}, but there is no receipt after {}: {waits}. It comes by \
         itself; repeat the command with --command-id {} to wait on",
        event.kind,
        event.seq,
        deadline.given(),
        text::id(command.0)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use keywheel_domain::{KeyringId, Span};

    #[test]
    fn a_timeout_says_what_stands_and_what_is_missing() {
        let address = Address::Keyring(KeyringId::parse("acme/app").unwrap());
        let event = EventRef { id: Id(1), kind: "KeyRetired".to_owned(), seq: 57 };
        let deadline = Deadline::within(Span::secs(10));
        let failure = unfinished(&address, (Id(2), &event), deadline, "edge-c is silent");
        assert_eq!(failure.exit, 4);
        expect!["KeyRetired for acme/app stands at position 57, but there is no receipt after 10s: edge-c is silent. It comes by itself; repeat the command with --command-id 00000000-0000-0000-0000-000000000002 to wait on"]
            .assert_eq(&failure.detail);
    }
}
