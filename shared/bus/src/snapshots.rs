//! Snapshots of the table in their object store: put by the service that folds the log, read by edges chunk by chunk.
//! Each slot is written over as a whole: its first new chunk takes the old ones away, and its manifest comes last. A
//! writer that finds another one at work in the slot leaves it to that.

use crate::error::Trying;
use crate::log::is_conflict;
use crate::{Bus, BusError};
use async_nats::jetstream::message::PublishMessage;
use keywheel_domain::At;
use keywheel_table::fold::Head;
use keywheel_table::{Message, snapshot};
use keywheel_wire::belief;
use keywheel_wire::chain::Chain;
use keywheel_wire::snapshot::{Bound, CHUNK_BYTES_MAX, ContentHash, Count, Manifest, Slot};
use keywheel_wire::subject;
use keywheel_wire::text::{Hex32, Id, Moment};
use sha2::{Digest, Sha256};
use std::cmp::Reverse;
use std::io::{self, Read};

/// Chunks that are in memory at once.
const CHUNKS_AT_ONCE: u64 = 8;
const WHAT: &str = "writing a snapshot";

/// What lies in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which.
    pub slot: Slot,
    /// Its manifest, when that can be believed and its chunks are those of which it speaks.
    pub manifest: Option<Manifest>,
    /// The sequence of its last chunk; 0 when there is none.
    pub last_chunk: u64,
}

/// The slot to write over: one of no use, else that with the oldest snapshot.
pub fn oldest(held: &[Held]) -> Option<&Held> {
    held.iter().min_by_key(|held| held.manifest.as_ref().map(|it| it.metadata.watermark))
}

/// What became of writing one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Put {
    /// It lies there.
    Stored(Box<Manifest>),
    /// Somebody else was writing there.
    Contended,
}

/// Where a fold stands, as a manifest has it.
pub fn position(bound: &Bound) -> Head {
    Head {
        watermark: bound.watermark.get(),
        chain: Chain(bound.chain.0),
        chain_before: Chain(bound.chain_before.0),
        digest: bound.table_digest.0,
    }
}

