//! One thing that the doctor says: what is so, how bad it is, and what to do next.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it; or it could not be looked at.
    Warning,
    /// It does not work, or a promise does not hold.
    Wrong,
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// For programs.
    pub code: &'static str,
    /// How bad it is.
    pub level: Level,
    /// About what: `bus`, `KW_EVENTS`, `edge e1`, a file.
    pub about: String,
    /// What is so.
    pub what: String,
    /// The next step as a command, or in words where there is none.
    pub next: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(code: &'static str, about: impl Into<String>, what: impl Into<String>) -> Self {
        Self { code, level: Level::Ok, about: about.into(), what: what.into(), next: None }
    }

    /// Somebody should look at it.
    pub fn warning(
        code: &'static str,
        about: impl Into<String>,
        what: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warning, next: Some(next.into()), ..Self::ok(code, about, what) }
    }

    /// It is wrong.
    pub fn wrong(
        code: &'static str,
        about: impl Into<String>,
        what: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self { level: Level::Wrong, ..Self::warning(code, about, what, next) }
    }
}
