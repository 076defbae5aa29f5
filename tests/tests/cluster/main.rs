//! Three servers that keep each stream together, and one of them fails: killed, paused, or cut off while it leads.
#![allow(clippy::unwrap_used)]

mod deposed;
mod isolated;
mod nodes;
mod rotation;
mod shipped;
