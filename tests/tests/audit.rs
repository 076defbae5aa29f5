//! Every dependency has an allowed licence, comes from crates.io as pinned, and is none of the banned: the lists are
//! those of `.deny.toml`, which cargo-deny reads as well where it is installed.

use cargo_metadata::{Metadata, MetadataCommand};
use spdx::{Expression, Licensee, ParseMode};
use toml::{Table, Value};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const CRATES_IO: &str = "https://github.com/rust-lang/crates.io-index";

/// What is allowed and banned.
struct Rules {
    licences: Vec<Licensee>,
    registries: Vec<String>,
    banned: Vec<String>,
}

impl Rules {
    fn read(text: &str) -> Rules {
        let file: Table = text.parse().expect(".deny.toml is TOML");
        let allow = |section: &str, key: &str| strings(&file[section][key]);
        let licence = |text: String| Licensee::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let banned = file["bans"]["deny"].as_array().expect("bans.deny is a list");
        Rules {
            licences: allow("licenses", "allow").into_iter().map(licence).collect(),
            registries: allow("sources", "allow-registry"),
            banned: banned.iter().map(|entry| text_of(&entry["crate"])).collect(),
        }
    }

    fn of_checkout() -> Rules {
        Rules::read(&read(".deny.toml"))
    }

    /// Whether one choice of an expression such as `MIT OR (Apache-2.0 AND ISC)` is allowed in all its parts.
    fn allow_licence(&self, expression: &str) -> Result<bool, String> {
        let parsed = Expression::parse_mode(expression, ParseMode::LAX).map_err(|error| error.to_string())?;
        Ok(parsed.evaluate(|wanted| self.licences.iter().any(|allowed| allowed.satisfies(wanted))))
    }

    /// `None` is a path: our own.
    fn allow_source(&self, source: Option<&str>) -> bool {
        source.is_none_or(|source| {
            source.strip_prefix("registry+").is_some_and(|url| self.registries.iter().any(|r| r == url))
        })
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").into()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(text_of).collect()
}

/// Everything that Cargo.lock names, for all platforms; fails if Cargo.lock would have to change.
fn everything() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(format!("{ROOT}/Cargo.toml")).other_options(["--locked".to_string()]);
    let metadata = command.exec().expect("cargo metadata --locked: Cargo.lock is complete");
    assert!(metadata.packages.len() > 100, "saw only {} packages", metadata.packages.len());
    metadata
}

fn assert_none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}", offenders.join("\n  "));
}

#[test]
fn licences_are_allowed() {
    let rules = Rules::of_checkout();
    let judge = |package: &cargo_metadata::Package| {
        let name = format!("{} {}", package.name, package.version);
        match package.license.as_deref().map(|licence| (licence, rules.allow_licence(licence))) {
            Some((_, Ok(true))) => None,
            Some((licence, Ok(false))) => Some(format!("{name}: {licence}")),
            Some((licence, Err(error))) => Some(format!("{name}: {licence}: {error}")),
            None => Some(format!("{name}: names no licence")),
        }
    };
    let offenders: Vec<String> = everything().packages.iter().filter_map(judge).collect();
    assert_none("licences that .deny.toml does not allow", &offenders);
}

#[test]
fn sources_are_allowed() {
    let rules = Rules::of_checkout();
    let source =
        |package: &cargo_metadata::Package| package.source.as_ref().map(|source| source.repr.clone());
    let metadata = everything();
    let foreign = metadata.packages.iter().filter(|package| !rules.allow_source(source(package).as_deref()));
    let outside = metadata.packages.iter().filter(|package| {
        package.source.is_none() && !package.manifest_path.starts_with(&metadata.workspace_root)
    });
    let offenders: Vec<String> =
        foreign.chain(outside).map(|package| format!("{} {:?}", package.name, source(package))).collect();
    assert_none("neither from crates.io nor from this checkout", &offenders);
}

#[test]
fn nothing_banned_is_used() {
    let rules = Rules::of_checkout();
    let metadata = everything();
    let offenders: Vec<String> = metadata
        .packages
        .iter()
        .filter(|package| rules.banned.iter().any(|banned| *banned == package.name.as_str()))
        .map(|package| format!("{} {}", package.name, package.version))
        .collect();
    assert_none("banned in .deny.toml", &offenders);
}

/// A package without a checksum could be anything; what came by path has none and needs none.
#[test]
fn every_pin_has_a_checksum() {
    assert_none("without a checksum in Cargo.lock", &without_checksum(&read("Cargo.lock")));
}

fn without_checksum(lock: &str) -> Vec<String> {
    let lock: Table = lock.parse().expect("Cargo.lock is TOML");
    let packages = lock["package"].as_array().expect("a list of packages");
    let bare = |package: &&Value| package.get("source").is_some() && package.get("checksum").is_none();
    packages.iter().filter(bare).map(|package| text_of(&package["name"])).collect()
}

#[test]
fn the_rules_can_say_no() {
    let rules = Rules::of_checkout();
    for (expression, allowed) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only", false),
        ("GPL-3.0-only OR MIT", true),
        ("GPL-3.0-only AND MIT", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND AGPL-3.0-only", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT WITH Classpath-exception-2.0", false),
    ] {
        assert_eq!(rules.allow_licence(expression), Ok(allowed), "{expression}");
    }
    assert!(rules.allow_licence("do what you like").is_err());

    assert!(rules.allow_source(None) && rules.allow_source(Some(&format!("registry+{CRATES_IO}"))));
    for source in ["registry+https://example.org/index", "git+https://github.com/a/b?rev=1#2", CRATES_IO] {
        assert!(!rules.allow_source(Some(source)), "{source}");
    }
    for banned in ["openssl", "native-tls"] {
        assert!(rules.banned.iter().any(|name| name == banned), "{banned}");
    }
    let lock = "[[package]]\nname = \"a\"\n[[package]]\nname = \"b\"\nsource = \"x\"\n[[package]]\nname = \"c\"\nsource = \"x\"\nchecksum = \"y\"";
    assert_eq!(without_checksum(lock), ["b"]);
}
