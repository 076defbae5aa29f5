//! What an operator reads who got the configuration wrong, word for word.
#![allow(clippy::unwrap_used, missing_docs)]

use keywheel_runtime::config::load;
use keywheel_runtime::log::{Format, LogConfig};
use keywheel_runtime::{ConfigError, exit};
use serde::Deserialize;
use std::path::PathBuf;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    bus: Bus,
    #[serde(default)]
    log: LogConfig,
    #[serde(default)]
    trusted: Vec<String>,
    name: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bus {
    url: String,
    #[serde(default)]
    retries: Option<u16>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    level: f64,
}

struct Written {
    file: PathBuf,
    _folder: tempfile::TempDir,
}

fn written(text: &str) -> Written {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keywheel.toml");
    std::fs::write(&file, text).unwrap();
    Written { file, _folder: folder }
}

fn env(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn loaded(text: &str, variables: &[(&str, &str)]) -> Config {
    load(Some(&written(text).file), env(variables)).unwrap()
}

/// The error's text, with the file's path cut to its name.
fn refused(text: &str, variables: &[(&str, &str)]) -> String {
    let written = written(text);
    let error = load::<Config>(Some(&written.file), env(variables)).unwrap_err();
    assert_eq!(exit::code(&error), exit::CONFIG);
    error.to_string().replace(&written.file.display().to_string(), "keywheel.toml")
}

const GOOD: &str = "name = 'a'\n[bus]\nurl = 'nats://a:4222'\nretries = 3\n[log]\nlevel = 'debug'\n";

#[test]
fn a_file_is_enough() {
    let config = loaded(GOOD, &[("PATH", "/bin"), ("NO_COLOR", "1")]);
    assert_eq!(config.bus.url, "nats://a:4222");
    assert_eq!(config.bus.retries, Some(3));
    assert_eq!(config.log.format, Format::Text);
}

#[test]
fn variables_are_enough_and_have_types() {
    let variables = env(&[
        ("KEYWHEEL_BUS__URL", "4222"),
        ("KEYWHEEL_BUS__RETRIES", "7"),
        ("KEYWHEEL_BUS__TLS", "true"),
        ("KEYWHEEL_BUS__LEVEL", "0.5"),
        ("KEYWHEEL_LOG__FORMAT", "json"),
        ("KEYWHEEL_TRUSTED", r#"["10.0.0.0/8", "::1"]"#),
        ("KEYWHEEL_NAME", "true"),
    ]);
    let config: Config = load(None, variables).unwrap();
    // A string that looks like a number or a boolean is a string all the same.
    let bus = Bus { url: "4222".to_owned(), retries: Some(7), tls: true, level: 0.5 };
    let log = LogConfig { format: Format::Json, ..LogConfig::default() };
    let trusted = vec!["10.0.0.0/8".to_owned(), "::1".to_owned()];
    assert_eq!(config, Config { bus, log, trusted, name: Some("true".to_owned()) });
}

#[test]
fn variables_win_over_the_file() {
    let config = loaded(GOOD, &[("KEYWHEEL_BUS__URL", "nats://b:4222")]);
    assert_eq!((config.bus.url.as_str(), config.bus.retries), ("nats://b:4222", Some(3)));
}

#[test]
fn the_command_lines_variables_are_no_settings() {
    let theirs = [("KEYWHEEL_HOME", "/h"), ("KEYWHEEL_CONTEXT", "/c"), ("NO_COLOR", ""), ("KEYWHEELS", "4")];
    assert_eq!(loaded(GOOD, &theirs), loaded(GOOD, &[]));
}

#[test]
fn a_wrong_type_names_field_and_place() {
    assert_eq!(
        refused("[bus]\nurl = 4222", &[]),
        "bus.url: invalid type: integer `4222`, expected a string; correct it in keywheel.toml"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_BUS__RETRIES", "many")]),
        "bus.retries: invalid type: string \"many\", expected u16; correct KEYWHEEL_BUS__RETRIES"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_BUS__RETRIES", "70000")]),
        "bus.retries: invalid value: integer `70000`, expected u16; correct KEYWHEEL_BUS__RETRIES"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_TRUSTED", "[1]")]),
        "trusted[0]: invalid type: integer `1`, expected a string; correct KEYWHEEL_TRUSTED"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_LOG__FORMAT", "1")]),
        "log.format: unknown variant `1`, expected `text` or `json`; correct KEYWHEEL_LOG__FORMAT"
    );
}

#[test]
fn an_unknown_field_names_itself_and_what_is_known() {
    assert_eq!(
        refused("[bus]\nurl = ''\nulr = ''", &[]),
        "bus.ulr: unknown field `ulr`, expected one of `url`, `retries`, `tls`, `level`; \
         remove it in keywheel.toml"
    );
    assert_eq!(
        refused("sub = 1\n[bus]\nurl = ''", &[]),
        "sub: unknown field `sub`, expected one of `bus`, `log`, `trusted`, `name`; remove it in keywheel.toml"
    );
}

#[test]
fn an_unknown_variable_is_an_error() {
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_BUS__ULR", "x")]),
        "bus.ulr: unknown field `ulr`, expected one of `url`, `retries`, `tls`, `level`; \
         remove KEYWHEEL_BUS__ULR"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_SUB__URL", "x")]),
        "sub: unknown field `sub`, expected one of `bus`, `log`, `trusted`, `name`; remove KEYWHEEL_SUB__URL"
    );
    for odd in ["KEYWHEEL_", "KEYWHEEL_BUS__", "KEYWHEEL___URL", "KEYWHEEL_bus__url", "KEYWHEEL_A-B"] {
        let rule = "not a setting; write KEYWHEEL_TABLE__FIELD in capitals, or unset it";
        assert_eq!(refused(GOOD, &[(odd, "x")]), format!("{odd}: {rule}"));
    }
}

#[test]
fn a_variable_cannot_reach_into_a_value_or_replace_a_table() {
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_NAME__FIRST", "x")]),
        "name.first: name is a single value, not a table; correct KEYWHEEL_NAME__FIRST"
    );
    assert_eq!(
        refused("[bus]\nurl = ''", &[("KEYWHEEL_NAME__FIRST", "x")]),
        "name: invalid type: map, expected a string; correct KEYWHEEL_NAME__FIRST"
    );
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_BUS", "x")]),
        "bus: invalid type: string \"x\", expected struct Bus; correct KEYWHEEL_BUS"
    );
}

