//! Rules that need no parser: lines, lengths, names of files, words that may not stand anywhere.

use crate::tree::{Offence, Source};

const FILE_LINES_MAX: usize = 500;
const MAIN_LINES_MAX: usize = 20;
/// What may stand at the top beside dotfiles.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "services",
    "shared",
    "schemas",
    "deploy",
    "tests",
    "nats.conf",
    "README.md",
    "LICENSE",
];
/// Put together here, so that this file does not break its own rule.
const MACHINE_NAMES: [&str; 6] = [
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
    concat!("index.", "crates.io"),
    concat!("pypi.", "org/simple"),
    concat!("files.", "pythonhosted"),
];

/// The first line says why the file exists.
pub fn begins_with_reason(source: &Source) -> Vec<Offence> {
    let first = source.text.lines().next().unwrap_or_default();
    let reason = first.strip_prefix("//!").unwrap_or_default().trim();
    if reason.is_empty() { vec![source.offence(1, format!("begins with {first:?}"))] } else { vec![] }
}

/// The file is short enough to be read at one go.
pub fn is_short(source: &Source) -> Vec<Offence> {
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX { vec![source.offence(lines, format!("has {lines} lines"))] } else { vec![] }
}

/// A main.rs hands over to a library at once.
pub fn is_thin(source: &Source) -> Vec<Offence> {
    let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with("//");
    let lines = source.text.lines().filter(is_code).count();
    if lines > MAIN_LINES_MAX {
        vec![source.offence(0, format!("has {lines} lines of code"))]
    } else {
        vec![]
    }
}

/// Entries at the checkout's top that nobody agreed on.
pub fn strangers_at_the_top(paths: &[String]) -> Vec<Offence> {
    let stranger = |path: &&String| {
        let top = path.split('/').next().unwrap_or_default();
        !top.starts_with('.') && !TOP_LEVEL.contains(&top)
    };
    let offence =
        |path: &String| Offence { path: path.clone(), line: 0, what: "has no place at the top".into() };
    paths.iter().filter(stranger).map(offence).collect()
}

/// Home folders and package indexes: they differ between machines, so nothing may rest on them.
pub fn machine_names(source: &Source) -> Vec<Offence> {
    let named = |line: &str| MACHINE_NAMES.into_iter().find(|name| line.contains(name));
    let lines = source.text.lines().enumerate();
    lines.filter_map(|(at, line)| Some(source.offence(at + 1, format!("names {}", named(line)?)))).collect()
}

#[test]
fn a_missing_reason_is_found() {
    assert_eq!(begins_with_reason(&Source::of("a.rs", "//! Why.\n")), []);
    for bad in ["", "//!\n", "use x;\n//! Why.\n", "// Why.\n"] {
        assert_eq!(begins_with_reason(&Source::of("a.rs", bad)).len(), 1, "{bad:?}");
    }
}

#[test]
fn a_long_file_is_found() {
    assert_eq!(is_short(&Source::of("a.rs", &"\n".repeat(FILE_LINES_MAX))), []);
    assert_eq!(is_short(&Source::of("a.rs", &"\n".repeat(FILE_LINES_MAX + 1))).len(), 1);
}

#[test]
fn a_fat_main_is_found() {
    let comments = "// a comment\n\n".repeat(30);
    assert_eq!(is_thin(&Source::of("main.rs", &format!("{comments}{}", "x;\n".repeat(MAIN_LINES_MAX)))), []);
    assert_eq!(is_thin(&Source::of("main.rs", &"x;\n".repeat(MAIN_LINES_MAX + 1))).len(), 1);
}

#[test]
fn a_stranger_is_found() {
    let paths =
        ["notes.txt", "docs/a.md", ".clippy.toml", "shared/wire/src/lib.rs", "LICENSE"].map(String::from);
    let found: Vec<String> = strangers_at_the_top(&paths).into_iter().map(|offence| offence.path).collect();
    assert_eq!(found, ["notes.txt", "docs/a.md"]);
}

#[test]
fn a_machine_name_is_found() {
    for name in MACHINE_NAMES {
        let text = format!("fine\npath = \"{name}x\"\n");
        let found = machine_names(&Source::of("a.toml", &text));
        assert_eq!(found.iter().map(|offence| offence.line).collect::<Vec<_>>(), [2], "{name}");
    }
    assert_eq!(machine_names(&Source::of("a.toml", "https://github.com/rust-lang/crates.io-index")), []);
}
