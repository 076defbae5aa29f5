//! `keywheel`: operator's commands, every service and the local stack in one binary.

mod arguments;
mod serve;

use std::alloc::System;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Memory is overwritten when it is given back. Our own secrets wipe themselves; this is for the copies that
/// libraries make of what they read, parse and send.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

fn main() -> ExitCode {
    keywheel_runtime::dumps::forbid(cfg!(debug_assertions));
    arguments::run(std::env::args_os())
}
