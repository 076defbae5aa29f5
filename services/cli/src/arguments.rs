//! Options that every command takes, and how names and times are read from the command line.

use clap::{Args, ValueEnum};
use keywheel_domain::rejection::InvalidText;
use keywheel_domain::{Actor, Address, At, Cut, EdgeId, KeyringId, Kid, Span, Tenant, Version};
use keywheel_wire::text;
use std::path::PathBuf;

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document on standard output, streams as JSON lines.
    Json,
}

/// Options that every operator command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalOptions {
    /// How to write results and errors
    #[arg(long, global = true, value_enum, default_value = "text", help_heading = "Global options")]
    pub output: Output,
    /// The installation's context file [default: $KEYWHEEL_HOME/context.json, else .keywheel/context.json]
    #[arg(long, global = true, value_name = "FILE", env = "KEYWHEEL_CONTEXT", hide_env_values = true)]
    #[arg(help_heading = "Global options")]
    pub context: Option<PathBuf>,
    /// How long to wait where the command waits, such as 30s, 15m or 24h
    #[arg(long, global = true, value_name = "D", value_parser = Span::parse, help_heading = "Global options")]
    pub timeout: Option<Span>,
    /// Who asks, for the audit [default: $USER]
    #[arg(long, global = true, value_name = "NAME", value_parser = actor, help_heading = "Global options")]
    pub actor: Option<String>,
    /// Id of the command (a UUID): the same id never has a second effect, so a retry is safe
    #[arg(long, global = true, value_name = "UUID", value_parser = uuid, help_heading = "Global options")]
    pub command_id: Option<u128>,
    /// Read histories from the log alone, and keep nothing of them in the home
    #[arg(long, global = true, help_heading = "Global options")]
    pub no_cache: bool,
}

/// `T/C`.
pub(crate) fn keyring(text: &str) -> Result<KeyringId, InvalidText> {
    KeyringId::parse(text)
}

/// `T` or `T/C`.
pub(crate) fn tenant_or_keyring(text: &str) -> Result<Address, InvalidText> {
    if text.contains('/') {
        KeyringId::parse(text).map(Address::Keyring)
    } else {
        Tenant::parse(text).map(Address::Tenant)
    }
}

/// `3` or `v3`.
pub(crate) fn version(text: &str) -> Result<Version, String> {
    let number = text.strip_prefix('v').unwrap_or(text).parse::<u32>();
    number
        .ok()
        .filter(|n| *n > 0)
        .map(Version)
        .ok_or_else(|| format!("`{text}` is no version; write 1, 2, …"))
}

/// RFC 3339.
pub(crate) fn moment(text: &str) -> Result<At, String> {
    text::parse_moment(text)
}

/// A position of the log.
pub(crate) fn position(text: &str) -> Result<u64, String> {
    let seq = text.parse::<u64>().ok().filter(|seq| *seq > 0);
    seq.ok_or_else(|| format!("`{text}` is no position; write 1, 2, …"))
}

/// A position of the log, or a moment.
pub(crate) fn cut(text: &str) -> Result<Cut, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { position(text).map(Cut::Seq) } else { moment(text).map(Cut::Time) }
}

/// An edge's name.
pub(crate) fn edge(text: &str) -> Result<EdgeId, InvalidText> {
    EdgeId::parse(text)
}

/// A key's public id.
pub(crate) fn kid(text: &str) -> Result<Kid, InvalidText> {
    Kid::parse(text)
}

/// A UUID.
pub(crate) fn uuid(text: &str) -> Result<u128, String> {
    text::parse_id("id", text).map_err(|_| format!("`{text}` is no UUID"))
}

fn actor(text: &str) -> Result<String, InvalidText> {
    Actor::parse(text).map(|actor| actor.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        assert_eq!(keyring("acme/app").unwrap().to_string(), "acme/app");
        assert_eq!(tenant_or_keyring("acme").unwrap().to_string(), "acme");
        assert_eq!(tenant_or_keyring("acme/app").unwrap().keyring().unwrap().client.as_str(), "app");
        assert!(keyring("acme").unwrap_err().to_string().contains("TENANT/CLIENT"));
        assert!(tenant_or_keyring("Acme").is_err());
    }

    #[test]
    fn versions_count_from_one() {
        assert_eq!(version("3"), Ok(Version(3)));
        assert_eq!(version("v3"), Ok(Version(3)));
        for bad in ["0", "v", "-1", "x", ""] {
            assert!(version(bad).is_err(), "{bad}");
        }
    }
}
