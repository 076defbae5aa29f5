//! How this installation's keys begin, so that a leaked one is recognised and a foreign one told apart.

use keywheel_domain::rejection::InvalidText;
use std::fmt;

const PART_BYTES: std::ops::RangeInclusive<usize> = 2..=16;

/// Brand and environment of an installation's keys, such as `kw` and `live`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand {
    prefix: String,
    brand_bytes: usize,
}

impl Brand {
    /// Reads a brand and an environment: 2 to 16 of `a-z0-9` each.
    ///
    /// # Errors
    /// Says which of the two is meant and what it may contain.
    pub fn parse(brand: &str, env: &str) -> Result<Self, InvalidText> {
        check("brand", brand)?;
        check("env", env)?;
        Ok(Self { prefix: format!("{brand}_{env}_"), brand_bytes: brand.len() })
    }

    /// What every key of this installation begins with, such as `kw_live_`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What makes a text ours, whichever environment it names, such as `kw_`.
    pub fn claim(&self) -> &str {
        &self.prefix[..=self.brand_bytes]
    }
}

impl Default for Brand {
    fn default() -> Self {
        Self { prefix: "kw_live_".to_owned(), brand_bytes: 2 }
    }
}

impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.prefix)
    }
}

fn check(field: &'static str, text: &str) -> Result<(), InvalidText> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if PART_BYTES.contains(&text.len()) && text.bytes().all(is_plain) {
        return Ok(());
    }
    Err(InvalidText::new(field, text, "use 2 to 16 of a-z and 0-9"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_the_contract_says() {
        assert_eq!(Brand::default(), Brand::parse("kw", "live").unwrap());
        assert_eq!(Brand::default().prefix(), "kw_live_");
        assert_eq!(Brand::default().claim(), "kw_");
    }

    #[test]
    fn parts_have_bounds_and_an_alphabet() {
        assert!(Brand::parse("a1", "abcdefghij123456").is_ok());
        for bad in ["", "a", "abcdefghij1234567", "Kw", "k_w", "k-w", "kü"] {
            let refused = Brand::parse(bad, "live").unwrap_err();
            assert_eq!(refused.to_string(), format!("brand {bad:?}: use 2 to 16 of a-z and 0-9"));
            assert_eq!(Brand::parse("kw", bad).unwrap_err().field, "env");
        }
    }
}
