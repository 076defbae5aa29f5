//! The one place that holds a key's plaintext and draws random numbers.
//!
//! Other crates see kids, digests and sealed bytes. Whoever needs the text itself asks a [`KeyText`]
//! to expose it, so each such place can be found by searching for `expose`.
//!
//! # Layout
//! - [`Brand`]: how this installation's keys begin
//! - [`KeyText`], [`Seed`]: secrets that no log line can show
//! - [`mint()`]: a new key
//! - [`read()`]: what a shown text is, decided without allocating
//! - [`digest`]: hex, comparison in constant time, digests of foreign keys
//! - [`seal()`], [`Recipient`], [`Opener`]: secrets on their way to their owners
//! - [`Credential`], [`Signer`]: signatures, and the seeds that services log in with
//! - [`id`]: fresh and derived identifiers
//! - [`TokenError`], [`Malformed`]: what can be wrong

mod base62;
mod brand;
mod credential;
pub mod digest;
mod error;
pub mod id;
mod mint;
mod presented;
mod seal;
mod secret;

pub use brand::Brand;
pub use credential::{Credential, Signer, verify};
pub use digest::{digest_foreign, digest_hex, parse_digest_hex, same};
pub use error::{Malformed, TokenError};
pub use mint::{Fresh, mint};
pub use presented::{FOREIGN_BYTES, Presented, Shown, look, read};
pub use seal::{Opener, Recipient, Sealed, seal};
pub use secret::{KeyText, Seed};
