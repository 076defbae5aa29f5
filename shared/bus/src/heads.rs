//! Signed heads of the log, as a reader holds its own history against them: each reader is a witness.

use crate::error::Trying;
use crate::{Bus, BusError};
use async_nats::jetstream::stream::DirectGetErrorKind;
use keywheel_domain::At;
use keywheel_table::fold::Head;
use keywheel_table::{Fold, Message, Weighed};
use keywheel_wire::belief;
use keywheel_wire::chain::Chain;
use keywheel_wire::notice::{Notice, SignedHead};
use keywheel_wire::subject;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Positions of which the running hash is remembered: a head tells of a moment ago.
const REMEMBERED: usize = 4096;
/// Heads that may be ahead at once. The oldest are kept, because they are reached first, and the newest.
const AHEAD_MAX: usize = 16;
/// Messages that come at once while a log is read that is far ahead: nothing is remembered of those.
const FAR: usize = 900;

/// What a head says to a reader's own history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The same.
    Agrees,
    /// It lies ahead: it is compared when the reader comes there.
    Ahead,
    /// Nothing: it lies before what is remembered, or is of a log that is not followed.
    Nothing,
    /// Another history.
    Contradicts(String),
}

/// What a reader knows of signed heads.
#[derive(Clone, Debug, Default)]
pub struct Heads {
    /// Own history, the oldest first; with gaps where much came at once.
    trail: VecDeque<(u64, Chain)>,
    /// With the table digest, where that was heard in this run.
    ahead: BTreeMap<u64, (Chain, Option<[u8; 32]>)>,
    newest: Option<(u64, Chain)>,
    agreed: Option<(u64, Chain)>,
    contradiction: Option<String>,
    odd: Option<u64>,
}

impl Heads {
    /// Of a reader that stands at `watermark` and had heard of `newest` and agreed with `agreed` before.
    pub fn restored(watermark: u64, newest: Option<(u64, Chain)>, agreed: Option<(u64, Chain)>) -> Self {
        let ahead = newest.into_iter().filter(|(seq, _)| *seq > watermark);
        let ahead = ahead.map(|(seq, chain)| (seq, (chain, None))).collect();
        Self { ahead, newest, agreed, ..Self::default() }
    }

    /// The newest head that was heard of this log.
    pub fn newest(&self) -> Option<(u64, Chain)> {
        self.newest
    }

    /// The newest with which this reader's own history agrees.
    pub fn agreed(&self) -> Option<(u64, Chain)> {
        self.agreed
    }

    /// Why the log is not the one that was signed, once that was found.
    pub fn contradiction(&self) -> Option<&str> {
        self.contradiction.as_deref()
    }

    /// Where the last head stands whose table could be compared, if that is another than this reader's own although their
    /// history is one. Which of the two is wrong it does not say.
    pub fn odd(&self) -> Option<u64> {
        self.odd
    }

    /// Hears of a head, where the reader stands at `own` in the log created at `created`.
    pub fn hear(&mut self, head: &SignedHead, own: Head, created: At) -> Heard {
        if head.log_created.0 != created {
            return Heard::Nothing;
        }
        let told = (head.seq, Chain(head.chain.0));
        if self.newest.is_none_or(|(seq, _)| seq < told.0) {
            self.newest = Some(told);
        }
        if told.0 > own.watermark {
            if self.ahead.len() >= AHEAD_MAX {
                self.ahead.pop_last();
            }
            self.ahead.insert(told.0, (told.1, Some(head.digest.0)));
            return Heard::Ahead;
        }
        if told == (own.watermark, own.chain) {
            self.compare_tables(head.digest.0, own);
        }
        let passed = || self.trail.binary_search_by_key(&told.0, |(seq, _)| *seq).ok();
        let ours =
            if told.0 == own.watermark { Some(own.chain) } else { passed().map(|at| self.trail[at].1) };
        ours.map_or(Heard::Nothing, |ours| self.compare(told, ours))
    }

    fn compare(&mut self, told: (u64, Chain), ours: Chain) -> Heard {
        if told.1 != ours {
            let detail = format!("a signed head says that its history up to {} was another", told.0);
            self.contradiction.get_or_insert_with(|| detail.clone());
            return Heard::Contradicts(detail);
        }
        if self.agreed.is_none_or(|(seq, _)| seq < told.0) {
            self.agreed = Some(told);
        }
        Heard::Agrees
    }

    fn compare_tables(&mut self, told: [u8; 32], own: Head) {
        self.odd = (told != own.digest).then_some(own.watermark);
    }

    /// The next position at or after `seq` that a head speaks of.
    pub(crate) fn stop_at(&self, seq: u64) -> Option<u64> {
        self.ahead.range(seq..).next().map(|(seq, _)| *seq)
    }

