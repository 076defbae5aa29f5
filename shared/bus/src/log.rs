//! The log: append under the exact-subject condition, read back, the head from the leader.

use crate::batch::Letter;
use crate::connect::signed;
use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::HeaderMap;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind, RawMessageErrorKind};
use futures_util::StreamExt;
use keywheel_domain::{Address, At, Event, Recorded, Tenant};
use keywheel_table::Message;
use keywheel_wire::belief::{self, Doubt};
use keywheel_wire::body::type_word;
use keywheel_wire::event::{ENVELOPE_V, Link};
use keywheel_wire::successor::{self, Successor};
use keywheel_wire::{event, subject, text};
use serde::Deserialize;
use std::error::Error;
use std::time::Duration;

/// Most messages that one page of a reading holds.
pub const PAGE: u64 = 1000;

const UNCLEAR_ATTEMPTS: u32 = 5;
const HEAD: &str = "reading the head of the log";

/// The newest position of the log, as its leader says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogHead {
    /// Last sequence; 0 when the log is empty.
    pub seq: u64,
    /// When the log was created: another time is another log. Where it was lost and restored, that is before its stream
    /// was.
    pub created: At,
}

/// Whose messages a reading is about.
#[derive(Clone, Copy, Debug)]
pub enum Pages<'a> {
    /// Everybody's.
    All,
    /// A tenant's own and those of all its clients.
    Tenant(&'a Tenant),
    /// One address's.
    Address(&'a Address),
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It stands at this position.
    Stored(u64),
    /// Somebody else wrote to the address meanwhile; nothing was stored.
    Conflict,
}

pub(crate) fn millis(time: chrono::DateTime<chrono::Utc>) -> At {
    At(u64::try_from(time.timestamp_millis()).unwrap_or(0))
}

impl Bus {
    /// Appends an event if the last sequence of its subject is `expects` (0: none yet). An unclear
    /// acknowledgement is followed by the same message under the same condition, so that it is stored
    /// once at most, and cleared up by reading back.
    ///
    /// # Errors
    /// When it remains unclear; the caller decides anew from what the log then says.
    pub async fn append(&self, event: &Event, link: Link, expects: u64) -> Result<Appended, BusError> {
        let Letter { subject, headers, payload, .. } = self.letter(event, link, expects)?;
        for attempt in 0..UNCLEAR_ATTEMPTS {
            let message = PublishMessage::build()
                .headers(headers.clone())
                .payload(payload.clone())
                .expected_last_subject_sequence(expects);
            let sent = self.context().send_publish(subject.clone(), message).await;
            let acknowledged = match sent {
                Ok(acknowledgement) => acknowledgement.await,
                Err(error) => Err(error),
            };
            match acknowledged {
                Ok(stored) if !stored.duplicate => return Ok(Appended::Stored(stored.sequence)),
                Ok(_) => return self.read_back(&subject, &payload, expects).await,
                Err(error) if is_conflict(&error) => {
                    return self.read_back(&subject, &payload, expects).await;
                }
                Err(error) => tracing::warn!(%error, attempt, "an append is unclear"),
            }
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
        Err(BusError::Failed { what: "appending to the log", detail: "no clear answer".to_owned() })
    }

    /// Appends events of different addresses as one batch, each under the condition that
    /// [`Bus::append`] has; gives the position of the first. `None` when they are not known to be
    /// stored: appended singly, each of them then says what became of it.
    pub(crate) async fn append_batch(&self, events: &[(&Event, Link, u64)]) -> Option<u64> {
        let letters = events.iter().map(|(event, link, expects)| self.letter(event, *link, *expects));
        // What cannot be written shows when it is appended alone.
        let letters = letters.collect::<Result<Vec<_>, _>>().ok()?;
        self.send_batch("appending to the log", &letters).await
    }

    /// An event as it goes out.
    fn letter(&self, event: &Event, link: Link, expects: u64) -> Result<Letter, BusError> {
        let subject = subject::event(&event.address);
        let payload = event::write(event, link, self.signers().installation())?;
        let headers = self.headers(event, &subject, &payload)?;
        self.would_be_believed(&subject, &payload, &headers)?;
        Ok(Letter { subject, headers, payload: payload.into(), expects: Some(expects) })
    }

    /// What nobody would believe must not be stored: it would be answered for and then skipped.
    fn would_be_believed(&self, subject: &str, payload: &[u8], headers: &HeaderMap) -> Result<(), BusError> {
        let signed = signed(Some(headers));
        let believed = belief::event(&self.signers(), u64::MAX, subject, payload, signed.as_ref());
        believed.map(drop).map_err(|doubt| BusError::NotEntitled(doubt.to_string()))
    }

    fn headers(&self, event: &Event, subject: &str, payload: &[u8]) -> Result<HeaderMap, BusError> {
        let mut headers = self.sign(subject, payload)?;
        headers.insert(subject::HEADER_ID, text::id(event.id.0));
        headers.insert(subject::HEADER_TYPE, type_word(event.fact.kind()));
        headers.insert(subject::HEADER_V, ENVELOPE_V.to_string());
        Ok(headers)
    }

    /// Whether the first message after `expects` on the subject is the one that was sent: the same bytes,
    /// signed by this service or by a replica of it that had them from here.
    async fn read_back(&self, subject: &str, payload: &[u8], expects: u64) -> Result<Appended, BusError> {
        let found = self.next_of(subject, expects + 1).await?.map(|(message, _)| message);
        let ours = found.filter(|message| message.payload == payload && self.believe(message).is_ok());
        Ok(ours.map_or(Appended::Conflict, |message| Appended::Stored(message.seq)))
    }

    /// What a message of the log says, if an entitled service wrote it. Whether it continues its
    /// address's history only a fold can tell.
    fn believe(&self, message: &Message) -> Result<Event, Doubt> {
        let Message { seq, subject, payload, signed } = message;
        belief::event(&self.signers(), *seq, subject, payload, signed.as_ref()).map(|read| read.event)
    }

    /// The first message at or after `from` on an exact subject of the log, from the leader.
    async fn next_of(&self, subject: &str, from: u64) -> Result<Option<(Message, At)>, BusError> {
        let stream = self.stream(subject::EVENTS).await?;
        match stream.raw_message_builder().sequence(from).next_by_subject(subject).send().await {
            Ok(message) => Ok(Some(to_message(message))),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error).trying("reading the log"),
        }
    }

    /// The last sequence of an address in the log, from the leader; 0 when it has none.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn last_of(&self, address: &Address) -> Result<u64, BusError> {
        let found = self.last_message(subject::EVENTS, &subject::event(address)).await?;
        Ok(found.map_or(0, |message| message.sequence))
    }

    /// The last message of a subject, from the stream's leader: read after write.
    pub(crate) async fn last_message(
        &self,
        stream: &'static str,
        subject: &str,
    ) -> Result<Option<StreamMessage>, BusError> {
        let stream = self.stream(stream).await?;
        match stream.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(error).trying("reading the last message of a subject"),
        }
    }

    /// The head of the log, as its leader says.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn head(&self) -> Result<LogHead, BusError> {
        self.head_and_missing().await.map(|(head, _)| head)
    }

    /// The same, and how many of the messages up to there the log does not hold any more: none is ever taken away.
    pub(crate) async fn head_and_missing(&self) -> Result<(LogHead, u64), BusError> {
        let stream = self.stream(subject::EVENTS).await?;
        let info = stream.get_info().await.trying(HEAD)?;
        let head = self.head_of(&info)?;
        Ok((head, head.seq.saturating_sub(info.state.messages)))
    }

    /// The head by what is told of the stream: a log that was lost and restored is the one that it was.
    fn head_of(&self, info: &Info) -> Result<LogHead, BusError> {
        let notes = &info.config.metadata;
        if notes.contains_key(successor::RESTORING) {
            return Err(BusError::failed(HEAD)(&"it is being restored"));
        }
        if is_of_no_leader(info) {
            return Err(BusError::failed(HEAD)(&"no server leads the log now"));
        }
        let created = millis(info.created);
        let restored = Successor::read(notes, &self.signers(), created).unwrap_or_else(|reason| {
            tracing::warn!(%reason, "it is said that the log was restored; that is not believed");
            None
        });
        let created = restored.map_or(created, |restored| restored.log_created.0);
        Ok(LogHead { seq: info.state.last_sequence, created })
    }

    /// The head of the log as its leader says, with how long ago that has last heard enough of the others to be sure that
    /// it leads: a head that was appended by another since then is not in it. Nothing where one server keeps the log.
    ///
    /// # Errors
    /// When the bus cannot be asked, or the leader has not heard of enough others.
    pub async fn head_and_age(&self) -> Result<(LogHead, Duration), BusError> {
        let stream = self.stream(subject::EVENTS).await?;
        let info = stream.get_info().await.trying(HEAD)?;
        let age = sure_since(&info).ok_or_else(|| {
            BusError::failed(HEAD)(&"its leader hears of too few others, or nobody leads it")
        })?;
        Ok((self.head_of(&info)?, age))
    }

    /// Whether several servers keep the log. Then one that leads no more may tell its head for a moment.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn is_log_kept_by_several(&self) -> Result<bool, BusError> {
        let stream = self.stream(subject::EVENTS).await?;
        let info = stream.get_info().await.trying("asking how many servers keep the log")?;
        Ok(info.config.num_replicas > 1)
    }

    /// What the bus's own clock says, as the leader of the log puts it into an answer: the same by which it
    /// stores messages, and never later than now.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn clock(&self) -> Result<At, BusError> {
        #[derive(Deserialize)]
        struct Told {
            ts: text::Moment,
        }
        let asking = self.context().request(format!("STREAM.INFO.{}", subject::EVENTS), &());
        match asking.await.trying("asking for the bus's time")? {
            Response::Ok(Told { ts }) => Ok(ts.0),
            Response::Err { error } => Err(BusError::failed("asking for the bus's time")(&error)),
        }
    }

    /// The event that stands at a position, from the leader; `None` when none of `address` stands there
    /// that an entitled service wrote.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn event_at(&self, seq: u64, address: &Address) -> Result<Option<Recorded>, BusError> {
        let found = self.event_stored_at(seq, address).await?;
        Ok(found.map(|(event, _)| Recorded { seq, event }))
    }

    /// The same, with the time at which it was stored.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn event_stored_at(
        &self,
        seq: u64,
        address: &Address,
    ) -> Result<Option<(Event, At)>, BusError> {
        let found = self.next_of(&subject::event(address), seq).await?;
        let Some((message, at)) = found.filter(|(message, _)| message.seq == seq) else { return Ok(None) };
        Ok(self.believe(&message).ok().map(|event| (event, at)))
    }

    /// Up to [`PAGE`] messages of the log at or after `from`, of one address or of all. Not read after
    /// write. Needs no consumer, so that operators and auditors can read.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn page(&self, from: u64, address: Option<&Address>) -> Result<Vec<Message>, BusError> {
        let filter = address.map_or_else(|| subject::EVENTS_ALL.to_owned(), subject::event);
        let messages = self.direct_page(subject::EVENTS, &filter, from).await?;
        Ok(messages.into_iter().map(|(message, _)| message).collect())
    }

    /// The same with the time at which each message was stored, also of a tenant with all its clients.
    ///
    /// # Errors
    /// When the bus cannot be asked or stops in the middle.
    pub async fn page_stored(&self, from: u64, of: Pages<'_>) -> Result<Vec<(Message, At)>, BusError> {
        let filter = match of {
            Pages::All => subject::EVENTS_ALL.to_owned(),
            Pages::Tenant(tenant) => subject::events_of(tenant),
            Pages::Address(address) => subject::event(address),
        };
        self.direct_page(subject::EVENTS, &filter, from).await
    }

    /// The message at a position of the log, whatever it is; `None` when the log has not got so far.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn message_at(&self, seq: u64) -> Result<Option<(Message, At)>, BusError> {
        let request =
            serde_json::json!({ "batch": 1, "seq": seq.max(1), "next_by_subj": subject::EVENTS_ALL });
        let found = self.direct_get(subject::EVENTS, &request).await?;
        Ok(found.into_iter().find(|(message, _)| message.seq == seq))
    }

    /// A page of any stream by direct get, each message with the time at which it was stored.
    pub(crate) async fn direct_page(
        &self,
        stream: &'static str,
        filter: &str,
        from: u64,
    ) -> Result<Vec<(Message, At)>, BusError> {
        let request = serde_json::json!({ "batch": PAGE, "seq": from.max(1), "next_by_subj": filter });
        self.direct_get(stream, &request).await
    }

    /// What a direct get of several messages finds, each with the time at which it was stored.
    pub(crate) async fn direct_get(
        &self,
        stream: &'static str,
        request: &serde_json::Value,
    ) -> Result<Vec<(Message, At)>, BusError> {
        let replies = self.direct_replies(stream, request).await?;
        Ok(replies.iter().filter_map(stored).collect())
    }

    /// The same, as the bus sends them.
    pub(crate) async fn direct_replies(
        &self,
        stream: &'static str,
        request: &serde_json::Value,
    ) -> Result<Vec<async_nats::Message>, BusError> {
        let inbox = self.client().new_inbox();
        let mut replies = self.client().subscribe(inbox.clone()).await.trying("subscribing to replies")?;
        self.client()
            .publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, request.to_string().into())
            .await
            .trying("asking for a page of the log")?;
        let mut page = Vec::new();
        loop {
            let reply = tokio::time::timeout(Duration::from_secs(5), replies.next()).await;
            let reply = reply.trying("waiting for a page of the log")?;
            let Some(reply) = reply.filter(|reply| reply.status.is_none()) else { return Ok(page) };
            page.push(reply);
        }
    }
}

