//! Why a command of this crate did not do what it was asked, with the exit code that says so.

use keywheel_bus::BusError;
use keywheel_runtime::{exit, plain};
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// What every command of the binary takes, as the binary reads it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How results and errors are written.
    pub output: Output,
    /// The installation's context file; else the home's.
    pub context: Option<PathBuf>,
    /// How long to wait; each command has its own default.
    pub timeout: Option<Duration>,
}

/// How results and errors are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON document on standard output; errors as one on standard error.
    Json,
}

/// A failure that has an exit code and a word of its own.
#[derive(Debug)]
pub struct Failure {
    exit: u8,
    code: String,
    detail: String,
}

impl Failure {
    /// Refused, or failed for a reason that only a person can mend.
    pub fn refused(code: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { exit: exit::REFUSED, code: code.into(), detail: detail.into() }
    }

    /// The bus cannot be reached.
    pub fn unreachable(detail: impl Into<String>) -> Self {
        Self { exit: exit::UNREACHABLE, code: "unreachable".to_owned(), detail: detail.into() }
    }

    /// Not finished in the time given.
    pub fn unfinished(detail: impl Into<String>) -> Self {
        Self { exit: exit::UNFINISHED, code: "timeout".to_owned(), detail: detail.into() }
    }

    /// A process of ours does not accept what it was configured with.
    pub fn misconfigured(detail: impl Into<String>) -> Self {
        Self { exit: exit::CONFIG, code: "misconfigured".to_owned(), detail: detail.into() }
    }

    /// Whether this is the failure that programs know by `code`.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }

    /// Called in a way that makes no sense.
    pub fn usage(detail: impl Into<String>) -> Self {
        Self { exit: exit::USAGE, code: "usage".to_owned(), detail: detail.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Failure {}

/// Tells of an error on standard error and returns its exit code.
pub fn report(error: &anyhow::Error, output: Output) -> u8 {
    let is = |kind: fn(&BusError) -> bool| {
        error.chain().any(|cause| cause.downcast_ref::<BusError>().is_some_and(kind))
    };
    let (code, word) = match error.downcast_ref::<Failure>() {
        Some(failure) => (failure.exit, failure.code.as_str()),
        None if is(|error| matches!(error, BusError::Tls(_))) => (exit::CONFIG, "tls"),
        None if is(|error| matches!(error, BusError::Unreachable { .. })) => {
            (exit::UNREACHABLE, "unreachable")
        }
        None => (exit::code(error.as_ref()), "failed"),
    };
    let detail = exit::chain(error.as_ref());
    match output {
        Output::Text => say(&format!("error: {detail}")),
        Output::Json => {
            say(&serde_json::json!({ "error": { "code": word, "detail": detail } }).to_string());
        }
    }
    code
}

/// A line for people, on standard error: results alone go to standard output.
pub fn say(line: &str) {
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}", plain::lines(line));
}

/// The result, on standard output.
pub fn print(text: &str) {
    // A reader that went away has seen enough.
    let _ = writeln!(std::io::stdout(), "{}", plain::lines(text)).and_then(|()| std::io::stdout().flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_its_exit_code() {
        let bus = BusError::Unreachable { url: "nats://x".to_owned(), detail: "refused".to_owned() };
        for (error, code) in [
            (anyhow::Error::from(Failure::refused("in_use", "x")), 1),
            (Failure::usage("x").into(), 2),
            (anyhow::Error::from(bus).context("adding an edge"), 3),
            (Failure::unreachable("x").into(), 3),
            (Failure::unfinished("x").into(), 4),
            (anyhow::anyhow!("anything else"), 1),
        ] {
            assert_eq!(report(&error, Output::Json), code, "{error}");
        }
    }
}
