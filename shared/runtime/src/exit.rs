//! How a program ends: its exit code, and its error on one line.

use crate::error::ConfigError;
use std::error::Error;

/// Done.
pub const DONE: u8 = 0;
/// Refused by a rule, or failed.
pub const REFUSED: u8 = 1;
/// Wrong usage.
pub const USAGE: u8 = 2;
/// The bus or an edge cannot be reached.
pub const UNREACHABLE: u8 = 3;
/// Not finished in the time given.
pub const UNFINISHED: u8 = 4;
/// Bad configuration.
pub const CONFIG: u8 = 64;
/// Ended by a second signal.
pub const INTERRUPTED: u8 = 130;

/// An error and what caused it, outermost first, joined by colons.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The exit code that an error calls for: [`CONFIG`] where a [`ConfigError`] is at its root, else [`REFUSED`].
pub fn code(error: &(dyn Error + 'static)) -> u8 {
    if causes(error).any(|cause| cause.is::<ConfigError>()) { CONFIG } else { REFUSED }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start")]
    struct Outer(#[source] ConfigError);

    #[test]
    fn an_error_is_told_with_its_causes() {
        let source = std::io::Error::new(std::io::ErrorKind::NotFound, "no such file");
        let error = Outer(ConfigError::Unreadable { file: "x.toml".into(), source });
        assert_eq!(
            chain(&error),
            "cannot start: cannot read the configuration file x.toml; check its path and its permissions: \
             no such file"
        );
        assert_eq!(code(&error), CONFIG);
        assert_eq!(code(&std::io::Error::other("x")), REFUSED);
    }
}
