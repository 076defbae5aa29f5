//! Every version is pinned once, in the workspace's manifest: members inherit it.

use crate::tree::{Offence, Source};
use toml::{Table, Value};

const DEPENDENCIES: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];
const INHERITED: [&str; 5] = ["version", "edition", "rust-version", "license", "publish"];

/// What a member's manifest says by itself though the workspace says it for all.
pub fn own_versions(source: &Source) -> Vec<Offence> {
    let manifest: Table = source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.path));
    let mut found = Vec::new();
    let package = manifest.get("package").and_then(Value::as_table).cloned().unwrap_or_default();
    for key in INHERITED.into_iter().filter(|key| !package.get(*key).is_some_and(inherits)) {
        found.push(source.offence(line_of(source, key), format!("package.{key} is not inherited")));
    }
    for name in dependency_tables(&manifest)
        .iter()
        .flat_map(|table| table.iter())
        .filter(|(_, value)| !inherits(value))
    {
        found.push(source.offence(line_of(source, name.0), format!("{} is not inherited", name.0)));
    }
    if !manifest.get("lints").is_some_and(inherits) {
        found.push(source.offence(0, "lints are not inherited"));
    }
    found
}

fn dependency_tables(manifest: &Table) -> Vec<Table> {
    let targets = manifest.get("target").and_then(Value::as_table).cloned().unwrap_or_default();
    let mut places = vec![manifest.clone()];
    places.extend(targets.into_iter().filter_map(|(_, target)| target.as_table().cloned()));
    let tables = |place: &Table| {
        DEPENDENCIES.iter().filter_map(|key| place.get(*key)?.as_table().cloned()).collect::<Vec<_>>()
    };
    places.iter().flat_map(tables).collect()
}

fn inherits(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true) && value.get("version").is_none()
}

fn line_of(source: &Source, key: &str) -> usize {
    source.text.lines().position(|line| line.starts_with(key)).map_or(0, |at| at + 1)
}

#[test]
fn a_version_of_its_own_is_found() {
    let head = "[package]\nname = \"a\"\nversion.workspace = true\nedition.workspace = true\nrust-version.workspace = true\n\
                license.workspace = true\npublish.workspace = true\n[lints]\nworkspace = true\n";
    let check = |text: &str| own_versions(&Source::of("a/Cargo.toml", text));
    assert_eq!(check(&format!("{head}[dependencies]\nserde.workspace = true\n")), []);
    for bad in [
        "[dependencies]\nserde = \"1\"",
        "[dev-dependencies]\nserde = { version = \"1\" }",
        "[build-dependencies]\nserde = { path = \"../serde\" }",
        "[target.'cfg(unix)'.dependencies]\nserde = \"1\"",
    ] {
        let found = check(&format!("{head}{bad}"));
        assert_eq!(found.iter().map(|offence| offence.line).collect::<Vec<_>>(), [11], "{bad}");
    }
    assert_eq!(
        check(&head.replace("version.workspace = true\nedition", "version = \"1\"\nedition")).len(),
        1
    );
    assert_eq!(check(&head.replace("[lints]\nworkspace = true\n", "")).len(), 1);
}
