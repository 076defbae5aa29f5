//! Logs: text for people or JSON for machines, always on standard error, since standard output is for results.

mod fields;
mod json;

use crate::config;
use fields::Fields;
use json::Printing;
use serde::Deserialize;
use std::io::IsTerminal;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

const RULE: &str = "use off, error, warn, info, debug or trace, or a list of TARGET=LEVEL";

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged: a level, or levels by target, such as `info,async_nats=warn`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Filter(String);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Says which part of it is neither a level nor a target with one.
    pub fn parse(text: &str) -> Result<Self, String> {
        for part in text.split(',') {
            // A lone word counts as a target elsewhere, so that a mistyped level would silence everything.
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            if level.is_empty() || level.parse::<LevelFilter>().is_err() {
                return Err(format!("{part:?} is no level; {RULE}"));
            }
        }
        match EnvFilter::builder().parse(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!("{text:?} is no filter; {RULE}")),
        }
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Filter {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

/// The table `log` of every service's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// `text` or `json`.
    pub format: Format,
    /// What is logged; `info` unless told otherwise.
    pub level: Filter,
}

/// Starts logging to standard error. The first call in a process counts; later ones change nothing.
pub fn init(config: &LogConfig) {
    let filter = EnvFilter::builder().parse_lossy(&config.level.0);
    let lines = lines(config.format, may_colour(), std::io::stderr).with_filter(filter_fn(may_be_told));
    // An error says that somebody was first, which is what the promise above is about.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

/// At the level `trace` libraries write what they send and receive, word for word. Ours may be traced.
fn may_be_told(line: &Metadata<'_>) -> bool {
    *line.level() < Level::TRACE || line.target().starts_with("keywheel")
}

/// Writes each event to `writer` as one line, whatever is in it: the only way from an event to a line.
pub fn lines<S, W>(format: Format, colours: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer();
    match format {
        Format::Text => layer.with_ansi(colours).with_writer(writer).fmt_fields(Fields).boxed(),
        Format::Json => layer.with_writer(Printing(writer)).json().flatten_event(true).boxed(),
    }
}

fn may_colour() -> bool {
    std::io::stderr().is_terminal() && config::variable("NO_COLOR").is_none()
}

#[cfg(test)]
mod tests;
