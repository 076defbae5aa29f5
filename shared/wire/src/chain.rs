//! The running hash over every message of the log, believed or not: sequence numbers alone cannot
//! show that a log was cut, restored, recreated or altered.

use sha2::{Digest, Sha256};

/// The hash at a position; at position 0 it is all zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(pub [u8; 32]);

impl Chain {
    /// The hash after one more message.
    #[must_use]
    pub fn next(self, seq: u64, subject: &str, payload: &[u8]) -> Chain {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(seq.to_be_bytes());
        hash.update(u32::try_from(subject.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(subject.as_bytes());
        hash.update(payload);
        Chain(hash.finalize().into())
    }
}

/// SHA-256 of an event's payload, as the keyring's next event carries it in `prev`.
pub fn payload_hash(payload: &[u8]) -> [u8; 32] {
    Sha256::digest(payload).into()
}
