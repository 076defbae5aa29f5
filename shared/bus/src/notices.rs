//! Notices: published by services, read and heard by people and programs.

use crate::connect::signed;
use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::jetstream::message::PublishMessage;
use futures_util::{Stream, StreamExt};
use keywheel_domain::{Address, At};
use keywheel_table::Message;
use keywheel_wire::belief::{self, Heard};
use keywheel_wire::notice::Notice;
use keywheel_wire::signature::Signed;
use keywheel_wire::signers::Signers;
use keywheel_wire::subject;

impl Bus {
    /// Publishes a notice. `id` makes replicas that notice the same thing say it once.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn notify(&self, address: &Address, id: &str, notice: &Notice) -> Result<(), BusError> {
        let payload = serde_json::to_vec(notice).trying("writing a notice")?;
        let subject = subject::notice(address, notice.kind());
        let headers = self.sign(&subject, &payload)?;
        let message = PublishMessage::build().headers(headers).payload(payload.into()).message_id(id);
        let sent = self.context().send_publish(subject, message).await;
        sent.trying("publishing a notice")?.await.trying("publishing a notice")?;
        if let Notice::Alarm(alarm) = notice {
            self.counts().alarm(&alarm.code);
        }
        Ok(())
    }

    /// Notices of one kind about one address, from the oldest, with the time at which each was stored.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn notices(&self, address: &Address, kind: &str) -> Result<Vec<(Notice, At)>, BusError> {
        let (mut found, mut from) = (Vec::new(), 1);
        loop {
            let page = self.direct_page(subject::NOTICES, &subject::notice(address, kind), from).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = last.seq + 1;
            let signers = self.meet().await?;
            let read = |(message, at): (Message, At)| {
                let Message { seq: _, subject, payload, signed } = &message;
                Some((believe(&signers, Heard::Stored, subject, payload, signed.as_ref())?, at))
            };
            found.extend(page.into_iter().filter_map(read));
        }
    }

    /// Notices as they are published.
    ///
    /// # Errors
    /// When the bus refuses the subscription.
    pub async fn hear_notices(&self) -> Result<impl Stream<Item = Notice> + Unpin + use<>, BusError> {
        let subscription =
            self.client().subscribe(subject::NOTICES_ALL).await.trying("listening to notices")?;
        let bus = self.clone();
        let read = move |message: async_nats::Message| {
            let (signers, signed) = (bus.signers(), signed(message.headers.as_ref()));
            let async_nats::Message { subject, payload, .. } = &message;
            std::future::ready(believe(&signers, Heard::Live, subject, payload, signed.as_ref()))
        };
        Ok(subscription.filter_map(read))
    }
}

/// A notice that an entitled service gave; what anybody else says is worth a warning and no more.
fn believe(
    signers: &Signers,
    heard: Heard,
    subject: &str,
    payload: &[u8],
    signed: Option<&Signed>,
) -> Option<Notice> {
    let believed = belief::notice(signers, heard, subject, payload, signed);
    believed.inspect_err(|reason| tracing::warn!(%subject, %reason, "a notice is not believed")).ok()
}
