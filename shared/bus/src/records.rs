//! The log as it is stored, header by header, for those who check or copy it.

use crate::log::{PAGE, stored};
use crate::{Bus, BusError};
use async_nats::HeaderMap;
use keywheel_domain::{Address, Tenant};
use keywheel_table::{Message, Record};
use keywheel_wire::subject;

/// What the server puts on the answer to a direct get; it is not stored with the message.
const ADDED: [&str; 7] = [
    "Nats-Stream",
    "Nats-Sequence",
    "Nats-Subject",
    "Nats-Time-Stamp",
    "Nats-Num-Pending",
    "Nats-Last-Sequence",
    "Nats-UpTo-Sequence",
];

impl Bus {
    /// Up to [`PAGE`] messages of the log at or after `from`, of one tenant or of all. Not read after write.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn records(&self, from: u64, tenant: Option<&Tenant>) -> Result<Vec<Record>, BusError> {
        let filter = tenant.map_or_else(|| subject::EVENTS_ALL.to_owned(), subject::events_of);
        let request = serde_json::json!({ "batch": PAGE, "seq": from.max(1), "next_by_subj": filter });
        let replies = self.direct_replies(subject::EVENTS, &request).await?;
        Ok(replies.iter().filter_map(record).collect())
    }

    /// Every notice of one kind about one address as it is stored, whoever gave it.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn notice_messages(&self, address: &Address, kind: &str) -> Result<Vec<Message>, BusError> {
        let (mut found, mut from) = (Vec::new(), 1);
        loop {
            let page = self.direct_page(subject::NOTICES, &subject::notice(address, kind), from).await?;
            let Some((last, _)) = page.last() else { return Ok(found) };
            from = last.seq + 1;
            found.extend(page.into_iter().map(|(message, _)| message));
        }
    }
}

impl Bus {
    /// The newest notice of one kind about one address as it is stored, whoever gave it.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn last_notice(&self, address: &Address, kind: &str) -> Result<Option<Message>, BusError> {
        let request = serde_json::json!({ "multi_last": [subject::notice(address, kind)] });
        let replies = self.direct_replies(subject::NOTICES, &request).await?;
        Ok(replies.iter().find_map(stored).map(|(message, _)| message))
    }

    /// Up to [`PAGE`] notices of one kind at or after `from`, as they are stored, whoever gave them.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn notice_page(&self, kind: &str, from: u64) -> Result<Vec<Message>, BusError> {
        let page = self.direct_page(subject::NOTICES, &subject::notices_of(kind), from).await?;
        Ok(page.into_iter().map(|(message, _)| message).collect())
    }
}

fn record(reply: &async_nats::Message) -> Option<Record> {
    let (message, at) = stored(reply)?;
    Some(Record { message, at, headers: headers(reply.headers.as_ref()?) })
}

/// Every header that is stored with a message.
pub(crate) fn headers(given: &HeaderMap) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, values) in given.iter() {
        let name: &str = name.as_ref();
        if !ADDED.contains(&name) {
            headers.extend(values.iter().map(|value| (name.to_owned(), value.as_str().to_owned())));
        }
    }
    headers.sort();
    headers
}
