//! The one error of this crate: input from outside that does not say what it should.

use keywheel_domain::rejection::{InvalidText, redacted};
use std::fmt;

/// Unreadable or invalid input, with the field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Path of the field, such as `policy.quiet`; empty when the whole is no document at all.
    pub field: String,
    /// What is wrong and what was expected.
    pub detail: String,
}

impl Malformed {
    /// Of `field`, in words. What could be a secret in the wrong place is left out of both: an error
    /// is logged, answered and kept.
    pub fn new(field: impl AsRef<str>, detail: impl fmt::Display) -> Self {
        Self { field: redacted(field.as_ref()), detail: redacted(&detail.to_string()) }
    }

    /// The same with `outer` before the field's path.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self { field: format!("{outer}.{}", self.field), ..self }
    }

    /// Whether the detail alone says which field is meant: `id` is not named by "invalid".
    fn names_its_field(&self) -> bool {
        let leads = self.detail.strip_prefix(&self.field).is_some_and(|rest| rest.starts_with(' '));
        leads || self.detail.contains(&format!("`{}`", self.field))
    }

    pub(crate) fn from_json(error: &serde_path_to_error::Error<serde_json::Error>) -> Self {
        let inner = error.inner().to_string();
        let named = ["missing field `", "unknown field `"].iter().find_map(|lead| {
            inner.strip_prefix(lead).and_then(|rest| rest.split('`').next()).map(str::to_owned)
        });
        let path = error.path().to_string();
        let field = match (path.as_str(), named) {
            (".", Some(name)) => name,
            (path, Some(name)) if !path.ends_with(&name) => format!("{path}.{name}"),
            (path, _) => path.to_owned(),
        };
        Self::new(field, inner)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() || self.names_its_field() {
            f.write_str(&self.detail)
        } else {
            write!(f, "{}: {}", self.field, self.detail)
        }
    }
}

impl std::error::Error for Malformed {}

impl From<InvalidText> for Malformed {
    fn from(error: InvalidText) -> Self {
        Self::new(error.field, error)
    }
}
