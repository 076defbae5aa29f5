//! What goes over the bus, byte by byte: the only place that knows encodings, subjects and headers.
//!
//! # Layout
//! - [`subject`]: every stream, subject, durable and header literal
//! - [`event`]: the envelope of an event (MessagePack), with [`body`] for what is inside
//! - [`command`]: what may be published as a command (JSON), checked field by field
//! - [`outcome`]: what is answered, and the intent that goes before
//! - [`pulse`], [`usage`], [`delivery`], [`notice`]: the other messages (JSON)
//! - [`snapshot`]: what a snapshot of the table is bound to (JSON)
//! - [`policy`]: policies as JSON and MessagePack
//! - [`text`], [`range`]: instants, spans, ids and address ranges as text
//! - [`chain`]: the running hash over the log
//! - [`signature`], [`signers`]: who wrote a message, and who may be believed
//! - [`warrant`]: the word of a root or an old key for a change of the signers
//! - [`successor`]: the statement that makes a stream the log which was lost
//! - [`belief`]: what a reader believes

pub mod belief;
pub mod body;
pub mod chain;
pub mod command;
pub mod delivery;
mod document;
pub mod event;
mod malformed;
pub mod notice;
pub mod outcome;
pub mod policy;
pub mod pulse;
pub mod range;
pub mod signature;
pub mod signers;
pub mod snapshot;
pub mod subject;
pub mod successor;
pub mod text;
pub mod usage;
pub mod warrant;

pub use malformed::Malformed;