/// How long ago who tells this of the log was last sure to lead it; nothing where that is not its leader, or has not
/// heard of enough others.
pub(crate) fn sure_since(info: &Info) -> Option<Duration> {
    if is_of_no_leader(info) {
        return None;
    }
    let others = info.cluster.iter().flat_map(|cluster| &cluster.replicas);
    // Of one that was never heard of it is said that it was heard of just now.
    let heard = others.filter(|peer| peer.current || !peer.active.is_zero()).map(|peer| peer.active);
    majority_age(info.config.num_replicas, heard.collect())
}

/// Of a stream that nobody leads, the server that answers for the whole cluster tells nothing but the configuration, also
/// for as long as it has lost the others: with no leader, and with a state of no messages.
fn is_of_no_leader(info: &Info) -> bool {
    info.cluster.as_ref().is_some_and(|cluster| cluster.leader.is_none())
}

/// How long ago a leader has last heard of as many others as make a majority with it, of `copies`.
fn majority_age(copies: usize, mut heard: Vec<Duration>) -> Option<Duration> {
    heard.sort();
    match copies / 2 {
        0 => Some(Duration::ZERO),
        others => heard.get(others - 1).copied(),
    }
}

pub(crate) fn is_conflict(error: &PublishError) -> bool {
    const CONFLICTS: [ErrorCode; 3] = [
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE,
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT,
        ErrorCode::ATOMIC_PUBLISH_CONTAINS_DUPLICATE_MESSAGE,
    ];
    let source = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    matches!(error.kind(), PublishErrorKind::WrongLastSequence)
        || source.is_some_and(|source| CONFLICTS.contains(&source.error_code()))
}

