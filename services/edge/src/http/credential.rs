//! Where a request carries its key: in exactly one place, or it is refused.

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const BEARER: &str = "bearer";

/// What was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    /// No key.
    Nothing,
    /// More than one, or one twice: which one counts, gateways and upstreams would disagree on.
    Doubled,
    /// One text.
    Key(&'a [u8]),
}

/// Finds the key. Other schemes than `Bearer` are not ours and not looked at.
pub fn shown(headers: &HeaderMap) -> Shown<'_> {
    let mut found = Shown::Nothing;
    let copies = [AUTHORIZATION, X_API_KEY].map(|name| headers.get_all(name).iter().count());
    if copies.iter().any(|count| *count > 1) {
        return Shown::Doubled;
    }
    let bearer = headers.get(AUTHORIZATION).and_then(bearer);
    let api_key = headers.get(X_API_KEY).map(|value| value.as_bytes().trim_ascii());
    for text in [bearer, api_key].into_iter().flatten().filter(|text| !text.is_empty()) {
        // Proxies join two headers into one by a comma.
        if found != Shown::Nothing || text.contains(&b',') {
            return Shown::Doubled;
        }
        found = Shown::Key(text);
    }
    found
}

/// Whether the key stands, or would stand, in `Authorization`, which other schemes use as well.
pub fn is_in_authorization(headers: &HeaderMap) -> bool {
    headers.get(AUTHORIZATION).and_then(bearer).is_some()
}

/// What follows the scheme. A list in which any part is `Bearer` counts as that, comma and all.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes();
    if value.split(|byte| *byte == b',').skip(1).any(|part| after_scheme(part).is_some()) {
        return Some(value);
    }
    after_scheme(value)
}

fn after_scheme(text: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = text.trim_ascii().split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER.as_bytes());
    (is_bearer && rest.first().is_none_or(u8::is_ascii_whitespace)).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_in_one_place() {
        let key = Shown::Key(b"k1");
        for (lines, expected) in [
            (&[][..], Shown::Nothing),
            (&[("authorization", "Bearer k1")], key),
            (&[("authorization", "bearer k1")], key),
            (&[("authorization", "BEARER   k1  ")], key),
            (&[("x-api-key", "k1")], key),
            (&[("x-api-key", " k1 ")], key),
            (&[("authorization", "Bearer")], Shown::Nothing),
            (&[("authorization", "Bearer ")], Shown::Nothing),
            (&[("x-api-key", "")], Shown::Nothing),
            (&[("authorization", "Bearerk1")], Shown::Nothing),
            (&[("authorization", "Basic dTpw")], Shown::Nothing),
            (&[("authorization", "Digest a=b, c=d")], Shown::Nothing),
            (&[("authorization", "Basic dTpw"), ("x-api-key", "k1")], key),
            (&[("authorization", "Bearer k1"), ("x-api-key", "k1")], Shown::Doubled),
            (&[("authorization", "Bearer k1"), ("authorization", "Bearer k1")], Shown::Doubled),
            (&[("authorization", "Basic dTpw"), ("authorization", "Bearer k1")], Shown::Doubled),
            (&[("x-api-key", "k1"), ("x-api-key", "k2")], Shown::Doubled),
            (&[("x-api-key", "k1,k2")], Shown::Doubled),
            (&[("authorization", "Bearer bad,good")], Shown::Doubled),
            (&[("authorization", "Bearer bad, Bearer good")], Shown::Doubled),
            (&[("authorization", "Basic dTpw, Bearer k1")], Shown::Doubled),
            (&[("authorization", "Bearer a b")], Shown::Key(b"a b")),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            assert_eq!(shown(&headers), expected, "{lines:?}");
        }
    }

    #[test]
    fn any_bytes_are_looked_at() {
        let mut headers = HeaderMap::new();
        headers.insert(X_API_KEY, HeaderValue::from_bytes(b"k\xff1").unwrap());
        assert_eq!(shown(&headers), Shown::Key(b"k\xff1"));
    }
}
