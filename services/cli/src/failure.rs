//! Why a command did not do what was asked: its code for programs, its words for people, its exit code.

use keywheel_bus::BusError;
use keywheel_domain::rejection::InvalidText;
use keywheel_runtime::{exit, plain};
use keywheel_wire::Malformed;
use serde_json::{Value, json};
use std::fmt::Display;

/// A command that ended without its result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// The process's exit code.
    pub exit: u8,
    /// For programs.
    pub code: String,
    /// For people; empty when there is nobody left to tell.
    pub detail: String,
}

impl Failure {
    fn new(exit: u8, code: &str, detail: impl Display) -> Self {
        // Much of it may have come from outside, and it is to stay on one line.
        Self { exit, code: code.to_owned(), detail: plain::line(&detail.to_string()).into_owned() }
    }

    /// Refused by a rule.
    pub fn refused(code: &str, detail: impl Display) -> Self {
        Self::new(exit::REFUSED, code, detail)
    }

    /// Wrong usage that only shows when the command runs.
    pub fn usage(detail: impl Display) -> Self {
        Self::new(exit::USAGE, "usage", detail)
    }

    /// The bus or an edge cannot be reached.
    pub fn unreachable(detail: impl Display) -> Self {
        Self::new(exit::UNREACHABLE, "unreachable", detail)
    }

    /// Not finished in the time given.
    pub fn unfinished(detail: impl Display) -> Self {
        Self::new(exit::UNFINISHED, "unfinished", detail)
    }

    /// Bad configuration.
    pub fn config(code: &str, detail: impl Display) -> Self {
        Self::new(exit::CONFIG, code, detail)
    }

    /// Whoever read the output has gone away; that is no error of ours.
    pub fn reader_gone() -> Self {
        Self::new(exit::DONE, "", "")
    }

    /// The document that goes to standard error.
    pub fn to_json(&self) -> Value {
        json!({ "error": { "code": self.code, "detail": self.detail } })
    }

    /// The line that goes to standard error.
    pub fn to_line(&self) -> String {
        let kind = if self.exit == exit::REFUSED { "refused" } else { "error" };
        format!("{kind}: {} [{}]", self.detail, self.code)
    }
}

impl From<BusError> for Failure {
    fn from(error: BusError) -> Self {
        match &error {
            BusError::Unreachable { .. } => {
                Failure::unreachable(format!("{error}; is it running? `keywheel up` starts one"))
            }
            BusError::Credentials(_) => Failure::config("credentials", error),
            BusError::Tls(_) => Failure::config("tls", error),
            BusError::Denied(_) => Failure::config("denied", error),
            BusError::NotEntitled(_) => Failure::config("signers", error),
            BusError::Full { .. } => Failure::refused("too_many_waiting", error.to_string()),
            BusError::OtherLog(_) => Failure::refused("other_log", error),
            BusError::Failed { .. } | BusError::Stopped => Failure::unreachable(error),
            BusError::Contended(_) | BusError::Frozen(_) | BusError::Table(_) | BusError::Malformed(_) => {
                Failure::refused("unreadable", error)
            }
        }
    }
}

impl From<Malformed> for Failure {
    fn from(error: Malformed) -> Self {
        Failure::refused("malformed", error)
    }
}

impl From<InvalidText> for Failure {
    fn from(error: InvalidText) -> Self {
        Failure::refused("malformed", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn an_error_is_one_document_or_one_line() {
        let failure = Failure::refused("last_active", "v1 is the last accepted version");
        expect![[r#"{"error":{"code":"last_active","detail":"v1 is the last accepted version"}}"#]]
            .assert_eq(&failure.to_json().to_string());
        expect!["refused: v1 is the last accepted version [last_active]"].assert_eq(&failure.to_line());
        expect!["error: not yet [unfinished]"].assert_eq(&Failure::unfinished("not yet").to_line());
    }

    #[test]
    fn each_kind_has_its_exit_code() {
        let away = BusError::Unreachable { url: "nats://x".to_owned(), detail: "refused".to_owned() };
        let failed = BusError::Failed { what: "publishing", detail: "timed out".to_owned() };
        let seed = BusError::Credentials(Malformed::new("credentials", "no seed"));
        let codes = [away, failed, seed].map(|error| Failure::from(error).exit);
        assert_eq!(codes, [3, 3, 64]);
        assert_eq!(Failure::usage("x").exit, 2);
        assert_eq!(Failure::unfinished("x").exit, 4);
        assert_eq!(Failure::reader_gone().exit, 0);
    }
}
