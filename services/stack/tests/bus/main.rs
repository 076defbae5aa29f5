//! The configuration that the stack writes, on a real server: everybody can do their work, and nothing else.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails where it stands")]

mod allowed;
mod answers;
mod children;
mod lists;
mod matrix;
mod needs;
mod rig;
mod tls;
mod wire;
