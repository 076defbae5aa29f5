//! What an auditor asks of the log: whether it is whole and who wrote it, on its own messages alone.
//!
//! Plain functions and folds over messages; whoever has messages, from the bus or from a file, hands them in.
//!
//! # Layout
//! - [`examine`]: what one message says by itself, many of them at once
//! - [`inspect`]: the messages in order: nothing missing, nothing added, nothing that others saw differently
//! - [`finding`]: what is wrong, and where
//! - [`line`](mod@line): the log as lines of JSON, with everything that can be checked; [`lines`]: such a file
//!   read page by page
//! - [`proof`]: a rotation's proofs as documents that stand by themselves
//! - [`register`]: the life of every key; [`report`]: the tables made of them
//! - [`flat`]: the log as CSV and as CloudEvents, for other people's programs

pub mod examine;
pub mod finding;
pub mod flat;
pub mod inspect;
pub mod line;
pub mod lines;
pub mod proof;
pub mod register;
pub mod report;
