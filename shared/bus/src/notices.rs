//! Notices: published by services, read and heard by people and programs.

use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::jetstream::message::PublishMessage;
use futures_util::{Stream, StreamExt};
use keywheel_domain::{Address, At};
use keywheel_wire::notice::{self, Notice};
use keywheel_wire::subject;

impl Bus {
    /// Publishes a notice. `id` makes replicas that notice the same thing say it once.
    ///
    /// # Errors
    /// When it is not certain that it was stored.
    pub async fn notify(&self, address: &Address, id: &str, notice: &Notice) -> Result<(), BusError> {
        let payload = serde_json::to_vec(notice).trying("writing a notice")?;
        let message = PublishMessage::build().payload(payload.into()).message_id(id);
        let sent = self.context().send_publish(subject::notice(address, notice.kind()), message).await;
        sent.trying("publishing a notice")?.await.trying("publishing a notice")?;
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
            let read = |(message, at): (keywheel_table::Message, At)| {
                Some((notice::read(&message.payload).ok()?, at))
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
        Ok(subscription.filter_map(|message| std::future::ready(notice::read(&message.payload).ok())))
    }
}
