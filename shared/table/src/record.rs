//! A message of the log with all that is stored of it, for those who copy the log or check it.

use crate::Message;
use keywheel_domain::At;

/// A message with what readers of history have no use for.
#[derive(Clone, Debug)]
pub struct Record {
    /// The message.
    pub message: Message,
    /// When the bus stored it, by the bus's clock.
    pub at: At,
    /// Every header that was stored with it, in the order in which they stand.
    pub headers: Vec<(String, String)>,
}
