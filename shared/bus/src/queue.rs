//! Taking messages off a work queue without losing any on the way, and working on several at once.

use crate::BusError;
use crate::error::Trying;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use futures_util::{StreamExt, TryStreamExt};
use std::time::Duration;

/// How many things that stand alone are under way at once.
const AT_ONCE: usize = 64;

/// Carries out what stands alone, some of it at once; answers in order.
pub(crate) async fn side_by_side<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    futures_util::stream::iter(futures).buffered(AT_ONCE).collect().await
}

/// Waits up to `wait` for a first message and takes what lies there with it, `most` in all, in order.
/// Every request is read to its end: what the server sends to one that was dropped early comes again
/// only after the queue's whole acknowledgement time, and out of order.
///
/// # Errors
/// When the bus cannot be asked.
pub(crate) async fn take(
    queue: &PullConsumer,
    most: usize,
    wait: Duration,
    what: &'static str,
) -> Result<Vec<Message>, BusError> {
    let first = queue.batch().max_messages(1).expires(wait).messages().await.trying(what)?;
    let first = tokio::time::timeout(wait * 2, first.try_collect::<Vec<_>>()).await;
    let mut taken = first.trying(what)?.trying(what)?;
    if taken.is_empty() {
        return Ok(taken);
    }
    let rest = queue.fetch().max_messages(most.saturating_sub(1)).messages().await.trying(what)?;
    let mut rest = std::pin::pin!(rest);
    // What was taken is worked on whatever becomes of the rest.
    while let Ok(Ok(Some(message))) = tokio::time::timeout(wait * 2, rest.try_next()).await {
        taken.push(message);
    }
    Ok(taken)
}
