//! The rig: a whole stack of real processes on free ports, driven as an operator and its clients would.
//!
//! # Layout
//! - [`cluster`]: the servers of a cluster, and the routes between them, which can be cut
//! - [`faults`]: what a fault campaign writes down, and how it is judged
//! - [`hostile`]: what anybody may send, handed in at each entrance
//! - [`stack`]: `keywheel up` in a folder of its own, its processes by name, its end
//! - [`operator`]: commands, states and proofs, by the operator's own credential
//! - [`gateway`]: a gateway with its shipped configuration before an edge
//! - [`link`]: a connection that can be cut
//! - [`traffic`]: clients that use the newest key they were delivered, and count what they are answered

pub mod cluster;
pub mod faults;
pub mod gateway;
pub mod hostile;
pub mod link;
pub mod operator;
pub mod stack;
pub mod traffic;

pub use operator::Operator;
pub use stack::{Stack, StackOptions};
