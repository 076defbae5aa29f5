//! The command line: one program for operators, services and the local stack.

use crate::serve::Run;
use clap::{Parser, Subcommand};
use keywheel_cli::{GlobalOptions, Operator, Output};
use keywheel_runtime::exit;
use keywheel_stack::{EdgeCommand, Up};
use std::process::ExitCode;
use std::time::Duration;

/// Keywheel rotates API keys without downtime, on evidence.
#[derive(Parser, Debug)]
#[command(name = "keywheel", version)]
#[command(
    after_help = "Try:\n  keywheel up\n  keywheel issue acme/shop\n  keywheel rotate acme/shop --until retired"
)]
pub struct Arguments {
    #[command(flatten)]
    options: GlobalOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run everything on this machine until Ctrl-C: a bus, the services and some edges
    Up(Box<Up>),
    /// Run one service in the foreground, for production
    Run(Run),
    #[command(subcommand)]
    Edge(EdgeCommand),
    #[command(flatten)]
    Operator(Operator),
}

impl Arguments {
    /// Does what was asked; gives the exit code.
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Up(up) => block_on(up.run(&for_stack(&self.options))),
            Command::Edge(edge) => block_on(edge.run(&for_stack(&self.options))),
            Command::Operator(operator) => block_on(keywheel_cli::run(operator, &self.options)),
        }
    }
}

fn for_stack(options: &GlobalOptions) -> keywheel_stack::Options {
    keywheel_stack::Options {
        output: match options.output {
            Output::Json => keywheel_stack::Output::Json,
            Output::Text => keywheel_stack::Output::Text,
        },
        context: options.context.clone(),
        timeout: options.timeout.map(|span| Duration::from_millis(span.0)),
    }
}

fn block_on(command: impl Future<Output = u8>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(command)),
        Err(error) => {
            eprintln!("keywheel: cannot start: {error}");
            ExitCode::from(exit::REFUSED)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