    /// Messages were applied, from where the reader stood at `before`.
    pub(crate) fn walked(&mut self, before: Head, steps: Vec<(u64, Chain)>) {
        if self.trail.back().is_some_and(|(last, _)| *last > before.watermark) {
            // The log is read anew.
            self.trail.clear();
        }
        self.trail.extend(steps);
        self.trail.drain(..self.trail.len().saturating_sub(REMEMBERED));
    }

    /// The reader stands at `own` now.
    pub(crate) fn reached(&mut self, own: Head) -> Heard {
        let mut heard = Heard::Nothing;
        if let Some((chain, digest)) = self.ahead.remove(&own.watermark) {
            heard = self.compare((own.watermark, chain), own.chain);
            if let (Heard::Agrees, Some(digest)) = (&heard, digest) {
                self.compare_tables(digest, own);
            }
        }
        self.ahead = self.ahead.split_off(&own.watermark);
        heard
    }
}

/// The same, shared by who follows the log and who hears of heads. Its lock is never given away and nothing else is
/// taken under it, so that nobody who waits for a fold can hold it.
#[derive(Clone, Debug, Default)]
pub struct SharedHeads(Arc<Mutex<Heads>>);

impl SharedHeads {
    /// Shares them.
    pub fn new(heads: Heads) -> Self {
        Self(Arc::new(Mutex::new(heads)))
    }

    /// As [`Heads::newest`].
    pub fn newest(&self) -> Option<(u64, Chain)> {
        self.lock().newest()
    }

    /// As [`Heads::agreed`].
    pub fn agreed(&self) -> Option<(u64, Chain)> {
        self.lock().agreed()
    }

    /// As [`Heads::contradiction`].
    pub fn contradiction(&self) -> Option<String> {
        self.lock().contradiction().map(str::to_owned)
    }

    /// As [`Heads::odd`].
    pub fn odd(&self) -> Option<u64> {
        self.lock().odd()
    }

    /// As [`Heads::hear`], for the reader whose fold this is: it stands still as long as it is borrowed.
    pub fn hear(&self, head: &SignedHead, own: &Fold, created: At) -> Heard {
        self.lock().hear(head, own.head(), created)
    }

    pub(crate) fn stop_at(&self, seq: u64) -> Option<u64> {
        self.lock().stop_at(seq)
    }

    pub(crate) fn walked(&self, before: Head, steps: Vec<(u64, Chain)>) {
        self.lock().walked(before, steps);
    }

    pub(crate) fn reached(&self, own: Head) -> Heard {
        self.lock().reached(own)
    }

