//! The core on logs that services wrote: what is sound, and each way of being wrong.

mod inspecting;
mod lines;
mod scene;
