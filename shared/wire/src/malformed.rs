//! The one error of this crate: input from outside that does not say what it should.

use keywheel_domain::name::prints;
use keywheel_domain::rejection::{InvalidText, redacted};
use std::fmt;

/// Longest path of a field that is told, in bytes: names in it may come from outside.
pub const FIELD_BYTES_MAX: usize = 160;

/// Longest detail that is told, in bytes.
pub const DETAIL_BYTES_MAX: usize = 640;

/// Unreadable or invalid input, with the field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Path of the field, such as `policy.quiet`; empty when the whole is no document at all.
    pub field: String,
    /// What is wrong and what was expected.
    pub detail: String,
}

impl Malformed {
    /// Of `field`, in words. What could be a secret in the wrong place is left out of both, what does not
    /// print is escaped and what is long is cut: an error is logged, answered and kept.
    pub fn new(field: impl AsRef<str>, detail: impl fmt::Display) -> Self {
        let field = told(&redacted(field.as_ref()), FIELD_BYTES_MAX);
        Self { field, detail: told(&redacted(&detail.to_string()), DETAIL_BYTES_MAX) }
    }

    /// The same with `outer` before the field's path.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        Self::new(format!("{outer}.{}", self.field), self.detail)
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

/// On one line, of at most so many bytes.
fn told(text: &str, bytes_max: usize) -> String {
    const CUT: char = '…';
    let mut told = String::new();
    for character in text.chars() {
        let length = told.len();
        if prints(character) {
            told.push(character);
        } else {
            told.extend(character.escape_debug());
        }
        if told.len() > bytes_max - CUT.len_utf8() {
            told.truncate(length);
            told.push(CUT);
            break;
        }
    }
    told
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
