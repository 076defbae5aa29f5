//! The core on logs that services wrote: what is sound, and each way of being wrong.

mod damage;
mod inspecting;
mod lines;
mod proving;
mod reporting;
mod scene;
