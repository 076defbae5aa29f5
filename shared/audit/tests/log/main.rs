//! The core on logs that services wrote: what is sound, and each way of being wrong.
#![allow(clippy::unwrap_used)]

mod damage;
mod inspecting;
mod lines;
mod proving;
mod reporting;
mod scene;