fn to_message(message: StreamMessage) -> (Message, At) {
    let at = millis(message.time);
    let signed = signed(Some(&message.headers));
    let (seq, subject) = (message.sequence, message.subject.to_string());
    (Message { seq, subject, payload: message.payload.to_vec(), signed }, at)
}

/// A direct get's reply carries the stored message's place in headers.
pub(crate) fn stored(reply: &async_nats::Message) -> Option<(Message, At)> {
    let headers = reply.headers.as_ref()?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str());
    let message = Message {
        seq: header("Nats-Sequence")?.parse().ok()?,
        subject: header("Nats-Subject")?.to_owned(),
        payload: reply.payload.to_vec(),
        signed: signed(Some(headers)),
    };
    let at = text::parse_moment(header("Nats-Time-Stamp")?).ok()?;
    Some((message, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_as_sure_as_the_last_of_a_majority_makes_it() {
        let secs = |secs: &[u64]| secs.iter().map(|&it| Duration::from_secs(it)).collect::<Vec<_>>();
        let age = |copies, heard: &[u64]| majority_age(copies, secs(heard)).map(|it| it.as_secs());
        assert_eq!(age(1, &[]), Some(0));
        assert_eq!((age(3, &[9, 1]), age(3, &[4]), age(3, &[])), (Some(1), Some(4), None));
        assert_eq!((age(5, &[9, 1, 3, 7]), age(5, &[1])), (Some(3), None));
    }

    /// As nats-server 2.15.1 tells it.
    fn told(leader: &str, replicas: &str) -> Info {
        let told = format!(
            r#"{{"type": "io.nats.jetstream.api.v1.stream_info_response", "total": 0, "offset": 0, "limit": 0,
                "config": {{"name": "KW_EVENTS", "subjects": ["kw.evt.>"], "retention": "limits", "max_consumers": -1,
                    "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msgs_per_subject": -1, "max_msg_size": -1,
                    "discard": "old", "storage": "file", "num_replicas": 3, "duplicate_window": 120000000000}},
                "created": "2026-11-25T14:24:19Z", "ts": "2026-11-25T14:24:30Z",
                "state": {{"messages": 0, "bytes": 0, "first_seq": 0, "first_ts": "0001-01-01T00:00:00Z",
                    "last_seq": 0, "last_ts": "0001-01-01T00:00:00Z", "consumer_count": 5}},
                "cluster": {{"name": "keywheel", "raft_group": "S-R3F", {leader} "replicas": [{replicas}]}}}}"#
        );
        serde_json::from_str(&told).unwrap()
    }

    #[test]
    fn who_leads_not_or_was_never_heard_of_makes_nobody_sure() {
        let leader = r#""leader": "nats-3","#;
        let peer = |current: bool, active: u64| {
            format!(r#"{{"name": "n", "current": {current}, "offline": false, "active": {active}}}"#)
        };
        let of = |leader: &str, peers: [String; 2]| sure_since(&told(leader, &peers.join(",")));
        let sure = Some(Duration::from_nanos(7));
        assert_eq!(of(leader, [peer(true, 7), peer(true, 9)]), sure);
        assert_eq!(of(leader, [peer(false, 0), peer(false, 7)]), sure, "one that lags was heard of");
        assert_eq!(of(leader, [peer(true, 0), peer(false, 9)]), Some(Duration::ZERO));
        assert_eq!(of(leader, [peer(false, 0), peer(false, 0)]), None);
        assert_eq!(of("", [peer(true, 7), peer(true, 9)]), None);
    }
}
