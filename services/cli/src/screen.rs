//! What goes to which stream: results to standard output, everything else to standard error.

use crate::arguments::Output;
use crate::failure::Failure;
use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Color, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use keywheel_runtime::config::variable;
use keywheel_runtime::plain;
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
            Output::Text => self.put(&printable(text, self.colours.out)),
        }
    }

    /// Writes one line of the result, at once. Whatever is in it, it stays one.
    pub fn line(&self, line: &str) -> Result<(), Failure> {
        match self.output {
            Output::Json => self.put(&plain::json(line)),
            Output::Text => self.put(&plain::line(line.trim_end())),
        }
    }

    /// Writes a document that was made and escaped elsewhere, in the format that was asked for.
    pub fn document(&self, text: &str) -> Result<(), Failure> {
        self.put(text)
    }

    fn put(&self, line: &str) -> Result<(), Failure> {
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
            let _ = writeln!(std::io::stderr(), "{}", plain::lines(text));
        }
    }

    /// Says something on standard error to people and, as a line of JSON, to programs.
    pub fn aside(&self, document: &impl Serialize, text: &str) {
        let line = match self.output {
            Output::Json => plain::json(&to_json(document)).into_owned(),
            Output::Text => plain::lines(text).into_owned(),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// Says why the command failed.
    pub fn fail(&self, failure: &Failure) {
        if failure.detail.is_empty() {
            return;
        }
        let line = match self.output {
            Output::Json => plain::json(&failure.to_json().to_string()).into_owned(),
            Output::Text if self.colours.err => plain::line(&failure.to_line()).red().to_string(),
            Output::Text => plain::line(&failure.to_line()).into_owned(),
        };
        let _ = writeln!(std::io::stderr(), "{line}");
    }

    /// A table's text for standard output.
    pub fn table(&self, header: &[&str], rows: Vec<Vec<Shown>>) -> String {
        table(self.colours.out, header, rows)
    }

    /// The same for a file.
    pub fn plain_table(header: &[&str], rows: Vec<Vec<Shown>>) -> String {
        table(false, header, rows)
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

/// Text on lines of ours in which everything prints, but for the colours of our own tables.
fn printable(text: &str, colours: bool) -> String {
    let mut printable = String::new();
    for (at, part) in text.split('\u{1b}').enumerate() {
        let colour = if colours && at > 0 { colour(part) } else { None };
        match (at, colour) {
            (0, _) => printable.push_str(&plain::lines(part)),
            (_, Some(length)) => {
                printable.push('\u{1b}');
                printable.push_str(&part[..length]);
                printable.push_str(&plain::lines(&part[length..]));
            }
            (_, None) => {
                printable.push_str(&plain::line("\u{1b}"));
                printable.push_str(&plain::lines(part));
            }
        }
    }
    printable
}

/// How long the code at the beginning is, where it sets a foreground colour or takes one back.
fn colour(part: &str) -> Option<usize> {
    let (code, _) = part.strip_prefix('[')?.split_once('m')?;
    let is_number =
        |text: &str| !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
    let is_colour = matches!(code, "0" | "39") || code.strip_prefix("38;5;").is_some_and(is_number);
    is_colour.then(|| code.len() + 2)
}

impl Screen {
    /// A bar on standard error that fills; on a terminal only.
    pub fn progress(&self, total: usize) -> Live {
        if !std::io::stderr().is_terminal() {
            return Live(None);
        }
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::stderr());
        let template = "{bar:30} {human_pos} of {human_len}, {per_sec}, {eta} left {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
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
            bar.set_message(plain::line(text).into_owned());
        }
    }
}

impl Live {
    /// So many are done.
    pub fn at(&self, done: usize) {
        if let Some(bar) = &self.0 {
            bar.set_message("");
            bar.set_position(done as u64);
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
        Self::with(text, Mood::Plain)
    }

    /// With one.
    pub fn with(text: impl ToString, mood: Mood) -> Self {
        Self(plain::line(&text.to_string()).into_owned(), mood)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    const TRICK: &str = "x\r\u{1b}[2J\u{9b}1A\u{202e}\u{7}";

    #[test]
    fn a_cell_moves_no_terminal() {
        let rows = || vec![vec![Shown::plain(TRICK), Shown::with("a\nb", Mood::Good)]];
        let text = table(false, &["one", "two"], rows());
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(text.chars().all(|character| character == '\n' || plain::prints(character)), "{text:?}");
        let coloured = table(true, &["one", "two"], rows());
        assert_eq!(printable(&coloured, true), coloured, "our own colours stay");
        assert!(!printable(&coloured, false).contains('\u{1b}'));
        assert_eq!(coloured.lines().count(), 2);
    }

    #[test]
    fn only_foreground_colours_are_codes() {
        for code in ["[2J", "[8m", "[38;5;1;8m", "[38;5;m", "]0;title\u{7}", "[1A", "", "c", "[38;5;1234m"] {
            let text = format!("a\u{1b}{code}b");
            assert!(!printable(&text, true).contains('\u{1b}'), "{code}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_than_print_is_shown(text in any::<String>()) {
            assert_eq!(printable(&text, false), plain::lines(&text));
            let shown = printable(&text, true);
            assert!(!shown.contains(|c: char| !matches!(c, '\n' | '\u{1b}') && !plain::prints(c)));
        }
    }
}
