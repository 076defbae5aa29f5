//! A key from standard input: never from a flag, never shown.

use crate::failure::Failure;
use crate::screen::Screen;
use keywheel_token::{Brand, FOREIGN_BYTES, KeyText, Presented, read};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// Reads a key: one line of standard input, asked for without echo on a terminal.
pub(crate) fn from_stdin(screen: &Screen) -> Result<KeyText, Failure> {
    let text = if screen.can_ask() {
        let text = rpassword::prompt_password("key: ");
        Zeroizing::new(text.map_err(|error| Failure::usage(format!("cannot read the key: {error}")))?)
    } else {
        read_line()?
    };
    let text = text.trim();
    if text.is_empty() {
        return Err(Failure::usage("no key came on standard input"));
    }
    Ok(KeyText::new(text.to_owned()))
}

fn read_line() -> Result<Zeroizing<String>, Failure> {
    // A little more than the longest key and its line end, so that it never has to grow and leave copies.
    let bytes_max = FOREIGN_BYTES.end() + 16;
    let mut text = Zeroizing::new(String::with_capacity(bytes_max));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    // Not by way of the process's buffer, which nobody wipes.
    let stdin = std::io::stdin().as_fd().try_clone_to_owned().map(File::from);
    stdin
        .and_then(|stdin| stdin.take(limit).read_to_string(&mut text))
        .map_err(|error| Failure::usage(format!("cannot read the key: {error}")))?;
    Ok(text)
}

/// What a key's text is, whichever brand and environment it is of: the text itself says that.
pub(crate) fn reading_of(text: &KeyText) -> Option<Presented> {
    let text = text.expose();
    let mut parts = text.split('_');
    let brand = parts.next().zip(parts.next()).and_then(|(brand, env)| Brand::parse(brand, env).ok());
    let ours = brand.and_then(|brand| read(text, &brand).ok());
    ours.or_else(|| read(text, &Brand::default()).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use keywheel_token::mint;

    #[test]
    fn a_key_of_any_brand_is_read_and_others_are_foreign() {
        for brand in [Brand::default(), Brand::parse("acme", "test").unwrap()] {
            let fresh = mint(&brand);
            let expected = Presented::Ours { kid: fresh.kid, digest: fresh.digest };
            assert_eq!(reading_of(&fresh.text), Some(expected));
        }
        let foreign = reading_of(&KeyText::new("an-imported-key_with_marks".to_owned()));
        assert!(matches!(foreign, Some(Presented::Foreign { .. })));
        assert_eq!(reading_of(&KeyText::new("short".to_owned())), None);
    }
}