    fn lock(&self) -> MutexGuard<'_, Heads> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Each position that `batch` leads to from `before`, with the running hash there.
pub(crate) fn steps(before: Head, batch: &[Weighed]) -> Vec<(u64, Chain)> {
    if batch.len() >= FAR {
        return Vec::new();
    }
    let mut chain = before.chain;
    let news = batch.iter().map(Weighed::message).filter(|message| message.seq > before.watermark);
    let step = |Message { seq, subject, payload, signed: _ }: &Message| {
        chain = chain.next(*seq, subject, payload);
        (*seq, chain)
    };
    news.map(step).collect()
}

impl Bus {
    /// The newest head that was published and can be believed.
    ///
    /// # Errors
    /// When the bus cannot be asked.
    pub async fn newest_head(&self) -> Result<Option<SignedHead>, BusError> {
        let stream = self.stream(subject::NOTICES).await?;
        let message = match stream.direct_get_last_for_subject(subject::HEADS).await {
            Ok(message) => message,
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).trying("reading the newest head"),
        };
        let signed = crate::connect::signed(Some(&message.headers));
        let read = belief::notice(
            &self.signers(),
            belief::Heard::Live,
            subject::HEADS,
            &message.payload,
            signed.as_ref(),
        );
        match read {
            Ok(Notice::Head(head)) => Ok(Some(head)),
            Ok(Notice::Receipt(_) | Notice::Alarm(_)) => Ok(None),
            Err(reason) => {
                tracing::warn!(%reason, "a head of the log is not believed");
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_wire::signers::Signers;
    use keywheel_wire::text::{Hex32, Id, Moment};

    const CREATED: At = At(7);

    fn message(seq: u64) -> Message {
        Message { seq, subject: "kw.evt.a.b".to_owned(), payload: seq.to_be_bytes().into(), signed: None }
    }

    /// The history of messages 1, 2, 3 and so on.
    fn own(watermark: u64) -> Head {
        let next = |chain: Chain, seq| {
            let Message { subject, payload, .. } = message(seq);
            chain.next(seq, &subject, &payload)
        };
        let chain = (1..=watermark).fold(Chain::default(), next);
        Head { watermark, chain, ..Head::default() }
    }

    fn told(seq: u64, chain: Chain) -> SignedHead {
        let (installation, log_created, at) = (Id(1), Moment(CREATED), Moment(At(0)));
        let (chain, digest) = (Hex32(chain.0), Hex32([0; 32]));
        SignedHead { installation, log_created, seq, chain, digest, at }
    }

    fn walk(heads: &mut Heads, from: u64, to: u64) -> Heard {
        let weighed = |seq| Weighed::new(message(seq), &Signers::nobody());
        let batch: Vec<Weighed> = (from.max(1)..=to).map(weighed).collect();
        heads.walked(own(from), steps(own(from), &batch));
        heads.reached(own(to))
    }

    #[test]
    fn a_head_of_a_moment_ago_is_compared_at_once() {
        let mut heads = Heads::default();
        walk(&mut heads, 0, 10);
        assert_eq!(heads.hear(&told(7, own(7).chain), own(10), CREATED), Heard::Agrees);
        assert_eq!(heads.hear(&told(10, own(10).chain), own(10), CREATED), Heard::Agrees);
        assert_eq!(heads.agreed(), Some((10, own(10).chain)));
        assert!(matches!(heads.hear(&told(6, own(7).chain), own(10), CREATED), Heard::Contradicts(_)));
        assert!(matches!(heads.hear(&told(10, own(9).chain), own(10), CREATED), Heard::Contradicts(_)));
        assert_eq!(heads.hear(&told(5, Chain([1; 32])), own(10), At(8)), Heard::Nothing, "another log");
        assert_eq!(heads.agreed(), Some((10, own(10).chain)), "an older one takes nothing back");
    }

    #[test]
    fn a_head_that_lies_ahead_is_compared_on_the_way() {
        let mut heads = Heads::default();
        assert_eq!(heads.hear(&told(5, own(5).chain), own(2), CREATED), Heard::Ahead);
        assert_eq!(heads.hear(&told(8, Chain([9; 32])), own(2), CREATED), Heard::Ahead);
        assert_eq!((heads.stop_at(3), heads.stop_at(6), heads.stop_at(9)), (Some(5), Some(8), None));
        assert_eq!(walk(&mut heads, 2, 4), Heard::Nothing);
        assert_eq!(walk(&mut heads, 4, 5), Heard::Agrees);
        assert!(matches!(walk(&mut heads, 5, 8), Heard::Contradicts(_)));
    }

    #[test]
    fn another_table_of_the_same_history_is_odd_until_one_agrees() {
        let mut heads = Heads::default();
        walk(&mut heads, 0, 10);
        let table = |seq, digest| SignedHead { digest: Hex32([digest; 32]), ..told(seq, own(seq).chain) };
        assert_eq!((heads.hear(&table(10, 1), own(10), CREATED), heads.odd()), (Heard::Agrees, Some(10)));
        assert_eq!((heads.hear(&table(9, 0), own(10), CREATED), heads.odd()), (Heard::Agrees, Some(10)));
        assert_eq!((heads.hear(&table(10, 0), own(10), CREATED), heads.odd()), (Heard::Agrees, None));
        assert_eq!(heads.hear(&table(12, 1), own(10), CREATED), Heard::Ahead);
        assert_eq!((walk(&mut heads, 10, 12), heads.odd()), (Heard::Agrees, Some(12)));
        assert_eq!(heads.hear(&table(13, 0), own(12), CREATED), Heard::Ahead);
        assert_eq!((walk(&mut heads, 12, 13), heads.odd()), (Heard::Agrees, None));
        let other = SignedHead { chain: Hex32([9; 32]), ..table(13, 1) };
        assert!(matches!(heads.hear(&other, own(13), CREATED), Heard::Contradicts(_)));
        assert_eq!(heads.hear(&SignedHead { seq: 14, ..other }, own(13), CREATED), Heard::Ahead);
        assert!(matches!(walk(&mut heads, 13, 14), Heard::Contradicts(_)));
        assert_eq!(heads.odd(), None, "of another history nothing follows");
    }

    #[test]
    fn what_was_heard_survives_a_restart() {
        let newest = Some((8, Chain([9; 32])));
        let mut heads = Heads::restored(5, newest, None);
        assert!(matches!(walk(&mut heads, 5, 8), Heard::Contradicts(_)));
        assert_eq!(Heads::restored(8, newest, None).stop_at(1), None, "it was compared before");
    }

    #[test]
    fn memory_is_bounded_and_a_steady_lag_does_not_starve_it() {
        let mut heads = Heads::default();
        for seq in 1..10_000 {
            heads.hear(&told(seq + 50, Chain([9; 32])), own(0), CREATED);
            heads.walked(Head { watermark: seq - 1, ..Head::default() }, vec![(seq, Chain::default())]);
        }
        assert_eq!((heads.ahead.len(), heads.trail.len()), (AHEAD_MAX, REMEMBERED));
        assert_eq!((heads.stop_at(0), heads.newest().map(|(seq, _)| seq)), (Some(51), Some(10_049)));
    }
}
