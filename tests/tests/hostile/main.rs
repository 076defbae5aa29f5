//! Every entrance for text from outside: the corpus and what is nearly like it, and each bound just inside
//! and just outside.
#![allow(clippy::unwrap_used)]

mod agreement;
mod bounds;
mod replay;
