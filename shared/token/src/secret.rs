//! Secrets as types: wiped when dropped, and silent in logs.

use std::fmt;
use zeroize::Zeroizing;

/// A key's plaintext. Wiped from memory when dropped; neither cloned nor compared nor printed.
pub struct KeyText(Zeroizing<String>);

impl KeyText {
    /// Takes charge of a text that was read from outside, such as a key on standard input.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    pub(crate) fn from_wiped(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The plaintext. Each call is a place where a secret can leak: keep them few.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(redacted)")
    }
}

/// An nkey or xkey seed: what a service or a recipient proves itself with.
pub struct Seed(Zeroizing<String>);

impl Seed {
    pub(crate) fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The seed, to be written to a file of mode 0600 or given to the bus client.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}

/// What an error may say of a text that is not what it should be: it may be a key or a seed in the
/// wrong place, so its size and nothing else.
pub(crate) fn unquoted(text: &str) -> String {
    format!("{} bytes", text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_never_shows_the_secret() {
        let (key, seed) = (KeyText::new("hunter2".to_owned()), Seed::new("SUHUNTER2".to_owned()));
        assert_eq!(format!("{key:?} {key:#?}"), "KeyText(redacted) KeyText(redacted)");
        assert_eq!(format!("{seed:?} {seed:#?}"), "Seed(redacted) Seed(redacted)");
    }
}