#[test]
fn a_missing_field_says_how_to_set_it() {
    assert_eq!(refused("[bus]", &[]), "bus.url: missing; set KEYWHEEL_BUS__URL or write it in keywheel.toml");
    assert_eq!(
        load::<Config>(None, env(&[("KEYWHEEL_BUS__TLS", "true")])).unwrap_err().to_string(),
        "bus.url: missing; set KEYWHEEL_BUS__URL or name a configuration file that has it"
    );
    assert_eq!(refused("", &[]), "bus.url: missing; set KEYWHEEL_BUS__URL or write it in keywheel.toml");
}

#[test]
fn a_bad_log_level_is_found_before_anything_starts() {
    assert_eq!(
        refused(GOOD, &[("KEYWHEEL_LOG__LEVEL", "inof")]),
        "log.level: \"inof\" is no level; use off, error, warn, info, debug or trace, or a list of TARGET=LEVEL; \
         correct KEYWHEEL_LOG__LEVEL"
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = load::<Config>(Some("/nowhere/keywheel.toml".as_ref()), env(&[])).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }));
    assert_eq!(
        exit::chain(&error),
        "cannot read the configuration file /nowhere/keywheel.toml; check its path and its permissions: \
         No such file or directory (os error 2)"
    );
    let broken = refused("[bus]\nurl = \n", &[]);
    assert!(broken.starts_with("keywheel.toml is not valid TOML: line 2, column "), "{broken}");
}
