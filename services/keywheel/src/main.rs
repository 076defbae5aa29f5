//! `keywheel`: operator's commands, every service and the local stack in one binary.

mod arguments;
mod serve;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    arguments::Arguments::parse().run()
}
