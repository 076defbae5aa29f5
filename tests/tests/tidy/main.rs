//! The points of the style that a machine can check, over the whole checkout: each rule names every offender.

mod code;
mod imports;
mod manifest;
mod text;
mod tree;

use tree::{Offence, Tree};

/// Fails with one line for each offender.
fn assert_none(rule: &str, offences: Vec<Offence>) {
    let lines: Vec<String> = offences.iter().map(|offence| format!("  {offence}")).collect();
    assert!(lines.is_empty(), "{rule}: {} offence(s)\n{}", lines.len(), lines.join("\n"));
}

/// Applies a rule to each Rust file.
fn assert_all_rust(rule: &str, check: impl Fn(&tree::Source) -> Vec<Offence>) {
    let sources = Tree::of_checkout().rust_sources();
    assert!(
        sources.len() > 20,
        "found only {} Rust files: the rules look at the wrong folder",
        sources.len()
    );
    assert_none(rule, sources.iter().flat_map(check).collect());
}

#[test]
fn every_file_says_why_it_exists() {
    assert_all_rust("the first line is a `//!`", text::begins_with_reason);
}

#[test]
fn files_are_short() {
    assert_all_rust("a file has at most 500 lines", text::is_short);
}

#[test]
fn no_module_has_an_empty_name() {
    assert_all_rust("a module is named after what it holds", code::banned_modules);
}

#[test]
fn functions_are_short() {
    assert_all_rust("a function has at most 70 lines", code::long_functions);
}

#[test]
fn production_code_does_not_unwrap() {
    let tree = Tree::of_checkout();
    assert_none(
        "no `.unwrap()` outside tests",
        tree.production_sources().iter().flat_map(code::unwraps).collect(),
    );
}

#[test]
fn subjects_are_spelled_in_wire_alone() {
    let tree = Tree::of_checkout();
    let outside: Vec<_> = tree
        .production_sources()
        .into_iter()
        .filter(|source| !source.path.starts_with("shared/wire/"))
        .collect();
    assert_none(
        "subjects are spelled in shared/wire alone",
        outside.iter().flat_map(code::subjects).collect(),
    );
}

#[test]
fn the_binary_is_thin() {
    let mains =
        Tree::of_checkout().rust_sources().into_iter().filter(|source| source.path.ends_with("src/main.rs"));
    assert_none(
        "a main.rs has at most 20 lines of code",
        mains.flat_map(|source| text::is_thin(&source)).collect(),
    );
}

#[test]
fn imports_point_one_way() {
    assert_none("imports point one way", imports::wrong_imports(&imports::members()));
}

#[test]
fn libraries_have_one_owner() {
    assert_none("each of these libraries has its owners", imports::wrong_owners(&imports::members()));
}

#[test]
fn the_core_depends_on_nothing() {
    assert_none("the core has no dependencies at run time", imports::core_dependencies(&imports::members()));
}

#[test]
fn versions_stand_in_the_workspace_alone() {
    let manifests = Tree::of_checkout().manifests();
    assert!(manifests.len() > 10, "found only {} manifests", manifests.len());
    assert_none(
        "members inherit from the workspace",
        manifests.iter().flat_map(manifest::own_versions).collect(),
    );
}

#[test]
fn the_top_level_is_fixed() {
    assert_none("the top level is fixed", text::strangers_at_the_top(&Tree::of_checkout().paths));
}

#[test]
fn no_file_names_a_machine() {
    let tree = Tree::of_checkout();
    let offences = tree.paths.iter().flat_map(|path| text::machine_names(&tree.read(path))).collect();
    assert_none("no file names somebody's machine or a package index", offences);
}
