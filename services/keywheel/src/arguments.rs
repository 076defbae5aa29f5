//! The command line: one program for operators, services and the local stack.

use crate::serve::Run;
use clap::{Parser, Subcommand};
use keywheel_cli::{GlobalOptions, Operator, Output};
use keywheel_runtime::{exit, plain};
use keywheel_stack::{Doctor, EdgeCommand, Restore, Up};
use std::ffi::OsString;
use std::io::Write as _;
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
    Doctor(Doctor),
    Restore(Restore),
    #[command(flatten)]
    Operator(Operator),
}

/// Does what the command line asks, or says what is wrong with it; gives the exit code.
pub fn run(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = words.into_iter().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => arguments.run(),
        Err(error) => {
            let shown = match unprintable(&error, &words) {
                None => error.print(),
                Some(line) => writeln!(std::io::stderr(), "{line}"),
            };
            // Nobody is left to be told when standard error is closed.
            drop(shown);
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE))
        }
    }
}

/// The error on one line, where it may repeat a word that would move the terminal or begin a line.
fn unprintable(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let is_plain = |word: &OsString| word.to_string_lossy().chars().all(plain::prints);
    let text = || error.render().to_string();
    (!words.iter().all(is_plain)).then(|| plain::line(text().trim_end()).into_owned())
}

impl Arguments {
    /// Does what was asked; gives the exit code.
    fn run(self) -> ExitCode {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Up(up) => block_on(up.run(&for_stack(&self.options))),
            Command::Edge(edge) => block_on(edge.run(&for_stack(&self.options))),
            Command::Doctor(doctor) => block_on(doctor.run(&for_stack(&self.options))),
            Command::Restore(restore) => block_on(restore.run(&for_stack(&self.options))),
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

    #[test]
    fn a_word_that_does_not_print_is_escaped() {
        let told = |word: &str| {
            let words = ["keywheel", "status", word].map(OsString::from).to_vec();
            unprintable(&Arguments::try_parse_from(&words).unwrap_err(), &words)
        };
        assert_eq!(told("Not-a-name"), None);
        for trick in ["x\n2026-01-01T00:00:00Z INFO y", "\u{1b}[2J", "\u{9b}1A", "\u{202e}x"] {
            let line = told(trick).unwrap();
            assert!(line.starts_with("error: ") && line.chars().all(plain::prints), "{line:?}");
        }
    }
}