impl Bus {
    /// What lies in every slot, as the leader says.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn slots(&self) -> Result<Vec<Held>, BusError> {
        let (signers, mut all) = (self.signers(), Vec::new());
        for slot in Slot::all() {
            let stream = subject::SNAPSHOTS_STREAM;
            let last_chunk = self.last_message(stream, &subject::chunks(slot)).await?;
            let last_chunk = last_chunk.map_or(0, |chunk| chunk.sequence);
            let at = subject::manifest(slot);
            let stored = self.last_message(stream, &at).await?;
            let manifest = stored.and_then(|stored| {
                let signed = crate::connect::signed(Some(&stored.headers));
                let read = belief::snapshot(&signers, &at, &stored.payload, signed.as_ref());
                read.ok().filter(|manifest| manifest.metadata.last_chunk.get() == last_chunk)
            });
            all.push(Held { slot, manifest, last_chunk });
        }
        Ok(all)
    }

    /// Puts the snapshot that `from` gives and that stands at `head` of the log created at `log_created` over what
    /// lies in a slot.
    ///
    /// # Errors
    /// When it cannot be read or it is not certain that it was stored.
    pub async fn put_snapshot(
        &self,
        over: &Held,
        head: &Head,
        log_created: At,
        now: At,
        from: &mut (impl Read + Send),
    ) -> Result<Put, BusError> {
        let (mut hash, mut size, mut chunks) = (Sha256::new(), 0, 0);
        let (mut first, mut last) = (0, over.last_chunk);
        loop {
            let chunk = next_chunk(from).trying(WHAT)?;
            if chunk.is_empty() {
                break;
            }
            hash.update(&chunk);
            size += chunk.len() as u64;
            chunks += 1;
            match self.put_chunk(over.slot, chunk, last, chunks == 1).await? {
                Some(seq) => last = seq,
                None => return Ok(Put::Contended),
            }
            first = if chunks == 1 { last } else { first };
        }
        let name = over.slot.name();
        let manifest = Manifest {
            nuid: name.clone(),
            name,
            bucket: subject::SNAPSHOTS.to_owned(),
            size,
            chunks,
            mtime: Moment(now),
            digest: ContentHash(hash.finalize().into()),
            metadata: Bound {
                installation: Id(self.signers().installation().0),
                log_created: Moment(log_created),
                watermark: Count::of(head.watermark)?,
                chain: Hex32(head.chain.0),
                chain_before: Hex32(head.chain_before.0),
                table_digest: Hex32(head.digest),
                format: Count::of(u64::from(snapshot::FORMAT))?,
                first_chunk: Count::of(first)?,
                last_chunk: Count::of(last)?,
            },
        };
        self.put_manifest(over.slot, &manifest).await?;
        Ok(Put::Stored(Box::new(manifest)))
    }

    /// Puts one chunk after the one at `after`; its sequence, or none when another one stands there.
    async fn put_chunk(
        &self,
        slot: Slot,
        chunk: Vec<u8>,
        after: u64,
        is_first: bool,
    ) -> Result<Option<u64>, BusError> {
        let mut headers = async_nats::HeaderMap::new();
        if is_first {
            headers.insert(subject::HEADER_ROLLUP, "sub");
        }
        let message = PublishMessage::build()
            .headers(headers)
            .payload(chunk.into())
            .expected_last_subject_sequence(after);
        let sent = self.context().send_publish(subject::chunks(slot), message).await;
        let stored = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(stored) => Ok(Some(stored.sequence)),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error).trying(WHAT),
        }
    }

    async fn put_manifest(&self, slot: Slot, manifest: &Manifest) -> Result<(), BusError> {
        let subject = subject::manifest(slot);
        let payload = serde_json::to_vec(manifest).trying(WHAT)?;
        let mut headers = self.sign(&subject, &payload)?;
        headers.insert(subject::HEADER_ROLLUP, "sub");
        let message = PublishMessage::build().headers(headers).payload(payload.into());
        let sent = self.context().send_publish(subject, message).await;
        sent.trying(WHAT)?.await.trying(WHAT)?;
        Ok(())
    }

    /// The manifests that lie in the store: first why those are not believed that are not, then the newest position
    /// first. By direct get, which is all that edges may.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn manifests(&self) -> Result<Vec<Result<Manifest, String>>, BusError> {
        let request =
            serde_json::json!({ "multi_last": [subject::MANIFESTS_ALL], "batch": Slot::all().count() });
        let found = self.direct_get(subject::SNAPSHOTS_STREAM, &request).await?;
        let signers = self.meet().await?;
        let read = |(message, _): (Message, At)| {
            let Message { seq: _, subject, payload, signed } = message;
            belief::snapshot(&signers, &subject, &payload, signed.as_ref())
        };
        let mut all: Vec<_> = found.into_iter().map(read).collect();
        all.sort_by_key(|read| read.as_ref().ok().map(|it| Reverse(it.metadata.watermark)));
        Ok(all)
    }

    /// Passes the bytes of a snapshot to `take`, a few chunks at a time. The inner error says why they are not those
    /// that its manifest describes.
    ///
    /// # Errors
    /// When the bus cannot be asked or `take` cannot take them.
    pub async fn read_snapshot(
        &self,
        manifest: &Manifest,
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<Result<(), String>, BusError> {
        const WHAT: &str = "reading a snapshot";
        let Some(slot) = Slot::named(&manifest.name) else { return Ok(Err("it is in no slot".to_owned())) };
        let (mut hash, mut size, mut chunks) = (Sha256::new(), 0, 0);
        let mut from = manifest.metadata.first_chunk.get();
        while chunks < manifest.chunks {
            let batch = CHUNKS_AT_ONCE.min(manifest.chunks - chunks);
            let request =
                serde_json::json!({ "batch": batch, "seq": from, "next_by_subj": subject::chunks(slot) });
            let page = self.direct_get(subject::SNAPSHOTS_STREAM, &request).await?;
            if page.is_empty() {
                return Ok(Err(format!("only {chunks} of {} chunks are there", manifest.chunks)));
            }
            for (chunk, _) in page {
                size += chunk.payload.len() as u64;
                chunks += 1;
                if chunk.seq > manifest.metadata.last_chunk.get() || size > manifest.size {
                    return Ok(Err("its chunks are others by now".to_owned()));
                }
                hash.update(&chunk.payload);
                take(&chunk.payload).trying(WHAT)?;
                from = chunk.seq + 1;
            }
        }
        let is_whole = size == manifest.size && manifest.digest == ContentHash(hash.finalize().into());
        Ok(if is_whole { Ok(()) } else { Err("its bytes are not those that were signed".to_owned()) })
    }
}

fn next_chunk(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES_MAX);
    from.take(CHUNK_BYTES_MAX as u64).read_to_end(&mut chunk)?;
    Ok(chunk)
}
