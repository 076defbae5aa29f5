//! Until when something is waited for.

use keywheel_domain::Span;
use std::time::Duration;
use tokio::time::Instant;

/// The end of a waiting; none where it may take as long as it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    at: Option<Instant>,
    span: Option<Span>,
}

impl Deadline {
    /// `span` from now.
    pub fn within(span: Span) -> Self {
        Self { at: Instant::now().checked_add(Duration::from_millis(span.0)), span: Some(span) }
    }

    /// `asked` from now, where something was asked; else without an end.
    pub fn within_or_never(asked: Option<Span>) -> Self {
        asked.map_or(Self { at: None, span: None }, Self::within)
    }

    /// Whether the time is up.
    pub fn has_passed(self) -> bool {
        self.at.is_some_and(|at| at <= Instant::now())
    }

    /// What is left; a long time where there is no end.
    pub fn left(self) -> Duration {
        const LONG: Duration = Duration::from_secs(365 * 24 * 3600);
        self.at.map_or(LONG, |at| at.saturating_duration_since(Instant::now()))
    }

    /// How long was given, in words.
    pub fn given(self) -> String {
        self.span.map_or_else(|| "any time".to_owned(), |span| span.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_and_none_never_does() {
        assert!(Deadline::within(Span(0)).has_passed());
        assert!(!Deadline::within(Span::hours(1)).has_passed());
        assert!(!Deadline::within_or_never(None).has_passed());
        assert!(!Deadline::within(Span(u64::MAX)).has_passed());
        assert_eq!(Deadline::within(Span::secs(60)).given(), "1m");
    }
}
