//! What goes to which stream: results to standard output, everything else to standard error.

use crate::arguments::Output;
use crate::failure::Failure;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keywheel_runtime::config::variable;
use owo_colors::OwoColorize;
use serde::Serialize;
use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::time::Duration;
use zeroize::Zeroizing;

/// The streams, and how to write to them.
pub(crate) struct Screen {
    pub output: Output,
    colours: Colours,
}

/// Whether each stream shows colours: only on a terminal, and never with `NO_COLOR`.
#[derive(Clone, Copy)]
struct Colours {
    out: bool,
    err: bool,
}

impl Screen {
    /// For the process's own streams.
    pub fn new(output: Output) -> Self {
        let wanted = variable("NO_COLOR").is_none();
        let colours = Colours {
            out: wanted && std::io::stdout().is_terminal(),
            err: wanted && std::io::stderr().is_terminal(),
        };
        Self { output, colours }
    }

    /// Whether a person can be asked.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Writes the result: `document` as one line of JSON, or the text.
    pub fn show(&self, document: &impl Serialize, text: &str) -> Result<(), Failure> {
        match self.output {
            Output::Json => self.line(&to_json(document)),
            Output::Text => self.line(text),
        }
    }

    /// Writes one line of the result, at once.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        if line.is_empty() {
            return Ok(());
        }
        let text = Zeroizing::new(format!("{}\n", line.trim_end()));
        // Not by way of the process's buffer, which would keep a key for as long as the command waits.
        let out = std::io::stdout().as_fd().try_clone_to_owned().map(File::from);
        match out.and_then(|mut out| out.write_all(text.as_bytes())) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::reader_gone()),
            Err(error) => Err(Failure::refused("output", format!("cannot write the result: {error}"))),
        }
    }

    /// Says something to a person beside the result; programs are not told.
    pub fn note(&self, text: &str) {
        if self.output == Output::Text {
            // Nobody is left to be told when standard error is closed.
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }

    /// Says something on standard error to people and, as a line of JSON, to programs.
    pub fn aside(&self, document: &impl Serialize, text: &str) {
        let line = match self.output {
            Output::Json => to_json(document),
            Output::Text => text.to_owned(),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Says why the command failed.
    pub fn fail(&self, failure: &Failure) {
        if failure.detail.is_empty() {
            return;
        }
        let line = match self.output {
            Output::Json => failure.to_json().to_string(),
            Output::Text if self.colours.err => failure.to_line().red().to_string(),
            Output::Text => failure.to_line(),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A table's text for standard output.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<Shown>>) -> String {
        table(self.colours.out, header, rows)
    }

    /// A line on standard error that changes while something is waited for; on a terminal only.
    pub fn live(&self) -> Live {
        if !std::io::stderr().is_terminal() {
            return Live(None);
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Live(Some(bar))
    }
}

fn to_json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("our own documents have text keys")
}

/// A line that says what is waited for; gone when dropped.
pub(crate) struct Live(Option<ProgressBar>);

impl Live {
    /// Says nothing: for what writes lines of its own meanwhile.
    pub fn silent() -> Self {
        Self(None)
    }

    /// Says what is waited for now.
    pub fn say(&self, text: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(text.to_owned());
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// What a colour in a table means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Plain,
    Good,
    Pending,
    Bad,
    Past,
}

/// A table's cell.
pub(crate) struct Shown(String, Mood);

impl Shown {
    /// Without a colour.
    pub fn plain(text: impl ToString) -> Self {
        Self(text.to_string(), Mood::Plain)
    }

    /// With one.
    pub fn with(text: impl ToString, mood: Mood) -> Self {
        Self(text.to_string(), mood)
    }
}

/// The colour of a key's state.
pub(crate) fn mood_of_state(word: &str) -> Mood {
    match word {
        "active" => Mood::Good,
        "issued" | "retiring" => Mood::Pending,
        "revoked" => Mood::Bad,
        _ => Mood::Past,
    }
}

fn table(colours: bool, header: &[&str], rows: Vec<Vec<Shown>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    if colours {
        table.enforce_styling();
    }
    table.set_header(header.iter().map(|name| Cell::new(name.to_uppercase())));
    for row in rows {
        table.add_row(row.into_iter().map(cell));
    }
    // Its lines begin with a margin of one space.
    table.trim_fmt().lines().map(|line| line.strip_prefix(' ').unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn cell(shown: Shown) -> Cell {
    let cell = Cell::new(shown.0);
    match shown.1 {
        Mood::Plain => cell,
        Mood::Good => cell.fg(Color::Green),
        Mood::Pending => cell.fg(Color::Yellow),
        Mood::Bad => cell.fg(Color::Red),
        Mood::Past => cell.fg(Color::DarkGrey),
    }
}
