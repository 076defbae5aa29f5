//! Texts: what is shown as a key, and everything that is read from a word.

use super::assert_told;
use keywheel_domain::name::{FREE_TEXT_BYTES_MAX, free_text, shown};
use keywheel_domain::{Actor, Client, EdgeId, KeyringId, Kid, Span, Tenant};
use keywheel_edge::address;
use keywheel_runtime::log::Filter;
use keywheel_token::{Brand, FOREIGN_BYTES, Opener, Presented, Recipient, parse_digest_hex, read};
use keywheel_wire::{subject, text as written};
use std::fmt::Display;

/// A shown key.
pub fn key(data: &[u8]) {
    let brands = [Brand::default(), Brand::parse("acme7", "test").unwrap()];
    for brand in &brands {
        match read(data, brand) {
            Ok(Presented::Ours { kid, .. }) => {
                let body = data.strip_prefix(brand.prefix().as_bytes()).unwrap();
                assert_eq!((&body[..10], body.len()), (kid.as_str().as_bytes(), 60));
                assert!(body.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'));
            }
            Ok(Presented::Foreign { .. }) => {
                assert!(FOREIGN_BYTES.contains(&data.len()));
                assert!(data.iter().all(|byte| (b' '..=b'~').contains(byte)));
                assert!(!data.starts_with(brand.prefix().as_bytes()));
            }
            Err(error) => {
                let told = error.to_string();
                assert_told(&told);
                let text = String::from_utf8_lossy(data);
                assert!(text.len() < 12 || !told.contains(text.as_ref()), "{told}");
            }
        }
    }
}

/// A word, read as everything that words are read as.
pub fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let text = text.as_ref();
    assert_told(&shown(text));
    lengths_and_times(text);
    names(text);
    places(text);
    let _ = told(Recipient::parse(text));
    let _ = told(Brand::parse(text, "live"));
    let _ = told(Brand::parse("kw", text));
    if let Err(error) = Opener::parse(text) {
        assert_told(&error.to_string());
        assert!(text.len() < 12 || !error.to_string().contains(text), "a seed is not repeated");
    }
    let _ = Filter::parse(text);
}

fn told<T, E: Display>(read: Result<T, E>) -> Option<T> {
    read.map_err(|error| assert_told(&error.to_string())).ok()
}

fn lengths_and_times(text: &str) {
    if let Some(span) = told(Span::parse(text)) {
        assert_eq!(Span::parse(&span.to_string()), Ok(span));
    }
    if let Some(at) = told(written::parse_moment(text)) {
        assert!(at <= written::LAST_MOMENT);
        assert_eq!(written::parse_moment(&written::moment(at)), Ok(at));
    }
    if let Some(bytes) = told(written::parse_hex32(text)) {
        assert_eq!(written::hex(&bytes), text.to_ascii_lowercase());
    }
    if let Some(digest) = told(parse_digest_hex(text)) {
        assert_eq!(keywheel_token::digest_hex(&digest), text.to_ascii_lowercase());
    }
    if let Some(id) = told(written::parse_id("id", text)) {
        assert_eq!(written::parse_id("id", &written::id(id)), Ok(id));
    }
}

fn names(text: &str) {
    let is_name = told(Tenant::parse(text)).is_some();
    assert_eq!(told(Client::parse(text)).is_some(), is_name);
    assert_eq!(told(EdgeId::parse(text)).is_some(), is_name);
    assert!(!is_name || (1..=63).contains(&text.len()) && !text.contains(['.', '*', '>', ' ', '/']));
    if let Some(kid) = told(Kid::parse(text)) {
        assert_eq!((kid.as_str(), text.len()), (text, 10));
    }
    if let Some(keyring) = told(KeyringId::parse(text)) {
        assert_eq!(keyring.to_string(), text);
    }
    assert_eq!(told(Actor::parse(text)).is_some(), told(free_text("reason", text)).is_some());
    assert!(free_text("reason", text).is_err() || (1..=FREE_TEXT_BYTES_MAX).contains(&text.len()));
}

fn places(text: &str) {
    if let Some(address) = told(subject::parse_event(text)) {
        assert_eq!(subject::event(&address), text);
    }
    if let Some((address, verb)) = told(subject::parse_command(text)) {
        assert_eq!(subject::command(&address, verb), text);
    }
    if let Some(keyring) = told(subject::parse_ask_usage(text)) {
        assert_eq!(subject::ask_usage(&keyring), text);
    }
    if let Some(range) = address::parse_range(text) {
        assert_eq!(address::parse_range(&range.to_string()), Some(range));
        assert!(address::is_allowed(&[text.to_owned()], Some(range.addr().to_canonical())));
    }
}
